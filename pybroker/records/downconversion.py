"""Stored batches on their way to consumers of magic 0 and 1 (Fetch 0 to 3).

Source: Kafka's ``RecordsUtil.downConvert`` and ``LazyDownConversionRecords`` (KIP-283).
"""

from struct import error as StructError  # noqa: N812 (it is an exception class)

from pybroker.model.errors import ErrorCode
from pybroker.model.ids import Offset
from pybroker.records.batch import iter_records
from pybroker.records.compression import DEFAULT_CEILING_BYTES
from pybroker.records.errors import InvalidRecords
from pybroker.records.header import (
    NO_TIMESTAMP,
    BatchHeader,
    CompressionType,
    TimestampType,
    next_batch_size,
    read_batch_header,
)
from pybroker.records.layout import BATCH_HEADER_BYTES, LOG_OVERHEAD, MAGIC_POSITION, struct_of
from pybroker.records.legacy import Message, build_message_set, read_message, records_of

OVERFLOW_MESSAGE = struct_of(LOG_OVERHEAD).pack(-1, BATCH_HEADER_BYTES)
"""The start of a message that never ends: tells a consumer that there are records it cannot be shown."""


def down_convert(
    records: bytes | memoryview,
    to_magic: int,
    first_offset: Offset,
    *,
    ceiling_bytes: int = DEFAULT_CEILING_BYTES,
) -> bytes:
    """The batches of a fetch as message sets of magic 0 or 1.

    Control batches are dropped, headers are lost, and a codec stays what it is. Of uncompressed batches the
    records below ``first_offset`` are dropped, as messages of these formats are not batched. At least the
    first batch is converted; more follow while the result is no longer than what came in. When nothing is
    left, the answer is :data:`OVERFLOW_MESSAGE`. A batch that swells beyond ``ceiling_bytes`` is refused.

    Bulk work in Python: of the order of 5 ms for 1 MB of 1 KB records.

    Raises:
        InvalidRecords: the first batch is compressed with zstd (``UNSUPPORTED_COMPRESSION_TYPE``), or a batch
            is damaged. Later zstd batches end the result instead, so that the consumer comes back for them.
    """
    converted: list[bytes] = []
    total = 0
    position = 0
    view = memoryview(records)
    while (size := next_batch_size(view, position)) is not None:
        batch = view[position : position + size]
        position += size
        try:
            part = _convert_batch(batch, to_magic, first_offset, ceiling_bytes)
        except InvalidRecords as refusal:
            if converted and refusal.code is ErrorCode.UNSUPPORTED_COMPRESSION_TYPE:
                break
            raise
        if not part:
            continue
        if converted and total + len(part) > len(view):
            break
        converted.append(part)
        total += len(part)
    if converted:
        return b"".join(converted)
    return OVERFLOW_MESSAGE if position else b""


def _convert_batch(batch: memoryview, to_magic: int, first_offset: Offset, ceiling_bytes: int) -> bytes:
    """One batch or old message in the format asked for; empty when it has no place there."""
    magic = batch[MAGIC_POSITION]
    if magic <= to_magic:
        return bytes(batch)
    source: BatchHeader | Message
    if magic == 1:
        source = read_message(batch, 0, len(batch))
        latest = source.timestamp
        records = records_of(source, ceiling_bytes=ceiling_bytes)
    else:
        source = read_batch_header(batch)
        latest = source.max_timestamp
        if source.is_control:
            return b""
        if source.compression_id == CompressionType.ZSTD:
            raise InvalidRecords(
                ErrorCode.UNSUPPORTED_COMPRESSION_TYPE,
                "zstd batches cannot be converted down",
            )
        records = iter_records(batch, source, ceiling_bytes=ceiling_bytes)
    if source.compression_id > CompressionType.ZSTD:
        raise InvalidRecords(
            ErrorCode.UNKNOWN_SERVER_ERROR, f"unknown compression type {source.compression_id}"
        )
    codec = CompressionType(source.compression_id)
    if not codec:
        records = (record for record in records if record.offset >= first_offset)
    by_broker = source.timestamp_type is TimestampType.LOG_APPEND_TIME
    try:
        return build_message_set(
            records,
            to_magic,
            compression=codec,
            timestamp_type=TimestampType.LOG_APPEND_TIME if by_broker else TimestampType.CREATE_TIME,
            log_append_time_ms=latest if by_broker else NO_TIMESTAMP,
            ceiling_bytes=ceiling_bytes,
        )
    except StructError as error:
        raise InvalidRecords(ErrorCode.CORRUPT_MESSAGE, "an offset does not fit 64 bits") from error
