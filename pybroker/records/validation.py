"""Deciding whether records may be appended, before anything is changed.

Sources: Kafka's ``ProduceRequest.validateRecords``, ``UnifiedLog.analyzeAndValidateRecords`` and
``LogValidator``, in that order; so are the checks, because the first one that fails decides the error code.
"""

from collections.abc import Iterator
from typing import NamedTuple

from crc32c import crc32c

from pybroker.model.errors import ErrorCode
from pybroker.records.batch import open_pieces, scan_batch, to_int64
from pybroker.records.compression import swells_beyond
from pybroker.records.errors import InvalidRecords, NothingToAppend, UnfitForRequest
from pybroker.records.header import (
    COMPRESSION_MASK,
    CONTROL_FLAG,
    CURRENT_MAGIC,
    NO_TIMESTAMP,
    TIMESTAMP_TYPE_FLAG,
    BatchHeader,
    Buffer,
    CompressionType,
    TimestampType,
    next_batch_size,
    patch_max_timestamp,
    read_batch_header,
)
from pybroker.records.layout import ATTRIBUTES_POSITION, BATCH_HEADER_BYTES, MAGIC_POSITION
from pybroker.records.policy import Origin, ValidationLevel, ValidationPolicy
from pybroker.records.record import Fields, check_lengths, walk_lengths
from pybroker.records.refusals import (
    RecordErrors,
    corrupt,
    invalid,
    is_out_of_range,
    too_large,
    unknown_codec,
)
from pybroker.records.rewriting import change_codec, compress_again
from pybroker.records.upconversion import convert_message_set

LATEST_PRODUCE_VERSION = 13
MIN_BATCH_VERSION = 3
"""First Produce version that carries record batches of magic 2 and nothing else."""

MIN_ZSTD_VERSION = 7
LONG_BYTES = 256 * 1024
LONG_WALK_BYTES = 17 * 64 * 1024
"""To decompress so much with a fast codec and step over the lengths takes 1 to 2 ms. To wait for a thread,
when clients keep the processors busy, takes longer. It is a full batch of a client's defaults."""

LONG_RECORDS = 2500
SMALLEST_RECORD_BYTES = 7
"""No key, no value, no headers, and every number in one byte."""

LONG_UNPACKED_RECORDS = 20_000
LONG_WALK_RECORDS = 50_000
_SIGN_BIT = 1 << 63

# Looking up a member of an enumeration costs as much as reading half a header, on every batch.
_CLIENT = Origin.CLIENT
_BY_BROKER = TimestampType.LOG_APPEND_TIME
_UNCOMPRESSED = int(CompressionType.NONE)
_LAST_CODEC = int(CompressionType.ZSTD)


class ValidatedBatch(NamedTuple):
    """One batch that may be appended: all is checked, base offset and leader epoch are still to be set."""

    header: BatchHeader
    """The header as it stands in the buffer."""

    buffer: memoryview
    """The batch and nothing else, always writable: the very bytes that came in, unless they were read-only or
    had to be compressed again or converted."""

    record_count: int
    max_timestamp: int
    """Largest timestamp in ms (-1: none). Below the level ``full`` it is the producer's word."""

    max_timestamp_offset_delta: int
    """Offset delta of the last record when there is a timestamp, else -1: Kafka's *shallow* offset."""

    log_append_time_ms: int = NO_TIMESTAMP
    """The broker's time when the topic has LogAppendTime, else -1."""


def validate_produce(
    records: Buffer,
    policy: ValidationPolicy,
    now_ms: int,
    *,
    produce_version: int = LATEST_PRODUCE_VERSION,
    origin: Origin = Origin.CLIENT,
) -> ValidatedBatch:
    """Decide about the records of one partition of one Produce request.

    Bytes after the batch that are no whole batch are dropped, as Kafka does. With LogAppendTime, or when the
    producer's largest timestamp proves wrong, timestamp and CRC are patched in place after the last check.
    It may take long (:func:`is_long`); it is a pure function of its arguments and may run in a thread.

    Raises:
        InvalidRecords: with the code that Kafka answers.
        UnfitForRequest: the version of the request does not allow such records.
        NothingToAppend: an empty message set of an old request.
    """
    size = _check_shape(records, produce_version)
    if records[MAGIC_POSITION] != CURRENT_MAGIC:
        return finish(convert_message_set(records, policy, now_ms), policy, now_ms)
    batch = memoryview(records)
    if size < len(batch):
        batch = batch[:size]
    header = _check_batch(batch, policy, origin)
    if produce_version < MIN_BATCH_VERSION and _has_another(records, size):
        raise invalid("there is more than one batch", policy)
    attributes = header.attributes
    source = attributes & COMPRESSION_MASK
    target = source if policy.compression_type is None else policy.compression_type
    if source == _UNCOMPRESSED and attributes & CONTROL_FLAG:
        target = _UNCOMPRESSED
    # A producer that claims the broker's timestamp is wrong on most topics, and rare: look at all of it.
    if target != source or policy.needs_full or attributes & TIMESTAMP_TYPE_FLAG:
        return _validate_fully(batch, header, policy, now_ms, CompressionType(target))
    if policy.checks_structure:
        _check_structure(batch, header, policy)
    return finish(batch, policy, now_ms, header)


