"""What generated codecs call. Free of construct, for code that was kept from an earlier start."""

from collections.abc import Mapping
from struct import Struct, pack, unpack_from
from struct import error as struct_error
from types import MappingProxyType
from typing import Any, Final

from pybroker.protocol.errors import MalformedMessage, UnencodableMessage, UnsupportedVersion

Buffer = bytes | bytearray | memoryview

MAX_UVARINT: Final = 0xFFFFFFFF


class VarintOverflow(ValueError):
    """A number does not fit an unsigned varint."""


def long_uvarint(data: Buffer, pos: int, first: int) -> tuple[int, int]:
    """The rest of an unsigned varint whose first byte has its high bit set; ``pos`` is after that byte."""
    value = first & 0x7F
    for shift in (7, 14, 21, 28):
        byte = data[pos]
        pos += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            if value > MAX_UVARINT:
                raise MalformedMessage("varint over 32 bits")
            return value, pos
    raise MalformedMessage("varint longer than 5 bytes")


def uvarint_at(data: Buffer, pos: int) -> tuple[int, int]:
    """The unsigned varint at ``pos`` and the position after it."""
    first = data[pos]
    return long_uvarint(data, pos + 1, first) if first > 0x7F else (first, pos + 1)


def skip_tagged_fields(data: Buffer, pos: int, end: int, count: int) -> int:
    """The position after tagged fields that are all unknown; ``count`` is the first byte of their number."""
    if count > 0x7F:
        count, pos = long_uvarint(data, pos, count)
    if count * 2 > end - pos:
        raise MalformedMessage(f"{count} tagged fields announced in {end - pos} bytes")
    for _ in range(count):
        _, pos = uvarint_at(data, pos)
        size, pos = uvarint_at(data, pos)
        pos += size
        if pos > end:
            raise MalformedMessage("a tagged field runs over the end")
    return pos


def uvarint(value: int) -> bytes:
    """The shortest unsigned varint of ``value``, which is from 0 to 2**32 - 1.

    Raises:
        VarintOverflow: it is not.
    """
    if not 0 <= value <= MAX_UVARINT:
        raise VarintOverflow(f"{value} does not fit an unsigned varint")
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def in_parts(pieces: list[Any], own: list[int]) -> list[Any]:
    """Join the pieces between those whose indices are in ``own``, which stay parts of their own."""
    parts = []
    start = 0
    for index in own:
        if index > start:
            parts.append(b"".join(pieces[start:index]))
        parts.append(pieces[index])
        start = index + 1
    if start < len(pieces):
        parts.append(b"".join(pieces[start:]))
    return parts


def tagged_field(tag: int, pieces: list[Any]) -> bytes:
    """A tagged field whole: its tag, its size, its value."""
    body = b"".join(pieces)
    return b"".join((uvarint(tag), uvarint(len(body)), body))


NAMES: Final[Mapping[str, Any]] = MappingProxyType(
    {
        "JOINABLE": (bytes, bytearray, memoryview),
        "Malformed": MalformedMessage,
        "ONE_BYTE": tuple(bytes([value]) for value in range(128)),
        "Struct": Struct,
        "UNREADABLE": (struct_error, IndexError, UnicodeDecodeError),
        "UNWRITABLE": (struct_error, TypeError, AttributeError, UnicodeEncodeError, VarintOverflow),
        "Unencodable": UnencodableMessage,
        "Unsupported": UnsupportedVersion,
        "in_parts": in_parts,
        "join": b"".join,
        "long_uvarint": long_uvarint,
        "new": object.__new__,
        "pack": pack,
        "skip_tagged_fields": skip_tagged_fields,
        "tagged_field": tagged_field,
        "unpack_from": unpack_from,
        "uvarint": uvarint,
        "uvarint_at": uvarint_at,
    }
)
"""The globals of a codec, beside ``M``, the class of its message."""
