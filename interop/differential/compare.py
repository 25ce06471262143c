"""Two plain replies side by side: which fields differ."""

import re
from collections.abc import Iterator
from typing import Any

from msgspec import Struct, field

from interop.differential.plain import Plain


class Correspondence(Struct):
    """Which value of pybroker stands for which of Apache Kafka: one for one, for the length of a run."""

    _pairs: dict[str, tuple[dict[Any, Any], dict[Any, Any]]] = field(default_factory=dict)

    def holds(self, kind: str, apache: Any, pybroker: Any) -> bool:
        """Whether the two stand for each other; learned when neither has been seen."""
        forth, back = self._pairs.setdefault(kind, ({}, {}))
        return bool(
            forth.setdefault(apache, pybroker) == pybroker and back.setdefault(pybroker, apache) == apache
        )

    def apache_for(self, kind: str, pybroker: Any) -> Any:
        """What Apache Kafka calls it; the same value when nothing has been learned of it."""
        _, back = self._pairs.get(kind, ({}, {}))
        return back.get(pybroker, pybroker)


class FieldDifference(Struct, frozen=True):
    """One field: where it is, and what Apache Kafka and pybroker say."""

    path: str
    """With indices, as in ``topics[0].partitions[2].error_code``."""
    apache: Plain
    pybroker: Plain
    element: str
    """The keys of the elements of lists that it lies in, as in ``topic-a/2``; empty outside of lists."""

    @property
    def pattern(self) -> str:
        """The path without indices."""
        return re.sub(r"\[\d+\]", "", self.path)


def differences(
    apache: Plain, pybroker: Plain, known: Correspondence, path: str = "", element: str = ""
) -> Iterator[FieldDifference]:
    """Every field that is not the same in both, in wire order; lists are matched by keys."""
    if isinstance(apache, dict) and isinstance(pybroker, dict):
        names = [*apache, *(name for name in pybroker if name not in apache)]
        for name in names:
            inner = f"{path}.{name}" if path else name
            yield from differences(apache.get(name), pybroker.get(name), known, inner, element)
    elif isinstance(apache, list) and isinstance(pybroker, list):
        if len(apache) != len(pybroker):
            yield FieldDifference(f"{path}.length", _names(apache), _names(pybroker), element)
        matched = zip(apache, in_order_of(apache, pybroker, known), strict=False)
        for index, (left, right) in enumerate(matched):
            deeper = "/".join(filter(None, (element, *map(str, _key(left) or ()))))
            yield from differences(left, right, known, f"{path}[{index}]", deeper)
    elif apache != pybroker:
        yield FieldDifference(path, apache, pybroker, element)


PRODUCER_ID = "producer id"
"""The kind of correspondence."""

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
    "producer_id",
)
"""Fields that tell which element of a list is meant. Kafka 3.9 groups much by hash maps, so that the order of
its replies follows the hashes of the names: no client can rely on it."""


def in_order_of(apache: list[Plain], pybroker: list[Plain], known: Correspondence) -> list[Plain]:
    """The elements of pybroker's list in the order of Kafka's, when both have the same distinct keys."""
    ours = [_key(element, known) for element in pybroker]
    theirs = [_key(element) for element in apache]
    if None in ours or len(set(ours)) < len(ours) or sorted(map(str, ours)) != sorted(map(str, theirs)):
        return pybroker
    by_key = dict(zip(ours, pybroker, strict=True))
    return [by_key[key] for key in theirs]


def _key(element: Plain, known: Correspondence | None = None) -> tuple[Plain, ...] | None:
    """What tells an element of a list; with ``known``, in Apache Kafka's ids for pybroker's."""
    if not isinstance(element, dict):
        return None
    key = {name: element[name] for name in KEYS if name in element}
    if known is not None and "producer_id" in key:
        key["producer_id"] = known.apache_for(PRODUCER_ID, key["producer_id"])
    return tuple(key.values()) or None


def _names(elements: list[Plain]) -> list[Plain]:
    """What is in a list, in brief."""
    return [_key(element) or element for element in elements]
