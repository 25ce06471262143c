"""Message sets of magic 0 and 1 on their way in: checked, and turned into one batch of magic 2.

Source: Kafka's ``LogValidator`` with a topic of the current format, which since 3.0 every topic has.
"""

from pybroker.records.header import (
    NO_TIMESTAMP,
    Buffer,
    CompressionType,
    Record,
    TimestampType,
    next_batch_size,
)
from pybroker.records.legacy import Message, message_crc_is_valid, read_inner_messages, read_message
from pybroker.records.policy import ValidationPolicy
from pybroker.records.refusals import (
    bad_timestamp,
    corrupt,
    invalid,
    is_out_of_range,
    no_key,
    refuse,
    too_large,
    unknown_codec,
    wrong_timestamp_type,
)
from pybroker.records.rewriting import build_for_topic


def convert_message_set(records: Buffer, policy: ValidationPolicy, now_ms: int) -> memoryview:
    """One batch of magic 2 with the records of a message set, each of them checked; offsets count up from 0.

    Raises:
        InvalidRecords: with the code that Kafka answers.
    """
    messages = _read_messages(records, policy)
    source = max(message.compression_id for message in messages)
    if source and len(messages) > 1:
        raise invalid("a compressed message set has more than one wrapper", policy)
    converted: list[Record] = []
    for message in messages:
        if message.magic != messages[0].magic:
            raise invalid(
                f"magic {message.magic} follows magic {messages[0].magic} in one message set", policy
            )
        converted.extend(_check_message(message, policy, now_ms))
    target = CompressionType(source) if policy.compression_type is None else policy.compression_type
    return build_for_topic(converted, None, policy, now_ms, target)


def _read_messages(records: Buffer, policy: ValidationPolicy) -> list[Message]:
    """The whole messages of a set; a cut last one is dropped."""
    messages = []
    position = 0
    while (size := next_batch_size(records, position)) is not None:
        if size > policy.max_message_bytes:
            raise too_large(size, policy)
        if not message_crc_is_valid(memoryview(records)[position : position + size]):
            raise corrupt(policy)
        message = read_message(records, position, size)
        if message.compression_id > CompressionType.ZSTD:
            raise unknown_codec(message.compression_id, policy)
        messages.append(message)
        position += size
    return messages


def _check_message(message: Message, policy: ValidationPolicy, now_ms: int) -> list[Record]:
    """The records of one message: itself, or what it wraps. Errors name their index within it."""
    if message.compression_id:
        inner = read_inner_messages(message, ceiling_bytes=policy.max_decompressed_bytes)
    else:
        inner = [message]
    errors: list[tuple[int, str]] = []
    bad_time = False
    for index, record in enumerate(inner):
        if record.magic != message.magic:
            errors.append((index, f"its magic is not that of the set, {message.magic}{policy.where}"))
            continue
        if message.compression_id and not record.crc_is_valid:
            raise corrupt(policy)
        if policy.compacted and record.key is None:
            errors.append((index, no_key(policy)))
        elif policy.timestamp_type is TimestampType.CREATE_TIME and record.timestamp != NO_TIMESTAMP:
            if is_out_of_range(record.timestamp, policy, now_ms):
                bad_time = True
                errors.append((index, bad_timestamp(record.timestamp, policy, now_ms)))
        elif message.timestamp_type is TimestampType.LOG_APPEND_TIME:
            bad_time = True
            errors.append((index, wrong_timestamp_type()))
    if errors:
        raise refuse(errors, bad_time)
    return [Record(0, record.timestamp, record.key, record.value) for record in inner]
