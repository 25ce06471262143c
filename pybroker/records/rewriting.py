"""Batches that the broker makes anew: the topic has another codec, or they came in an old format.

Source: Kafka's ``LogValidator.buildRecordsAndAssignOffsets``.
"""

from collections.abc import Iterable

from pybroker.model.errors import ErrorCode
from pybroker.records.batch import iter_records
from pybroker.records.builder import RecordBatchBuilder
from pybroker.records.errors import InvalidRecords
from pybroker.records.header import NO_TIMESTAMP, BatchHeader, CompressionType, Record, TimestampType
from pybroker.records.policy import ValidationPolicy
from pybroker.records.refusals import too_large


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
        level=policy.compression_level if target == policy.compression_type else None,
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
        built = memoryview(bytearray(builder.build()))
    except ValueError as error:
        raise InvalidRecords(ErrorCode.UNKNOWN_SERVER_ERROR, f"{error}{policy.where}") from error
    if len(built) > policy.max_message_bytes:
        raise too_large(len(built), policy)
    return built
