"""The wire vocabulary: what each primitive accepts, and what it refuses before it costs anything."""

from io import BytesIO
from typing import Any

import pytest
from construct import ConstructError

from pybroker.protocol.primitives import (
    BOOL,
    FLOAT64,
    INT8,
    INT16,
    INT32,
    INT64,
    UINT16,
    UINT32,
    UUID,
    Blob,
    Records,
    Structure,
    TaggedField,
    TaggedFields,
    Text,
    Vector,
    WireError,
    WireFormat,
    build_uvarint,
    read_uvarint,
)

PLAIN = {"compact": False, "nullable": False}
PLAIN_NULLABLE = {"compact": False, "nullable": True}
COMPACT = {"compact": True, "nullable": False}
COMPACT_NULLABLE = {"compact": True, "nullable": True}


@pytest.mark.parametrize(
    ("format_", "value", "encoded"),
    [
        (BOOL, True, "01"),
        (INT8, -1, "ff"),
        (INT16, -2, "fffe"),
        (UINT16, 65535, "ffff"),
        (INT32, 1, "00000001"),
        (UINT32, 2**32 - 1, "ffffffff"),
        (INT64, -(2**63), "8000000000000000"),
        (FLOAT64, 1.0, "3ff0000000000000"),
        (UUID, bytes(range(16)), bytes(range(16)).hex()),
        (Text(**PLAIN), "é", "0002c3a9"),
        (Text(**PLAIN_NULLABLE), None, "ffff"),
        (Text(**COMPACT), "é", "03c3a9"),
        (Text(**COMPACT_NULLABLE), None, "00"),
        (Text(**COMPACT), "x" * 127, "8001" + "78" * 127),
        (Blob(**PLAIN), b"ab", "000000026162"),
        (Blob(**COMPACT), b"ab", "036162"),
        (Records(**PLAIN_NULLABLE), None, "ffffffff"),
        (Records(**COMPACT_NULLABLE), b"", "01"),
        (Records(**COMPACT_NULLABLE), None, "00"),
        (Vector(INT16, **PLAIN), [1, 2], "0000000200010002"),
        (Vector(INT8, **COMPACT), [7], "0207"),
        (Vector(INT8, **COMPACT), [], "01"),
        (Vector(INT8, **PLAIN_NULLABLE), None, "ffffffff"),
    ],
)
def test_values_and_their_bytes(format_: WireFormat, value: Any, encoded: str) -> None:
    assert format_.build(value).hex() == encoded
    assert format_.parse(bytes.fromhex(encoded)) == value


def test_any_byte_but_zero_is_true() -> None:
    assert BOOL.parse(b"\x02") is True


@pytest.mark.parametrize("length", ["fffe", "8000"])
def test_every_negative_length_is_null(length: str) -> None:
    assert Text(**PLAIN_NULLABLE).parse(bytes.fromhex(length)) is None


@pytest.mark.parametrize(
    ("format_", "encoded"),
    [
        (INT32, "000000"),
        (UUID, "00" * 15),
        (Text(**PLAIN), "ffff"),
        (Text(**PLAIN), "000361"),
        (Text(**PLAIN), "0001ff"),
        (Text(**COMPACT), "00"),
        (Text(**COMPACT), "818002" + "61" * 0x8000),
        (Text(**PLAIN), "0003eda080"),
        (Blob(**PLAIN), "7fffffff00"),
        (Blob(**COMPACT), "ffffffff0f00"),
        (Vector(INT8, **COMPACT), "00"),
        (Vector(INT64, **PLAIN), "0000000200000000000000010000000000000002"[:-2]),
        (Vector(Text(**PLAIN), **PLAIN), "7fffffff" + "00" * 100),
        (TaggedFields(()), "ffffffff0f"),
        (TaggedFields(()), "0100ff7f"),
    ],
)
def test_what_is_refused(format_: WireFormat, encoded: str) -> None:
    with pytest.raises(ConstructError):
        format_.parse(bytes.fromhex(encoded))


@pytest.mark.parametrize("value", [0, 1, 127, 128, 16383, 16384, 2**28 - 1, 2**28, 2**32 - 1])
def test_varints_come_back(value: int) -> None:
    encoded = build_uvarint(value)
    assert len(encoded) == max(1, (value.bit_length() + 6) // 7)
    assert read_uvarint(BytesIO(encoded), "") == value


def test_padded_varints_are_read() -> None:
    assert read_uvarint(BytesIO(b"\x81\x80\x00"), "") == 1


@pytest.mark.parametrize("encoded", ["80", "ff" * 4, "ffffffff10", "808080808000", "ff" * 200_000])
def test_a_varint_has_at_most_five_bytes_and_32_bits(encoded: str) -> None:
    stream = BytesIO(bytes.fromhex(encoded))
    with pytest.raises(WireError):
        read_uvarint(stream, "")
    assert stream.tell() <= 5


@pytest.mark.parametrize("value", [-1, 2**32])
def test_a_varint_is_unsigned_32_bits(value: int) -> None:
    with pytest.raises(WireError):
        build_uvarint(value)


@pytest.mark.parametrize(
    ("format_", "value"),
    [
        (INT8, 128),
        (UINT16, -1),
        (INT32, None),
        (UUID, b"short"),
        (Text(**PLAIN), None),
        (Text(**COMPACT), "x" * 0x8000),
        (Vector(INT8, **PLAIN), None),
    ],
)
def test_what_cannot_be_built(format_: WireFormat, value: Any) -> None:
    with pytest.raises(WireError):
        format_.build(value)


def test_an_array_of_nothing_cannot_be_declared() -> None:
    """Such elements take no bytes, so the bytes left could not bound their number."""
    with pytest.raises(ValueError, match="no bytes"):
        Vector(Structure(dict, {}, None), **PLAIN)


def test_tagged_fields_are_written_by_tag_and_only_when_set() -> None:
    tags = TaggedFields((TaggedField(5, "late", INT8, 0), TaggedField(1, "early", Text(**COMPACT), "")))
    assert tags.build({"late": 7, "early": "a"}).hex() == "0201020261050107"
    assert tags.build({"late": 0, "early": ""}).hex() == "00"
    assert tags.parse(bytes.fromhex("0201020261050107")) == {"early": "a", "late": 7}


def test_unknown_tags_are_skipped_and_a_known_one_must_fill_its_size() -> None:
    tags = TaggedFields((TaggedField(1, "known", INT8, 0),))
    assert tags.parse(bytes.fromhex("020003aabbcc010107")) == {"known": 7}
    with pytest.raises(WireError):
        tags.parse(bytes.fromhex("0101020708"))
