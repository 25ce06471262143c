"""Codecs: round trips, Kafka's framings, damage, and bombs that must stay cheap."""

import contextlib
import gzip
import os
import tracemalloc
import zlib

import lz4.frame
import pytest
import snappy
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from pybroker.records.compression import (
    PIECE_BYTES,
    DecompressedTooLarge,
    DecompressionFailed,
    compress,
    decompress,
    decompress_pieces,
    swells_beyond,
)
from pybroker.records.header import CompressionType
from tests.records.samples import CODECS

_REAL_CODECS = CODECS[1:]
_DATA = [b"", b"a", b"abc" * 1000, bytes(3_000_000), os.urandom(200_000)]


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("magic", [0, 1, 2])
@pytest.mark.parametrize("data", _DATA, ids=["empty", "one", "text", "zeros", "noise"])
def test_what_goes_in_comes_out(codec: CompressionType, magic: int, data: bytes) -> None:
    assert decompress(codec, compress(codec, data, magic=magic), magic=magic) == data


@pytest.mark.parametrize(
    ("codec", "levels"),
    [
        (CompressionType.GZIP, (1, 9)),
        (CompressionType.LZ4, (1, 9, 17)),
        (CompressionType.ZSTD, (-1000, 1, 19)),
    ],
)
def test_levels_are_kafkas_scales(codec: CompressionType, levels: tuple[int, ...]) -> None:
    data = " ".join(str(number * number) for number in range(5000)).encode()
    sizes = [len(compress(codec, data, level=level)) for level in levels]
    assert all(decompress(codec, compress(codec, data, level=level)) == data for level in levels)
    assert sizes[0] > sizes[-1]


@pytest.mark.parametrize("codec", _REAL_CODECS)
def test_pieces_are_bounded_and_not_empty(codec: CompressionType) -> None:
    pieces = list(decompress_pieces(codec, compress(codec, bytes(2_000_000))))
    assert sum(map(len, pieces)) == 2_000_000
    assert all(0 < len(piece) <= PIECE_BYTES for piece in pieces)


@pytest.mark.parametrize("codec", _REAL_CODECS)
def test_the_ceiling_is_exact(codec: CompressionType) -> None:
    packed = compress(codec, bytes(100_000))
    assert len(decompress(codec, packed, ceiling_bytes=100_000)) == 100_000
    with pytest.raises(DecompressedTooLarge):
        decompress(codec, packed, ceiling_bytes=99_999)


@pytest.mark.parametrize("codec", _REAL_CODECS)
def test_a_bomb_costs_a_few_pieces_of_memory(codec: CompressionType) -> None:
    size = 64 * 1024 * 1024
    packed = compress(codec, bytes(size))
    tracemalloc.start()
    try:
        with pytest.raises(DecompressedTooLarge):
            for _ in decompress_pieces(codec, packed, ceiling_bytes=size - 1):
                pass
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 4 * PIECE_BYTES + len(packed)


@pytest.mark.parametrize("codec", _REAL_CODECS)
def test_data_that_is_cut_anywhere_is_refused(codec: CompressionType) -> None:
    packed = compress(codec, b"some records " * 40)
    for end in range(len(packed)):
        if codec is CompressionType.SNAPPY and end == 16:
            continue  # A bare xerial header holds no block, and so nothing.
        if codec is CompressionType.ZSTD and end == 0:
            continue  # No frame at all is nothing, in Java too.
        with pytest.raises(DecompressionFailed):
            decompress(codec, packed[:end])


@pytest.mark.parametrize("codec", _REAL_CODECS)
@settings(max_examples=150, deadline=None)
@given(data=st.binary(max_size=300))
def test_noise_is_refused_or_read_but_never_crashes(codec: CompressionType, data: bytes) -> None:
    for magic in (0, 2):
        try:
            out = decompress(codec, data, magic=magic, ceiling_bytes=1_000_000)
        except (DecompressionFailed, DecompressedTooLarge):
            continue
        assert len(out) <= 1_000_000
        swells_beyond(codec, data, 1000)


@pytest.mark.parametrize("codec", _REAL_CODECS)
@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=2000), st.integers(0, 10_000), st.integers(0, 255), st.integers(100, 5000))
def test_damaged_data_never_crashes(
    codec: CompressionType, data: bytes, position: int, flip: int, ceiling: int
) -> None:
    packed = bytearray(compress(codec, data))
    packed[position % len(packed)] ^= flip
    with contextlib.suppress(DecompressionFailed, DecompressedTooLarge):
        assert len(decompress(codec, packed, ceiling_bytes=ceiling)) <= ceiling
    swells_beyond(codec, packed, ceiling)


