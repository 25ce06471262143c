"""One view of a message for both sides: its fields in one version, flattened, in wire order."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from msgspec import Struct


class Flags(Struct, frozen=True):
    """What a definition says about a field beside the wire."""

    ignorable: bool
    map_key: bool


class Row(Struct, frozen=True):
    """One field as one version of the message carries it."""

    path: str
    type: str
    nullable: bool
    tag: int | None
    default: Any
    compact: bool
    """Whether lengths are compact; true for whole flexible versions, with exceptions per field."""


class Definition(Struct, frozen=True):
    """A message as one side defines it."""

    name: str
    versions: tuple[int, ...]
    flexible: frozenset[int]
    rows: Mapping[int, tuple[Row, ...]]
    """By version; tagged fields stand after the others, by tag."""
    flags: Mapping[str, Flags]
    """By path, for the fields of all versions."""


def in_wire_order(rows: Iterator[tuple[Row, Sequence[Row]]]) -> tuple[Row, ...]:
    """Flatten ``(field, rows of its struct)`` pairs: untagged ones as they come, then tagged by tag."""
    pairs = list(rows)
    pairs.sort(key=lambda pair: -1 if pair[0].tag is None else pair[0].tag)
    return tuple(row for top, below in pairs for row in (top, *below))
