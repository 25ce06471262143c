"""Zig-zag numbers: the known values, the round trip, the bounds."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pybroker.records.varint import decode_varint, encode_varint


@pytest.mark.parametrize(
    ("value", "encoded"),
    [
        (0, "00"),
        (-1, "01"),
        (1, "02"),
        (63, "7e"),
        (-64, "7f"),
        (64, "8001"),
        (511, "fe07"),
        (512, "8008"),
        (8192, "808001"),
        (2**31 - 1, "feffffff0f"),
        (-(2**31), "ffffffff0f"),
        (2**63 - 1, "feffffffffffffffff01"),
        (-(2**63), "ffffffffffffffffff01"),
    ],
)
def test_known_values(value: int, encoded: str) -> None:
    assert encode_varint(value).hex() == encoded
    assert decode_varint(bytes.fromhex(encoded), 0, 10) == (value, len(encoded) // 2)


@settings(deadline=None)
@given(st.integers(-(2**63), 2**63 - 1), st.binary(max_size=3))
def test_every_64_bit_number_survives(value: int, before: bytes) -> None:
    encoded = encode_varint(value)
    assert decode_varint(before + encoded, len(before), 10) == (value, len(before) + len(encoded))


@pytest.mark.parametrize("max_bytes", [5, 10])
def test_reading_stops_at_the_bound(max_bytes: int) -> None:
    with pytest.raises(ValueError, match="does not end"):
        decode_varint(b"\xff" * 100, 0, max_bytes)


def test_a_cut_number_is_an_index_error() -> None:
    with pytest.raises(IndexError):
        decode_varint(b"\x80\x80", 0)
