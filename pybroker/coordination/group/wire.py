"""What all records of the coordinator's topic have in common: an int16 leads key and value. In the key it is
the kind of record, in the value the version."""

import struct

_PREFIX = struct.Struct(">h")
PREFIX_BYTES = 2


class UnreadableRecord(ValueError):
    """A record that this coordinator should know, but cannot read."""


def with_kind(kind: int, rest: bytes) -> bytes:
    """The bytes behind their kind, or version."""
    return _PREFIX.pack(kind) + rest


def kind_of(data: bytes | None) -> int:
    """The kind of record that a key begins, or the version of a value.

    Raises:
        UnreadableRecord: it is too short for one.
    """
    if data is None or len(data) < PREFIX_BYTES:
        raise UnreadableRecord(f"{data!r} has no type")
    kind: int = _PREFIX.unpack_from(data)[0]
    return kind
