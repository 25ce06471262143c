"""The lz4 frames of record batches, with Kafka's restrictions and its old checksum bug.

Up to Kafka 0.9 the header checksum was computed over the magic bytes too (KAFKA-3160). Message sets of magic
0 keep the wrong value, which the lz4 library refuses, so the header is rewritten before the frame is read.
Source: Kafka's ``Lz4BlockInputStream`` and ``Lz4BlockOutputStream``.
"""

from collections.abc import Iterator

_MAGIC = b"\x04\x22\x4d\x18"
_INPUT_BYTES = 64 * 1024
_MAX_RATIO = 255
_MAX_BLOCKS_JUDGED = 64
_MASK = 0xFFFFFFFF
_PRIMES = (2654435761, 2246822519, 3266489917, 668265263, 374761393)
_DEFAULT_LEVEL = 9
"""Kafka's default; on its scale it means the fast compressor, not level 9 of the slow one."""


class BadFrame(Exception):
    """The bytes are no lz4 frame that Kafka reads."""


def decompress_pieces(
    data: bytes | bytearray | memoryview, piece_bytes: int, *, ignore_header_checksum: bool
) -> Iterator[bytes]:
    """Decompress the first frame; what follows it is ignored, as in Kafka.

    Raises:
        BadFrame: the frame is damaged, cut, or uses what Kafka does not read (linked blocks, dictionaries).
    """
    import lz4.frame

    view = memoryview(data)
    header_bytes = _header_bytes(view)
    unpacker = lz4.frame.LZ4FrameDecompressor()
    position = 0
    waiting: bytes | memoryview = view[:_INPUT_BYTES]
    if ignore_header_checksum:
        fixed = bytes(view[: header_bytes - 1])
        waiting = fixed + bytes([_checksum_byte(fixed[4:])])
        position = header_bytes - len(waiting)
    position += len(waiting)
    try:
        while True:
            yield unpacker.decompress(waiting, piece_bytes)
            if unpacker.eof:
                return
            waiting = b""
            if unpacker.needs_input:
                if position >= len(view):
                    raise BadFrame("the frame ends too early")
                waiting = view[position : position + _INPUT_BYTES]
                position += len(waiting)
    except (RuntimeError, EOFError) as error:
        raise BadFrame(str(error)) from error


def compress(data: bytes | bytearray | memoryview, level: int | None, *, wrong_checksum: bool) -> bytes:
    """One frame of independent 64 KB blocks without content size or checksums, as Java clients make it."""
    import lz4.frame

    packed: bytes = lz4.frame.compress(
        data,
        compression_level=0 if level is None or level == _DEFAULT_LEVEL else max(level, 3),
        block_size=lz4.frame.BLOCKSIZE_MAX64KB,
        block_linked=False,
        store_size=False,
    )
    if not wrong_checksum:
        return packed
    header_bytes = _header_bytes(memoryview(packed))
    header = packed[: header_bytes - 1]
    return header + bytes([_checksum_byte(header)]) + packed[header_bytes:]


def bound(view: memoryview, limit: int) -> int:
    """Upper bound of the decompressed size from block headers; reading stops once it is above the limit."""
    try:
        position = _header_bytes(view)
    except BadFrame:
        return 0
    max_block = 1 << (2 * (view[5] >> 4 & 7) + 8)
    checksum_bytes = 4 if view[4] & 0x10 else 0
    total = 0
    for _ in range(_MAX_BLOCKS_JUDGED):
        if total > limit or position + 4 > len(view):
            return total
        size = int.from_bytes(view[position : position + 4], "little")
        if size == 0:
            return total
        plain = size & 0x80000000
        size &= 0x7FFFFFFF
        total += size if plain else min(max_block, size * _MAX_RATIO)
        position += 4 + size + checksum_bytes
    return limit + 1


def _header_bytes(view: memoryview) -> int:
    """Length of the frame header up to and with its checksum, after Kafka's checks of its flags."""
    if len(view) < 7:
        raise BadFrame("the frame ends too early")
    if bytes(view[:4]) != _MAGIC:
        raise BadFrame("no lz4 frame")
    flags, block = view[4], view[5]
    if flags & 0xC0 != 0x40 or flags & 0x03:
        raise BadFrame("unknown frame version or flags")
    if not flags & 0x20:
        raise BadFrame("linked blocks are not supported")
    if block & 0x8F or block >> 4 < 4:
        raise BadFrame("bad block size")
    header_bytes = 15 if flags & 0x08 else 7
    if len(view) < header_bytes:
        raise BadFrame("the frame ends too early")
    return header_bytes


def _checksum_byte(descriptor: bytes) -> int:
    """Second byte of the xxHash-32 (seed 0) of fewer than 16 bytes: the header checksum of a frame."""
    p1, p2, p3, p4, p5 = _PRIMES
    value = (p5 + len(descriptor)) & _MASK
    whole = len(descriptor) & ~3
    for start in range(0, whole, 4):
        value = (value + int.from_bytes(descriptor[start : start + 4], "little") * p3) & _MASK
        value = (_rotate(value, 17) * p4) & _MASK
    for byte in descriptor[whole:]:
        value = (value + byte * p5) & _MASK
        value = (_rotate(value, 11) * p1) & _MASK
    value ^= value >> 15
    value = (value * p2) & _MASK
    value ^= value >> 13
    value = (value * p3) & _MASK
    value ^= value >> 16
    return value >> 8 & 0xFF


def _rotate(value: int, bits: int) -> int:
    return (value << bits | value >> (32 - bits)) & _MASK
