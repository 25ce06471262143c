"""Batches that the broker makes anew: the topic has another codec, or they came in an old format.

Source: Kafka's ``LogValidator.buildRecordsAndAssignOffsets``.
"""

from collections.abc import Iterable

from pybroker.model.errors import ErrorCode
from pybroker.records.batch import iter_records, open_pieces
from pybroker.records.builder import RecordBatchBuilder, assemble_batch, check_producer
from pybroker.records.compression import compress
from pybroker.records.errors import InvalidRecords
from pybroker.records.header import (
    CONTROL_FLAG,
    NO_TIMESTAMP,
    TIMESTAMP_TYPE_FLAG,
    TRANSACTIONAL_FLAG,
    BatchHeader,
    Buffer,
    CompressionType,
    Record,
    TimestampType,
)
from pybroker.records.layout import BATCH_HEADER_BYTES
from pybroker.records.policy import ValidationPolicy
from pybroker.records.refusals import too_large


def change_codec(
    batch: memoryview,
    header: BatchHeader,
    policy: ValidationPolicy,
    now_ms: int,
    target: CompressionType,
    max_timestamp: int,
) -> memoryview:
    """One whole, checked batch under another codec, its encoded records left as they are.

    Only for records whose offsets count up and whose first has the base timestamp; raises as
    :func:`compress_again`.
    """
    by_broker = policy.timestamp_type is TimestampType.LOG_APPEND_TIME
    try:
        check_producer(header.producer_id, header.producer_epoch, header.base_sequence, header.attributes)
    except ValueError as error:
        raise _unwritable(error, policy) from error
    if header.compression_id:
        body: Buffer = b"".join(open_pieces(batch, header, policy.max_decompressed_bytes))
    else:
        body = batch[BATCH_HEADER_BYTES:]
    built = assemble_batch(
        compress(target, body, level=_level(policy, target)) if target else body,
        base_offset=header.base_offset,
        leader_epoch=header.leader_epoch,
        attributes=target
        | (TIMESTAMP_TYPE_FLAG if by_broker else 0)
        | (header.attributes & (TRANSACTIONAL_FLAG | CONTROL_FLAG)),
        last_offset_delta=header.last_offset_delta,
        base_timestamp=header.base_timestamp,
        max_timestamp=now_ms if by_broker else max_timestamp,
        producer_id=header.producer_id,
        producer_epoch=header.producer_epoch,
        base_sequence=header.base_sequence,
        record_count=header.record_count,
    )
    return _checked(built, policy)


def compress_again(
    batch: memoryview, header: BatchHeader, policy: ValidationPolicy, now_ms: int, target: CompressionType
) -> memoryview:
    """One whole, checked batch with its records written again, offsets counting up from the base offset.

    Raises:
        InvalidRecords: the result is larger than the topic allows (``MESSAGE_TOO_LARGE``), or it cannot be
            written, as with timestamps below -1 (``UNKNOWN_SERVER_ERROR``, as Kafka).
    """
    records = iter_records(batch, header, ceiling_bytes=policy.max_decompressed_bytes)
    return build_for_topic(records, header, policy, now_ms, target)


def build_for_topic(
    records: Iterable[Record],
    header: BatchHeader | None,
    policy: ValidationPolicy,
    now_ms: int,
    target: CompressionType,
) -> memoryview:
    """Records as one new batch for a topic, with the producer state of the batch that they came in."""
    by_broker = policy.timestamp_type is TimestampType.LOG_APPEND_TIME
    builder = RecordBatchBuilder(
        compression=target,
        level=_level(policy, target),
        timestamp_type=policy.timestamp_type,
        log_append_time_ms=now_ms if by_broker else NO_TIMESTAMP,
    )
    if header is not None:
        builder.base_offset = header.base_offset
        builder.producer_id = header.producer_id
        builder.producer_epoch = header.producer_epoch
        builder.base_sequence = header.base_sequence
        builder.is_transactional = header.is_transactional
        builder.leader_epoch = header.leader_epoch
    try:
        for record in records:
            builder.append(record.key, record.value, record.timestamp, record.headers)
        built = builder.build()
    except ValueError as error:
        raise _unwritable(error, policy) from error
    return _checked(built, policy)


def _level(policy: ValidationPolicy, target: CompressionType) -> int | None:
    return policy.compression_level if target == policy.compression_type else None


def _checked(built: bytes, policy: ValidationPolicy) -> memoryview:
    if len(built) > policy.max_message_bytes:
        raise too_large(len(built), policy)
    return memoryview(bytearray(built))


def _unwritable(error: ValueError, policy: ValidationPolicy) -> InvalidRecords:
    return InvalidRecords(ErrorCode.UNKNOWN_SERVER_ERROR, f"{error}{policy.where}")
