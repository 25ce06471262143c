"""Seeds: the topics, records, offsets and faults that a cluster begins with, from Python or from YAML."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from msgspec import field

from pybroker.control.reading import BadInput, dotted, read
from pybroker.control.reading import Path as Place
from pybroker.instruments.faults import FaultRule
from pybroker.model.values import Value


class SeedRecord(Value, kw_only=True):
    """One record; texts travel as UTF-8. Without a partition records go to one after the other; without a
    time they have the broker's."""

    value: str | None = None
    key: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    partition: int | None = None
    timestamp_ms: int | None = None


class SeedTopic(Value, kw_only=True):
    """One topic; what is not given is the broker's default."""

    name: str
    partitions: int | None = None
    replication_factor: int | None = None
    configs: Mapping[str, str] = field(default_factory=dict)
    records: tuple[SeedRecord, ...] = ()


class SeedOffset(Value, kw_only=True):
    """One committed offset of a group."""

    group: str
    topic: str
    offset: int
    partition: int = 0
    metadata: str = ""


class Seed(Value, kw_only=True):
    """What there is at the beginning, and again after each reset."""

    topics: tuple[SeedTopic, ...] = ()
    offsets: tuple[SeedOffset, ...] = ()
    faults: tuple[FaultRule, ...] = ()


_LATER = {"users": "users", "acls": "ACLs"}


def seed_of(plain: Any) -> Seed:
    """A seed from plain data.

    Raises:
        BadInput: see there.
    """
    _refuse_security(plain, dotted)
    return read(Seed, plain)


def load_seed(path: Path) -> Seed:
    """A seed from a YAML file.

    Raises:
        BadInput: it cannot be read, or says something wrong; the message names the line.
    """
    import yaml

    try:
        text = path.read_text(encoding="utf-8")
        root = yaml.compose(text)
        plain = yaml.safe_load(text)
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(f"seed file {path}: {error}") from None
    except yaml.YAMLError as error:
        raise BadInput(f"seed file {path}: {' '.join(str(error).split())}") from None
    if root is None:
        return Seed()

    def place(where: Place) -> str:
        return f"{path}, line {_line_of(root, where)}: {dotted(where)}"

    _refuse_security(plain, place)
    return read(Seed, plain, place)


def _refuse_security(plain: Any, place: Any) -> None:
    for name, what in _LATER.items():
        if isinstance(plain, dict) and name in plain:
            raise BadInput(f"{place((name,))}: the broker has no {what} yet; leave them out")


def _line_of(node: Any, where: Place) -> int:
    """The line, from 1 on, of the innermost part of ``where`` that is in the file."""
    line: int = node.start_mark.line
    for step in where:
        pairs = node.value if isinstance(node.value, list) else []
        if isinstance(step, int):
            if step >= len(pairs):
                break
            node = pairs[step]
            line = node.start_mark.line
            continue
        found = next(((key, value) for key, value in pairs if key.value == step), None)
        if found is None:
            break
        line, node = found[0].start_mark.line, found[1]
    return line + 1