def is_long(records: Buffer, policy: ValidationPolicy) -> bool:
    """Whether :func:`validate_produce` would take more than a few milliseconds; answers in microseconds.

    The caller then runs it in a thread. Judged by block headers and counts; about gzip, bytes can lie.
    """
    if len(records) < BATCH_HEADER_BYTES or records[MAGIC_POSITION] != CURRENT_MAGIC:
        return len(records) > LONG_BYTES // 8
    codec = records[ATTRIBUTES_POSITION + 1] & COMPRESSION_MASK
    full = policy.needs_full or policy.compression_type not in (None, codec)
    if codec == _UNCOMPRESSED:
        if len(records) < LONG_RECORDS * SMALLEST_RECORD_BYTES:
            return False  # whatever count it claims: the first record that is not there ends the walk
        count = read_batch_header(records).record_count
        if full:
            compresses = policy.compression_type not in (None, CompressionType.NONE)
            return count > LONG_RECORDS or (compresses and len(records) > LONG_BYTES)
        return policy.level >= ValidationLevel.STRUCTURE and count > LONG_WALK_RECORDS
    if codec > CompressionType.ZSTD or not (full or policy.level >= ValidationLevel.STRUCTURE):
        return False
    if full or codec == CompressionType.GZIP:
        limit = LONG_BYTES
    elif read_batch_header(records).record_count > LONG_UNPACKED_RECORDS:
        return True
    else:
        limit = LONG_WALK_BYTES
    return swells_beyond(CompressionType(codec), memoryview(records)[BATCH_HEADER_BYTES:], limit)


def finish(
    batch: memoryview, policy: ValidationPolicy, now_ms: int, header: BatchHeader | None = None
) -> ValidatedBatch:
    """Wrap up one batch whose checks are done."""
    if batch.readonly:
        batch = memoryview(bytearray(batch))
    if header is None:
        header = read_batch_header(batch)
    timestamp = header.max_timestamp
    return ValidatedBatch(
        header,
        batch,
        header.record_count,
        timestamp,
        header.last_offset_delta if timestamp != NO_TIMESTAMP else -1,
        now_ms if policy.timestamp_type is _BY_BROKER else NO_TIMESTAMP,
    )


def _check_shape(records: Buffer, produce_version: int) -> int:
    """What the request itself may carry; returns the size of its first batch in bytes."""
    try:
        size = next_batch_size(records, 0)
    except InvalidRecords as error:
        raise UnfitForRequest(error.code, error.message) from error
    if size is None:
        if produce_version >= MIN_BATCH_VERSION:
            raise _unfit("a Produce request must have a record batch for each partition")
        raise NothingToAppend
    magic = records[MAGIC_POSITION]
    if produce_version >= MIN_BATCH_VERSION:
        if magic != CURRENT_MAGIC:
            raise _unfit(f"Produce version {produce_version} takes record batches of magic 2 only")
        if produce_version < MIN_ZSTD_VERSION and size >= BATCH_HEADER_BYTES:
            codec = records[ATTRIBUTES_POSITION + 1] & COMPRESSION_MASK
            if codec == CompressionType.ZSTD:
                message = f"Produce version {produce_version} is not allowed to use zstd compression"
                raise UnfitForRequest(ErrorCode.UNSUPPORTED_COMPRESSION_TYPE, message)
            if codec > CompressionType.ZSTD:
                raise UnfitForRequest(ErrorCode.UNKNOWN_SERVER_ERROR, f"unknown compression type {codec}")
        if _has_another(records, size):
            raise _unfit("a Produce request takes exactly one record batch for each partition")
    return size


def _has_another(records: Buffer, size: int) -> bool:
    return len(records) > size and next_batch_size(records, size) is not None


def _unfit(message: str) -> UnfitForRequest:
    return UnfitForRequest(ErrorCode.INVALID_RECORD, message)


def _check_batch(batch: memoryview, policy: ValidationPolicy, origin: Origin) -> BatchHeader:
    """All that the header alone can show to be wrong, and the CRC."""
    client = origin is _CLIENT
    if len(batch) < BATCH_HEADER_BYTES and client and any(batch[:8]):
        raise invalid("the base offset must be 0", policy)
    header = read_batch_header(batch)
    if client and header.base_offset != 0:
        raise invalid(f"the base offset must be 0, but is {header.base_offset}", policy)
    if len(batch) > policy.max_message_bytes:
        raise too_large(len(batch), policy)
    if crc32c(batch[ATTRIBUTES_POSITION:]) != header.crc:
        raise corrupt(policy)
    if header.attributes & COMPRESSION_MASK > _LAST_CODEC:
        raise unknown_codec(header.compression_id, policy)
    if client:
        _check_client_header(header, policy)
    return header


