"""Two plain replies side by side: which fields differ."""

import re
from collections.abc import Iterator

from attrs import frozen

from interop.differential.plain import Plain


@frozen
class FieldDifference:
    """One field: where it is, and what Apache Kafka and pybroker say."""

    path: str
    """With indices, as in ``topics[0].partitions[2].error_code``."""
    apache: Plain
    pybroker: Plain

    @property
    def pattern(self) -> str:
        """The path without indices."""
        return re.sub(r"\[\d+\]", "", self.path)


def differences(apache: Plain, pybroker: Plain, path: str = "") -> Iterator[FieldDifference]:
    """Every field that is not the same in both, in wire order; lists are matched by keys."""
    if isinstance(apache, dict) and isinstance(pybroker, dict):
        names = [*apache, *(name for name in pybroker if name not in apache)]
        for name in names:
            inner = f"{path}.{name}" if path else name
            yield from differences(apache.get(name), pybroker.get(name), inner)
    elif isinstance(apache, list) and isinstance(pybroker, list):
        if len(apache) != len(pybroker):
            yield FieldDifference(f"{path}.length", _names(apache), _names(pybroker))
        for index, (left, right) in enumerate(zip(apache, in_order_of(apache, pybroker), strict=False)):
            yield from differences(left, right, f"{path}[{index}]")
    elif apache != pybroker:
        yield FieldDifference(path, apache, pybroker)


KEYS = (
    "name",
    "topic",
    "partition_index",
    "partition",
    "partition_id",
    "index",
    "node_id",
    "broker_id",
    "group_id",
    "member_id",
    "key",
    "resource_name",
)
"""Fields that tell which element of a list is meant. Kafka 3.9 groups much by hash maps, so that the order of
its replies follows the hashes of the names: no client can rely on it."""


def in_order_of(apache: list[Plain], pybroker: list[Plain]) -> list[Plain]:
    """The elements of pybroker's list in the order of Kafka's, when both have the same distinct keys."""
    ours = [_key(element) for element in pybroker]
    theirs = [_key(element) for element in apache]
    if None in ours or len(set(ours)) < len(ours) or sorted(map(str, ours)) != sorted(map(str, theirs)):
        return pybroker
    by_key = dict(zip(ours, pybroker, strict=True))
    return [by_key[key] for key in theirs]


def _key(element: Plain) -> tuple[Plain, ...] | None:
    if not isinstance(element, dict):
        return None
    return tuple(element[name] for name in KEYS if name in element) or None


def _names(elements: list[Plain]) -> list[Plain]:
    """What is in a list, in brief."""
    return [_key(element) or element for element in elements]
