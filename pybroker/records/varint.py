"""Zig-zag variable-length integers as record batches use them (Kafka's ``ByteUtils``).

Reading never looks further than 5 bytes (32 bits) or 10 bytes (64 bits).
"""

from typing import Protocol


class ByteAt(Protocol):
    """Anything indexed by position that gives a byte as a number: bytes, bytearray, memoryview."""

    def __getitem__(self, position: int, /) -> int: ...


def encode_varint(value: int) -> bytes:
    """Zig-zag encoding of a signed number of at most 64 bits; 1 to 10 bytes."""
    if 0 <= value < _SMALL:
        return _ENCODED[value]
    return _encode(value)


def _encode(value: int) -> bytes:
    rest = (value << 1) ^ (value >> 63)
    if 0x80 <= rest < 0x4000:
        return bytes((rest & 0x7F | 0x80, rest >> 7))
    out = bytearray()
    while rest >= 0x80:
        out.append((rest & 0x7F) | 0x80)
        rest >>= 7
    out.append(rest)
    return bytes(out)


_SMALL = 512
"""Most numbers of a record are lengths and deltas below that."""

_ENCODED = [_encode(number) for number in range(_SMALL)]


def decode_varint(buffer: ByteAt, position: int, max_bytes: int = 5) -> tuple[int, int]:
    """Read one signed number; returns it and the position after it.

    Raises:
        ValueError: the number does not end within ``max_bytes`` bytes.
        IndexError: the buffer ends inside the number.
    """
    byte = buffer[position]
    if byte < 0x80:
        return byte >> 1 ^ -(byte & 1), position + 1
    high = buffer[position + 1]
    if high < 0x80:
        return (byte & 0x7F | high << 7) >> 1 ^ -(byte & 1), position + 2
    raw = byte & 0x7F | (high & 0x7F) << 7
    position += 2
    shift = 14
    limit = 7 * max_bytes
    while True:
        byte = buffer[position]
        position += 1
        raw |= (byte & 0x7F) << shift
        if byte < 0x80:
            break
        shift += 7
        if shift >= limit:
            raise ValueError(f"a number does not end within {max_bytes} bytes")
    raw &= 0xFFFFFFFF if max_bytes == 5 else 0xFFFFFFFFFFFFFFFF
    return (raw >> 1) ^ -(raw & 1), position
