"""The four codecs of record batches, in Kafka's framings, in bounded pieces.

Decompression is a generator of pieces and stops at a ceiling, so that a batch that swells costs no more
memory than one piece and no more time than the ceiling allows. Codec libraries are imported at first use.

Sources: Kafka's ``Lz4BlockInputStream``, ``SnappyCompression`` (xerial framing), ``GzipCompression``,
``ZstdCompression`` and ``CompressionType`` (levels).
"""

import zlib
from collections.abc import Iterator

from pybroker.records import lz4_frame, zstd_frames
from pybroker.records.header import Buffer, CompressionType

PIECE_BYTES = 256 * 1024
"""At most this much comes out at a time, except a snappy block, which is at most 24 times its input."""

DEFAULT_CEILING_BYTES = 128 * 1024 * 1024

_INPUT_BYTES = 64 * 1024
_XERIAL_MAGIC = b"\x82SNAPPY\x00"
_XERIAL_HEADER = _XERIAL_MAGIC + b"\x00\x00\x00\x01\x00\x00\x00\x01"
_XERIAL_BLOCK_BYTES = 32 * 1024
_SNAPPY_MAX_RATIO = 24
_GZIP_WINDOW_BITS = 31
_GZIP_MAGIC = b"\x1f\x8b"
_MAX_BLOCKS_JUDGED = 64


class DecompressionFailed(Exception):
    """The bytes are not what the codec makes."""


class DecompressedTooLarge(Exception):
    """More would come out than the ceiling allows."""

    def __init__(self, ceiling_bytes: int) -> None:
        super().__init__(f"records take more than {ceiling_bytes} bytes after decompression")
        self.ceiling_bytes = ceiling_bytes


def decompress_pieces(
    codec: CompressionType, data: Buffer, *, magic: int = 2, ceiling_bytes: int = DEFAULT_CEILING_BYTES
) -> Iterator[bytes]:
    """Decompress the records of one batch as a series of non-empty pieces.

    ``magic`` matters to lz4 only: in magic 0 the frame's header checksum is wrong (KAFKA-3160) and ignored.

    Raises:
        DecompressionFailed: the bytes are damaged, or end too early.
        DecompressedTooLarge: more than ``ceiling_bytes`` would come out.
    """
    if codec == CompressionType.NONE:
        pieces: Iterator[bytes] = iter((bytes(data),))
    elif codec == CompressionType.LZ4:
        pieces = _lz4_pieces(data, magic)
    elif codec == CompressionType.ZSTD:
        pieces = _zstd_pieces(data)
    elif codec == CompressionType.SNAPPY:
        pieces = _snappy_pieces(data, ceiling_bytes)
    else:
        pieces = _gzip_pieces(data)
    total = 0
    for piece in pieces:
        total += len(piece)
        if total > ceiling_bytes:
            raise DecompressedTooLarge(ceiling_bytes)
        if piece:
            yield piece


def decompress(
    codec: CompressionType, data: Buffer, *, magic: int = 2, ceiling_bytes: int = DEFAULT_CEILING_BYTES
) -> bytes:
    """Decompress at once; raises as :func:`decompress_pieces` does."""
    return b"".join(decompress_pieces(codec, data, magic=magic, ceiling_bytes=ceiling_bytes))


def compress(codec: CompressionType, data: Buffer, *, magic: int = 2, level: int | None = None) -> bytes:
    """Compress the records of one batch as Kafka's Java classes frame them.

    ``level`` is on the codec's own scale (gzip 1 to 9, lz4 1 to 17, zstd -131072 to 22), None is Kafka's
    default; snappy has none. A magic 0 lz4 frame gets the wrong header checksum that such clients expect.
    """
    if codec == CompressionType.NONE:
        return bytes(data)
    if codec == CompressionType.GZIP:
        packer = zlib.compressobj(-1 if level is None else level, zlib.DEFLATED, _GZIP_WINDOW_BITS)
        return packer.compress(data) + packer.flush()
    if codec == CompressionType.SNAPPY:
        return _snappy_compress(data)
    if codec == CompressionType.LZ4:
        return lz4_frame.compress(data, level, wrong_checksum=magic == 0)
    import zstandard

    zstd = zstandard.ZstdCompressor(level=3 if level is None else level, write_content_size=False)
    packed: bytes = zstd.compress(data)
    return packed