@pytest.mark.parametrize("codec", CODECS)
@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=3000), st.integers(1, 400), st.integers(0, 300_000))
def test_what_swells_is_known_beforehand(codec: CompressionType, unit: bytes, times: int, limit: int) -> None:
    data = unit * times
    if len(data) > limit:
        assert swells_beyond(codec, compress(codec, data), limit)


@pytest.mark.parametrize("codec", _REAL_CODECS)
def test_an_ordinary_small_batch_does_not_swell(codec: CompressionType) -> None:
    data = b"".join(b'{"id": %d, "name": "record %d"}' % (number, number * 7919) for number in range(500))
    assert not swells_beyond(codec, compress(codec, data), 256 * 1024)


def test_gzip_members_may_follow_each_other_and_noise_after_them_is_ignored() -> None:
    both = gzip.compress(b"first ") + gzip.compress(b"second")
    assert decompress(CompressionType.GZIP, both) == b"first second"
    assert decompress(CompressionType.GZIP, both + b"noise") == b"first second"


def test_gzip_refuses_bare_deflate() -> None:
    with pytest.raises(DecompressionFailed):
        decompress(CompressionType.GZIP, zlib.compress(b"x"))


def test_snappy_is_read_raw_and_in_xerial_frames_and_written_in_frames() -> None:
    data = bytes(range(256)) * 300
    framed = compress(CompressionType.SNAPPY, data)
    assert framed[:16] == b"\x82SNAPPY\x00\x00\x00\x00\x01\x00\x00\x00\x01"
    assert decompress(CompressionType.SNAPPY, framed) == data
    assert decompress(CompressionType.SNAPPY, snappy.compress(data)) == data


def test_a_snappy_block_cannot_claim_more_than_it_can_hold() -> None:
    claim = b"\xff\xff\xff\xff\x0f" + b"\x00" * 50
    with pytest.raises((DecompressionFailed, DecompressedTooLarge)):
        decompress(CompressionType.SNAPPY, claim)
    with pytest.raises(DecompressionFailed):
        decompress(CompressionType.SNAPPY, b"\x80\x80\x80\x01" + b"\x00" * 50)


def test_lz4_of_magic_0_has_the_wrong_header_checksum_and_only_magic_0_forgives_it() -> None:
    old, new = (compress(CompressionType.LZ4, b"x" * 99, magic=magic) for magic in (0, 1))
    assert (old[6], new[6]) == (0x1A, 0x82)
    assert old[:6] + old[7:] == new[:6] + new[7:]
    assert decompress(CompressionType.LZ4, new, magic=0) == b"x" * 99
    with pytest.raises(DecompressionFailed):
        decompress(CompressionType.LZ4, old, magic=1)


@pytest.mark.parametrize(
    "options", [{"content_checksum": True}, {"block_checksum": True}, {"store_size": False}]
)
def test_lz4_frames_of_other_writers_are_read_with_a_wrong_header_checksum(options: dict[str, bool]) -> None:
    data = os.urandom(1000) * 200
    frame = bytearray(lz4.frame.compress(data, block_linked=False, **options))
    assert decompress(CompressionType.LZ4, frame) == data
    frame[14 if options.get("store_size", True) else 6] ^= 0xFF
    assert decompress(CompressionType.LZ4, frame, magic=0) == data


def test_lz4_frames_with_linked_blocks_are_refused_because_java_consumers_cannot_read_them() -> None:
    with pytest.raises(DecompressionFailed, match="linked"):
        decompress(CompressionType.LZ4, lz4.frame.compress(b"x" * 200_000, block_linked=True))


def test_zstd_needs_no_content_size_and_reads_frame_after_frame() -> None:
    without = zstandard.ZstdCompressor(write_content_size=False).compress(b"first ")
    with_size = zstandard.ZstdCompressor(write_content_size=True, write_checksum=True).compress(b"second")
    assert decompress(CompressionType.ZSTD, without + with_size) == b"first second"
    assert swells_beyond(CompressionType.ZSTD, without + with_size, 100)
    assert zstandard.get_frame_parameters(compress(CompressionType.ZSTD, b"x")).content_size in (
        0,
        zstandard.CONTENTSIZE_UNKNOWN,
    )
