"""Record batches of magic 2, the front of this room: headers (from ``header``) and the records inside.

Source: Kafka's ``DefaultRecordBatch``.
"""

from collections.abc import Iterator

from pybroker.model.errors import ErrorCode
from pybroker.records.compression import (
    DEFAULT_CEILING_BYTES,
    DecompressedTooLarge,
    DecompressionFailed,
    decompress_pieces,
)
from pybroker.records.errors import InvalidRecords
from pybroker.records.header import (
    NO_SEQUENCE,
    NO_TIMESTAMP,
    BatchHeader,
    Buffer,
    CompressionType,
    Record,
    TimestampType,
    compute_crc,
    crc_is_valid,
    decrement_sequence,
    increment_sequence,
    iter_batch_headers,
    next_batch_size,
    patch_max_timestamp,
    patch_offset_and_epoch,
    read_batch_header,
)
from pybroker.records.layout import BATCH_HEADER_BYTES
from pybroker.records.record import Fields, bad_record, read_headers, scan_record, stream_records

__all__ = [
    "BATCH_HEADER_BYTES",
    "NO_SEQUENCE",
    "NO_TIMESTAMP",
    "BatchHeader",
    "Buffer",
    "CompressionType",
    "Record",
    "TimestampType",
    "compute_crc",
    "crc_is_valid",
    "decrement_sequence",
    "increment_sequence",
    "iter_batch_headers",
    "iter_records",
    "next_batch_size",
    "patch_max_timestamp",
    "patch_offset_and_epoch",
    "read_batch_header",
]

_SIGN_BIT = 1 << 63
_LONG_RANGE = 1 << 64
_new = tuple.__new__


def iter_records(
    batch: Buffer, header: BatchHeader | None = None, *, ceiling_bytes: int = DEFAULT_CEILING_BYTES
) -> Iterator[Record]:
    """The records of one whole magic 2 batch, with absolute offsets and timestamps. The CRC is not checked.

    Raises:
        InvalidRecords: records and header do not agree (``INVALID_RECORD``), or as :func:`open_pieces`.
    """
    if header is None:
        header = read_batch_header(batch)
    base_offset, base_timestamp, count = header.base_offset, header.base_timestamp, header.record_count
    if count < 0:
        raise bad_record(f"record count is {count}")
    append_time = header.max_timestamp if header.timestamp_type is TimestampType.LOG_APPEND_TIME else None
    seen = 0
    for buffer, fields in scan_batch(batch, header, ceiling_bytes):
        seen += 1
        if seen > count:
            raise bad_record("bytes are left after the last record")
        _, timestamp_delta, offset_delta, key_at, key_size, value_at, value_size, _, header_count = fields
        timestamp = base_timestamp + timestamp_delta if append_time is None else append_time
        if not -_SIGN_BIT <= timestamp < _SIGN_BIT:
            timestamp = to_int64(timestamp)
        yield _new(
            Record,
            (
                base_offset + offset_delta,
                timestamp,
                None if key_size < 0 else bytes(buffer[key_at : key_at + key_size]),
                None if value_size < 0 else bytes(buffer[value_at : value_at + value_size]),
                read_headers(buffer, fields) if header_count else (),
            ),
        )
    if seen < count:
        raise bad_record("the records end too early")


def scan_batch(batch: Buffer, header: BatchHeader, ceiling_bytes: int) -> Iterator[tuple[Buffer, Fields]]:
    """Scan what records there are in one whole batch, as (the bytes that hold it, its fields)."""
    if header.compression_id == CompressionType.NONE:
        end = header.size_in_bytes
        body = batch if len(batch) == end else memoryview(batch)[:end]
        position = BATCH_HEADER_BYTES
        while position < end:
            fields = scan_record(body, position)
            yield body, fields
            position = fields.end
    else:
        yield from stream_records(open_pieces(batch, header, ceiling_bytes))


def open_pieces(batch: Buffer, header: BatchHeader, ceiling_bytes: int) -> Iterator[bytes]:
    """The decompressed records of one whole batch, in pieces.

    Raises:
        InvalidRecords: unknown codec or damaged data (``UNKNOWN_SERVER_ERROR``, which is what Kafka makes of
            it), or more than the ceiling (``MESSAGE_TOO_LARGE``, upon which Java producers split the batch).
    """
    data = memoryview(batch)[BATCH_HEADER_BYTES : header.size_in_bytes]
    return checked_pieces(header.compression_id, data, 2, ceiling_bytes)


def checked_pieces(codec: int, data: Buffer, magic: int, ceiling_bytes: int) -> Iterator[bytes]:
    """As :func:`open_pieces`, for bytes without a header."""
    if codec > CompressionType.ZSTD:
        raise InvalidRecords(ErrorCode.UNKNOWN_SERVER_ERROR, f"unknown compression type {codec}")
    try:
        yield from decompress_pieces(CompressionType(codec), data, magic=magic, ceiling_bytes=ceiling_bytes)
    except DecompressionFailed as error:
        message = f"records cannot be decompressed: {error}"
        raise InvalidRecords(ErrorCode.UNKNOWN_SERVER_ERROR, message) from error
    except DecompressedTooLarge as error:
        raise InvalidRecords(ErrorCode.MESSAGE_TOO_LARGE, str(error)) from error


def to_int64(value: int) -> int:
    """Wrap a sum into 64 bits, as Java's arithmetic does with timestamps that lie."""
    return (value + _SIGN_BIT) % _LONG_RANGE - _SIGN_BIT