def swells_beyond(codec: CompressionType, data: Buffer, limit_bytes: int) -> bool:
    """Whether the data may decompress to more than a limit, judged by headers alone in a few microseconds.

    Upper bounds for snappy, lz4 and zstd, from block headers (many tiny blocks count as beyond); for gzip the
    size that the trailer claims, or a compressed size above an eighth of the limit.
    """
    if codec == CompressionType.NONE:
        return len(data) > limit_bytes
    if codec == CompressionType.GZIP:
        return len(data) * 8 > limit_bytes or int.from_bytes(data[-4:], "little") > limit_bytes
    if codec == CompressionType.SNAPPY:
        return _snappy_bound(memoryview(data), limit_bytes) > limit_bytes
    if codec == CompressionType.LZ4:
        return lz4_frame.bound(memoryview(data), limit_bytes) > limit_bytes
    return zstd_frames.bound(memoryview(data), limit_bytes) > limit_bytes


def _gzip_pieces(data: Buffer) -> Iterator[bytes]:
    view = memoryview(data)
    unpacker = zlib.decompressobj(_GZIP_WINDOW_BITS)
    position = 0
    waiting: Buffer = b""
    try:
        while True:
            if not waiting:
                if position >= len(view):
                    raise DecompressionFailed("gzip data ends too early")
                waiting = view[position : position + _INPUT_BYTES]
                position += len(waiting)
            yield unpacker.decompress(waiting, PIECE_BYTES)
            waiting = unpacker.unconsumed_tail
            if unpacker.eof:
                position -= len(unpacker.unused_data)
                if bytes(view[position : position + 2]) != _GZIP_MAGIC:
                    return
                unpacker = zlib.decompressobj(_GZIP_WINDOW_BITS)
                waiting = b""
    except zlib.error as error:
        raise DecompressionFailed(f"gzip: {error}") from error


def _lz4_pieces(data: Buffer, magic: int) -> Iterator[bytes]:
    try:
        yield from lz4_frame.decompress_pieces(data, PIECE_BYTES, ignore_header_checksum=magic == 0)
    except lz4_frame.BadFrame as error:
        raise DecompressionFailed(f"lz4: {error}") from error


def _zstd_pieces(data: Buffer) -> Iterator[bytes]:
    import zstandard

    try:
        with zstandard.ZstdDecompressor().stream_reader(data, read_across_frames=True) as reader:
            while piece := reader.read(PIECE_BYTES):
                yield piece
    except zstandard.ZstdError as error:
        raise DecompressionFailed(f"zstd: {error}") from error
    if zstd_frames.is_cut(memoryview(data)):
        raise DecompressionFailed("zstd data ends too early")


def _snappy_pieces(data: Buffer, ceiling_bytes: int) -> Iterator[bytes]:
    import snappy

    view = memoryview(data)
    for block in _snappy_blocks(view):
        size = _snappy_size(block)
        if size > ceiling_bytes:
            raise DecompressedTooLarge(ceiling_bytes)
        if size > _SNAPPY_MAX_RATIO * len(block):
            raise DecompressionFailed("snappy: a block claims more than it can hold")
        try:
            yield snappy.uncompress(bytes(block))
        except snappy.UncompressError as error:
            raise DecompressionFailed(f"snappy: {error}") from error


def _snappy_blocks(view: memoryview) -> Iterator[memoryview]:
    """The raw blocks of xerial framing, or all of the data when it is not framed."""
    if bytes(view[: len(_XERIAL_MAGIC)]) != _XERIAL_MAGIC:
        yield view
        return
    position = len(_XERIAL_HEADER)
    if len(view) < position:
        raise DecompressionFailed("snappy data ends too early")
    while position < len(view):
        start = position + 4
        size = int.from_bytes(view[position:start], "big")
        position = start + size
        if position > len(view):
            raise DecompressionFailed("snappy: a block ends after the data")
        yield view[start:position]


def _snappy_size(block: memoryview) -> int:
    """The decompressed size that a raw snappy block announces."""
    size = 0
    for index, byte in enumerate(block[:5]):
        size |= (byte & 0x7F) << (7 * index)
        if byte < 0x80:
            return size
    raise DecompressionFailed("snappy: a block has no size")


def _snappy_bound(view: memoryview, limit: int) -> int:
    total = 0
    try:
        for index, block in enumerate(_snappy_blocks(view)):
            total += min(_snappy_size(block), _SNAPPY_MAX_RATIO * len(block))
            if total > limit or index == _MAX_BLOCKS_JUDGED:
                return limit + 1
    except DecompressionFailed:
        return total
    return total


def _snappy_compress(data: Buffer) -> bytes:
    import snappy

    view = memoryview(data)
    parts = [_XERIAL_HEADER]
    for start in range(0, len(view), _XERIAL_BLOCK_BYTES):
        block = snappy.compress(bytes(view[start : start + _XERIAL_BLOCK_BYTES]))
        parts.append(len(block).to_bytes(4, "big"))
        parts.append(block)
    return b"".join(parts)