def _check_client_header(header: BatchHeader, policy: ValidationPolicy) -> None:
    count = header.record_count
    if header.last_offset_delta < 0:
        raise invalid(f"the offset range [0, {header.last_offset_delta}] is empty", policy)
    if count <= 0:
        raise invalid(f"the record count {count} is not positive", policy)
    if count != header.last_offset_delta + 1:
        raise invalid(
            f"the offset range [0, {header.last_offset_delta}] does not hold {count} records", policy
        )
    if header.attributes & CONTROL_FLAG:
        raise invalid("clients are not allowed to write control records", policy)
    if header.base_sequence < 0 and header.has_producer:
        raise invalid(f"producer {header.producer_id} uses sequence number {header.base_sequence}", policy)


def _check_structure(batch: memoryview, header: BatchHeader, policy: ValidationPolicy) -> None:
    if header.attributes & COMPRESSION_MASK == _UNCOMPRESSED:
        end, done = walk_lengths(batch, BATCH_HEADER_BYTES, header.record_count)
        if done != header.record_count or end != len(batch):
            raise invalid("record lengths, record count and batch size do not agree", policy)
    else:
        check_lengths(open_pieces(batch, header, policy.max_decompressed_bytes), header.record_count)


def _validate_fully(
    batch: memoryview, header: BatchHeader, policy: ValidationPolicy, now_ms: int, target: CompressionType
) -> ValidatedBatch:
    """Scan every record; compress again when the topic has another codec."""
    scanned = scan_batch(batch, header, policy.max_decompressed_bytes)
    summary = check_records((fields for _, fields in scanned), header, policy, now_ms)
    if target != header.compression_id:
        if summary.keeps_encoding:
            rewritten = change_codec(batch, header, policy, now_ms, target, summary.max_timestamp)
        else:
            rewritten = compress_again(batch, header, policy, now_ms, target)
        return finish(rewritten, policy, now_ms)
    if header.compression_id != CompressionType.NONE and not summary.in_order:
        raise InvalidRecords(
            ErrorCode.UNKNOWN_SERVER_ERROR, f"the offsets of compressed records do not count up{policy.where}"
        )
    by_broker = policy.timestamp_type is TimestampType.LOG_APPEND_TIME
    wanted = now_ms if by_broker else summary.max_timestamp
    if header.timestamp_type is policy.timestamp_type and header.max_timestamp == wanted:
        return finish(batch, policy, now_ms, header)
    if batch.readonly:
        batch = memoryview(bytearray(batch))
    patch_max_timestamp(batch, policy.timestamp_type, wanted)
    return finish(batch, policy, now_ms)


class RecordSummary(NamedTuple):
    """What all records of a batch together show."""

    max_timestamp: int
    in_order: bool
    """Offset deltas count up by 1 from 0."""

    keeps_encoding: bool
    """A batch of another codec can hold the same encoded records."""


def check_records(
    scanned: Iterator[Fields], header: BatchHeader, policy: ValidationPolicy, now_ms: int
) -> RecordSummary:
    """Check every record of a batch.

    Raises:
        InvalidRecords: naming every record that has no key or a bad timestamp (KIP-467), or because there are
            not as many as the header says.
    """
    base = header.base_timestamp
    by_batch = header.timestamp_type is TimestampType.LOG_APPEND_TIME
    compacted = policy.compacted
    checks_range = policy.timestamp_type is TimestampType.CREATE_TIME
    earliest, latest = now_ms - policy.before_max_ms, now_ms + policy.after_max_ms
    max_timestamp = NO_TIMESTAMP
    min_timestamp = 0
    in_order = True
    first_delta = 0
    count = header.record_count
    index = 0
    errors = RecordErrors(policy, now_ms)
    for fields in scanned:
        if index >= count:
            raise invalid("bytes are left after the last record", policy)
        timestamp = header.max_timestamp if by_batch else base + fields.timestamp_delta
        if not -_SIGN_BIT <= timestamp < _SIGN_BIT:
            timestamp = to_int64(timestamp)
        if timestamp > max_timestamp:
            max_timestamp = timestamp
        elif timestamp < min_timestamp:
            min_timestamp = timestamp
        if index == 0:
            first_delta = fields.timestamp_delta
        if fields.offset_delta != index:
            in_order = False
        if compacted and fields.key_size < 0:
            errors.no_key(index)
        elif checks_range and timestamp != NO_TIMESTAMP:
            if not earliest <= timestamp <= latest and is_out_of_range(timestamp, policy, now_ms):
                errors.bad_timestamp(index, header.base_offset + fields.offset_delta, timestamp)
        elif by_batch:
            errors.wrong_timestamp_type(index)
        index += 1
    if index < count:
        raise invalid("the records end too early", policy)
    errors.raise_if_any()
    keeps_encoding = in_order and not by_batch and first_delta == 0 and min_timestamp >= NO_TIMESTAMP
    return RecordSummary(max_timestamp, in_order, keeps_encoding)
