"""What the headers of zstd frames say about their size, without decompressing them.

Java writes no content size into frames, and the Python library does not tell a cut frame from a whole one.
Source: RFC 8878, sections 3.1.1 (frames and blocks) and 3.1.2 (skippable frames).
"""

_MAGIC = b"\x28\xb5\x2f\xfd"
_SKIPPABLE_MAGIC = b"\x2a\x4d\x18"
_MAX_BLOCK_BYTES = 128 * 1024
_MAX_BLOCKS_JUDGED = 64
_RLE_BLOCK = 1
_COMPRESSED_BLOCK = 2


def bound(view: memoryview, limit: int) -> int:
    """Upper bound of the decompressed size; reading stops once it is above the limit.

    Many blocks, or a second frame, count as above: no producer makes them of a small batch.
    """
    position = _blocks_start(view, 0)
    if position is None:
        return 0 if bytes(view[:4]) == _MAGIC else limit + 1
    total = 0
    for _ in range(_MAX_BLOCKS_JUDGED):
        if position + 3 > len(view) or total > limit:
            return total
        last, kind, size = _block(view, position)
        total += _MAX_BLOCK_BYTES if kind == _COMPRESSED_BLOCK else size
        position += 3 + (1 if kind == _RLE_BLOCK else size)
        if last:
            return total if len(view) <= position + 4 else limit + 1
    return limit + 1


def is_cut(view: memoryview) -> bool:
    """Whether data that could be decompressed ends before its last frame does."""
    position = 0
    while position < len(view):
        if bytes(view[position + 1 : position + 4]) == _SKIPPABLE_MAGIC:
            position += 8 + int.from_bytes(view[position + 4 : position + 8], "little")
            continue
        start = _blocks_start(view, position)
        if start is None:
            return True
        has_checksum = view[position + 4] & 4
        position = start
        last = False
        while not last:
            if position + 3 > len(view):
                return True
            last, kind, size = _block(view, position)
            position += 3 + (1 if kind == _RLE_BLOCK else size)
        if has_checksum:
            position += 4
    return position > len(view)


def _blocks_start(view: memoryview, position: int) -> int | None:
    """Where the blocks of the frame at a position start; None when there is no whole zstd frame header."""
    if len(view) < position + 6 or bytes(view[position : position + 4]) != _MAGIC:
        return None
    descriptor = view[position + 4]
    single_segment = descriptor >> 5 & 1
    content_size_bytes = (single_segment, 2, 4, 8)[descriptor >> 6]
    return position + 6 - single_segment + (0, 1, 2, 4)[descriptor & 3] + content_size_bytes


def _block(view: memoryview, position: int) -> tuple[bool, int, int]:
    """A block's header: whether it is the last of its frame, its type, its size field."""
    header = int.from_bytes(view[position : position + 3], "little")
    return bool(header & 1), header >> 1 & 3, header >> 3
