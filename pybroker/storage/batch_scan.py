"""Walking the batch headers of a segment file without reading what lies between them."""

import zlib
from collections.abc import Callable, Iterator
from struct import Struct

from crc32c import crc32c

from pybroker.records.header import MIN_MESSAGE_BYTES, BatchHeader
from pybroker.records.layout import (
    ATTRIBUTES_POSITION,
    BATCH_HEADER,
    BATCH_HEADER_BYTES,
    LOG_OVERHEAD_BYTES,
    MAGIC_POSITION,
    MESSAGE_HEADER_V1,
    struct_of,
)
from pybroker.storage.errors import CorruptRecords

_HEADER: Struct = struct_of(BATCH_HEADER)
_LEGACY: Struct = struct_of(MESSAGE_HEADER_V1)
_PREFIX: Struct = struct_of(BATCH_HEADER, last="batch_length")
_new = tuple.__new__

SCAN_CHUNK_BYTES = 8192


def header_at(buffer: bytes | bytearray | memoryview, position: int) -> BatchHeader | None:
    """The header of the batch or old message at a position; None when the buffer ends inside the header.

    An old message comes back as a batch of one record at its own offset, without producer and epoch.

    Raises:
        CorruptRecords: an impossible size or an unknown magic.
    """
    left = len(buffer) - position
    if left <= MAGIC_POSITION:
        return None
    magic = buffer[position + MAGIC_POSITION]
    if magic == 2:
        if left < BATCH_HEADER_BYTES:
            return None
        header: BatchHeader = _new(BatchHeader, _HEADER.unpack_from(buffer, position))
        if header.batch_length < BATCH_HEADER_BYTES - LOG_OVERHEAD_BYTES or header.last_offset_delta < 0:
            raise CorruptRecords(f"impossible batch of {header.batch_length} bytes")
        return header
    return _legacy_header(buffer, position, magic, left)


def _legacy_header(
    buffer: bytes | bytearray | memoryview, position: int, magic: int, left: int
) -> BatchHeader | None:
    offset, size = _PREFIX.unpack_from(buffer, position)
    if magic > 2 or size < MIN_MESSAGE_BYTES:
        raise CorruptRecords(f"impossible message of {size} bytes and magic {magic}")
    timestamp, attributes = -1, 0
    if magic == 1:
        if left < _LEGACY.size:
            return None
        *_, attributes, timestamp = _LEGACY.unpack_from(buffer, position)
    return BatchHeader(offset, size, -1, magic, 0, attributes, 0, timestamp, timestamp, -1, -1, -1, 1)


def scan_headers(
    pread: Callable[[int, int, int], bytes],
    fd: int,
    start: int,
    end: int,
    chunk_bytes: int = SCAN_CHUNK_BYTES,
) -> Iterator[tuple[int, BatchHeader]]:
    """(position, header) of every batch that lies wholly within [start, end) of a file.

    Raises:
        CorruptRecords: an impossible size or an unknown magic.
    """
    chunk, chunk_start, position = b"", start, start
    while position + LOG_OVERHEAD_BYTES < end:
        header = header_at(chunk, position - chunk_start)
        if header is None:
            chunk = pread(fd, min(chunk_bytes, end - position), position)
            chunk_start = position
            header = header_at(chunk, 0)
            if header is None:
                return
        following = position + LOG_OVERHEAD_BYTES + header.batch_length
        if following > end:
            return
        yield position, header
        position = following


def batch_is_valid(header: BatchHeader, batch: memoryview) -> bool:
    """Whether a whole batch or old message has the CRC that it claims."""
    if header.magic == 2:
        crc: int = crc32c(batch[ATTRIBUTES_POSITION:])
        return crc == header.crc
    stored = int.from_bytes(batch[LOG_OVERHEAD_BYTES:MAGIC_POSITION], "big")
    return zlib.crc32(batch[MAGIC_POSITION:]) == stored
