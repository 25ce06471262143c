"""Message sets of magic 0 and 1 on their way in: checked, and turned into one batch of magic 2.

Source: Kafka's ``LogValidator`` with a topic of the current format, which since 3.0 every topic has.
"""

from collections.abc import Iterable, Iterator

from pybroker.records.batch import crc_is_valid
from pybroker.records.header import (
    CURRENT_MAGIC,
    NO_TIMESTAMP,
    Buffer,
    CompressionType,
    Record,
    TimestampType,
    next_batch_size,
)
from pybroker.records.layout import MAGIC_POSITION
from pybroker.records.legacy import Message, message_codec, message_crc_is_valid, open_wrapper, read_message
from pybroker.records.policy import ValidationPolicy
from pybroker.records.refusals import (
    RecordErrors,
    corrupt,
    invalid,
    is_out_of_range,
    too_large,
    unknown_codec,
)
from pybroker.records.rewriting import build_for_topic


def convert_message_set(records: Buffer, policy: ValidationPolicy, now_ms: int) -> memoryview:
    """One batch of magic 2 with the records of a message set, each of them checked; offsets count up from 0.

    Raises:
        InvalidRecords: with the code that Kafka answers.
    """
    source, count = _check_messages(records, policy)
    if source and count > 1:
        raise invalid("a compressed message set has more than one wrapper", policy)
    target = source if policy.compression_type is None else policy.compression_type
    return build_for_topic(_checked_records(records, policy, now_ms), None, policy, now_ms, target)


def _iter_messages(records: Buffer) -> Iterator[memoryview]:
    """The whole messages of a set; a cut last one is dropped."""
    view = memoryview(records)
    position = 0
    while (size := next_batch_size(view, position)) is not None:
        yield view[position : position + size]
        position += size


def _check_messages(records: Buffer, policy: ValidationPolicy) -> tuple[CompressionType, int]:
    """Check what shows without looking inside; returns the codec of the set and the count of its messages."""
    source = CompressionType.NONE
    count = 0
    for message in _iter_messages(records):
        count += 1
        if len(message) > policy.max_message_bytes:
            raise too_large(len(message), policy)
        is_batch = message[MAGIC_POSITION] == CURRENT_MAGIC
        if not (crc_is_valid(message) if is_batch else message_crc_is_valid(message)):
            raise corrupt(policy)
        if is_batch:
            continue
        codec = message_codec(message)
        if codec > CompressionType.ZSTD:
            raise unknown_codec(codec, policy)
        if codec:
            source = CompressionType(codec)
    return source, count


def _checked_records(records: Buffer, policy: ValidationPolicy, now_ms: int) -> Iterator[Record]:
    """All records of a set, those of each message after all of them were checked."""
    first_magic: int | None = None
    for view in _iter_messages(records):
        if first_magic is None:
            first_magic = view[MAGIC_POSITION]
        elif view[MAGIC_POSITION] != first_magic:
            raise invalid(f"magic {view[MAGIC_POSITION]} follows magic {first_magic} in one set", policy)
        message = read_message(view, 0, len(view))
        if message.compression_id:
            wrapped = open_wrapper(message, ceiling_bytes=policy.max_decompressed_bytes)
            _check_inner(message, wrapped.read(verify=True), policy, now_ms)
            inner: Iterable[Message] = wrapped
        else:
            inner = (message,)
            _check_inner(message, inner, policy, now_ms)
        for one in inner:
            yield Record(0, one.timestamp, one.key, one.value)


def _check_inner(message: Message, inner: Iterable[Message], policy: ValidationPolicy, now_ms: int) -> None:
    """Check the records of one message, itself or what it wraps. Errors name their index within it."""
    errors = RecordErrors(policy, now_ms)
    by_create_time = policy.timestamp_type is TimestampType.CREATE_TIME
    by_producer = message.timestamp_type is not TimestampType.LOG_APPEND_TIME
    for index, record in enumerate(inner):
        if record.magic != message.magic:
            errors.wrong_magic(index, message.magic)
            continue
        if policy.compacted and record.key is None:
            errors.no_key(index)
        elif by_create_time and record.timestamp != NO_TIMESTAMP:
            if is_out_of_range(record.timestamp, policy, now_ms):
                errors.bad_timestamp(index, record.offset, record.timestamp)
        elif not by_producer:
            errors.wrong_timestamp_type(index)
    errors.raise_if_any()
