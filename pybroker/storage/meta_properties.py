"""``meta.properties``: whose log directory this is. ZooKeeper mode: version 0 with broker.id and
cluster.id."""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import TypeVar

from pybroker.model.values import Value
from pybroker.storage import names
from pybroker.storage.errors import LogDirUnusable
from pybroker.storage.files import Files
from pybroker.storage.handles import join

T = TypeVar("T")

_PLAIN_LINE = re.compile(r"#.*|[\w.]+=[\w.-]*", re.ASCII)
"""What Kafka and this broker write: comments, and names with values that need no escapes."""


class MetaProperties(Value):
    """What a directory says about its owner; None where it says nothing."""

    broker_id: int | None = None
    cluster_id: str | None = None


def _read_raw(files: Files, directory: str) -> dict[str, str]:
    path = join(directory, names.META_PROPERTIES)
    try:
        text = files.read_bytes(path).decode("latin-1")
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise LogDirUnusable(f"{path} cannot be read: {error.strerror}") from error
    lines = text.splitlines()
    if _are_plain(lines):
        return dict(line.split("=", 1) for line in lines if line[0] != "#")
    return _read_unusual(path, text)


def _are_plain(lines: Iterable[str]) -> bool:
    """False for what somebody has edited: all that properties may have, which is left to a library whose
    import would take a twentieth of every start."""
    return all(map(_PLAIN_LINE.fullmatch, lines))


def _read_unusual(path: str, text: str) -> dict[str, str]:
    import javaproperties

    try:
        return dict(javaproperties.loads(text))
    except javaproperties.InvalidUEscapeError as error:
        raise LogDirUnusable(f"{path} is damaged: {error}") from error


def read_meta_properties(files: Files, directory: str) -> MetaProperties:
    """Reads a directory's owner; an absent file says nothing.

    Raises:
        LogDirUnusable: the file cannot be read, is damaged, or of a KRaft broker.
    """
    raw = _read_raw(files, directory)
    path = join(directory, names.META_PROPERTIES)
    if not raw:
        return MetaProperties()
    if raw.get("version") != "0":
        raise LogDirUnusable(
            f"{path} has version {raw.get('version')}; only version 0 (ZooKeeper mode) can be used"
        )
    try:
        broker_id = int(raw["broker.id"]) if "broker.id" in raw else None
    except ValueError as error:
        raise LogDirUnusable(f"{path}: broker.id={raw['broker.id']} is not a number") from error
    return MetaProperties(broker_id, raw.get("cluster.id"))


def common_owner(owners: Mapping[str, MetaProperties]) -> MetaProperties:
    """The one owner that all directories (by path) name.

    Raises:
        LogDirUnusable: two directories disagree.
    """
    broker_id = _common([(path, owner.broker_id) for path, owner in owners.items()], "broker.id")
    cluster_id = _common([(path, owner.cluster_id) for path, owner in owners.items()], "cluster.id")
    return MetaProperties(broker_id, cluster_id)


def _common(values: Sequence[tuple[str, T | None]], key: str) -> T | None:
    known = [(path, value) for path, value in values if value is not None]
    for path, value in known[1:]:
        if value != known[0][1]:
            raise LogDirUnusable(
                f"log directories disagree: {known[0][0]} has {key}={known[0][1]}, {path} has {key}={value}"
            )
    return known[0][1] if known else None


def write_meta_properties(files: Files, directory: str, broker_id: int, cluster_id: str) -> None:
    """Claims the directory; keys it does not know are kept, and an unchanged file is left alone.

    Raises:
        LogDirUnusable: the file cannot be read or written, or is damaged.
    """
    raw = _read_raw(files, directory)
    wanted = {**raw, "version": "0", "broker.id": str(broker_id), "cluster.id": cluster_id}
    if wanted != raw:
        path = join(directory, names.META_PROPERTIES)
        try:
            files.replace_bytes(path, _as_text(wanted).encode("latin-1"))
        except OSError as error:
            raise LogDirUnusable(f"{path} cannot be written: {error.strerror}") from error


def _as_text(properties: Mapping[str, str]) -> str:
    lines = [f"{key}={value}" for key, value in properties.items()]
    if _are_plain(lines):
        return "".join(f"{line}\n" for line in lines)
    import javaproperties

    return str(javaproperties.dumps(properties, timestamp=False))
