"""What may be appended: the rules by name. Kafka's own verdicts on thousands of inputs are in test_golden."""

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pybroker.model.errors import ErrorCode
from pybroker.model.ids import TopicPartition
from pybroker.records.batch import (
    CompressionType,
    Record,
    TimestampType,
    crc_is_valid,
    iter_records,
    patch_max_timestamp,
    read_batch_header,
)
from pybroker.records.builder import build_batch
from pybroker.records.control import ControlRecordType, EndTransactionMarker, build_end_transaction_marker
from pybroker.records.errors import InvalidRecords, NothingToAppend
from pybroker.records.header import compute_crc
from pybroker.records.layout import BATCH_HEADER, CRC_POSITION, offset_of
from pybroker.records.policy import Origin, ValidationLevel, ValidationPolicy
from pybroker.records.refusals import MAX_RECORD_ERRORS
from pybroker.records.validation import (
    LONG_BYTES,
    LONG_UNPACKED_RECORDS,
    LONG_WALK_BYTES,
    is_long,
    validate_produce,
)
from tests.records.samples import CODECS, NOW, SAMPLE, record_lists, sample_batch

_FULL = ValidationPolicy(level=ValidationLevel.FULL)


def _refusal(records: bytes | bytearray, policy: ValidationPolicy, **options: object) -> InvalidRecords:
    before = bytes(records)
    with pytest.raises(InvalidRecords) as refusal:
        validate_produce(memoryview(records), policy, NOW, **options)  # type: ignore[arg-type]
    assert bytes(records) == before, "refused records must not be changed"
    return refusal.value


@pytest.mark.parametrize("level", ValidationLevel)
@pytest.mark.parametrize("codec", CODECS)
def test_good_records_are_passed_on_without_a_copy(codec: CompressionType, level: ValidationLevel) -> None:
    batch = sample_batch(codec)
    validated = validate_produce(memoryview(batch), ValidationPolicy(level=level), NOW)
    assert validated.buffer.obj is batch
    assert not validated.buffer.readonly
    assert validated.header == read_batch_header(batch)
    assert validated.record_count == len(SAMPLE)
    assert (validated.max_timestamp, validated.max_timestamp_offset_delta) == (NOW + 7, 5)
    assert validated.log_append_time_ms == -1


def test_read_only_bytes_are_copied_so_that_storage_can_patch_them() -> None:
    batch = bytes(sample_batch())
    validated = validate_produce(batch, ValidationPolicy(), NOW)
    assert not validated.buffer.readonly
    assert validated.buffer == batch


@settings(max_examples=60, deadline=None)
@given(
    record_lists(),
    st.sampled_from(CODECS),
    st.sampled_from([None, *CODECS]),
    st.sampled_from(ValidationLevel),
)
def test_what_is_built_is_valid_and_holds_the_same_records(
    records: list[Record], codec: CompressionType, target: CompressionType | None, level: ValidationLevel
) -> None:
    batch = build_batch(records, compression=codec)
    policy = ValidationPolicy(level=level, compression_type=target)
    validated = validate_produce(batch, policy, NOW)
    assert list(iter_records(validated.buffer)) == records
    assert validated.header.compression is (codec if target is None else target)
    assert crc_is_valid(validated.buffer)
    assert validated.max_timestamp == max(record.timestamp for record in records)


def test_compressing_again_keeps_the_producer_and_its_transaction() -> None:
    batch = build_batch(SAMPLE, producer_id=7, producer_epoch=2, base_sequence=11, is_transactional=True)
    validated = validate_produce(batch, ValidationPolicy(compression_type=CompressionType.ZSTD), NOW)
    header = validated.header
    assert (header.producer_id, header.producer_epoch, header.base_sequence) == (7, 2, 11)
    assert header.is_transactional
    assert header.compression is CompressionType.ZSTD


def test_the_level_of_the_topics_codec_is_used() -> None:
    text = " ".join(str(number * number) for number in range(3000)).encode()
    batch = build_batch([Record(0, NOW, None, text)])
    sizes = [
        validate_produce(
            batch, ValidationPolicy(compression_type=CompressionType.GZIP, compression_level=level), NOW
        ).header.size_in_bytes
        for level in (1, 9)
    ]
    assert sizes[0] > sizes[1]


def test_log_append_time_is_stamped_into_the_header_after_all_checks() -> None:
    batch = sample_batch(CompressionType.LZ4)
    policy = ValidationPolicy(timestamp_type=TimestampType.LOG_APPEND_TIME)
    validated = validate_produce(memoryview(batch), policy, NOW + 1000)
    assert validated.buffer.obj is batch
    assert (validated.log_append_time_ms, validated.max_timestamp) == (NOW + 1000, NOW + 1000)
    assert crc_is_valid(batch)
    assert {record.timestamp for record in iter_records(batch)} == {NOW + 1000}


def test_a_largest_timestamp_that_lies_is_corrected_at_the_level_full_only() -> None:
    for level, expected in ((ValidationLevel.FULL, NOW + 7), (ValidationLevel.STRUCTURE, 3)):
        batch = sample_batch()
        patch_max_timestamp(batch, TimestampType.CREATE_TIME, 3)
        validated = validate_produce(memoryview(batch), ValidationPolicy(level=level), NOW)
        assert validated.max_timestamp == read_batch_header(batch).max_timestamp == expected
        assert crc_is_valid(batch)


def test_records_without_timestamps_have_no_largest_one() -> None:
    batch = build_batch([Record(0, -1, b"k", b"v")])
    validated = validate_produce(batch, _FULL, NOW)
    assert (validated.max_timestamp, validated.max_timestamp_offset_delta) == (-1, -1)


@pytest.mark.parametrize("codec", CODECS)
def test_every_record_of_a_compacted_topic_needs_a_key(codec: CompressionType) -> None:
    policy = ValidationPolicy(level=ValidationLevel.HEADER, compacted=True)
    refusal = _refusal(sample_batch(codec), policy)
    assert refusal.code is ErrorCode.INVALID_RECORD
    assert [index for index, _ in refusal.record_errors] == [1, 4]


@pytest.mark.parametrize("codec", CODECS)
def test_timestamp_bounds_are_inclusive_and_name_each_record(codec: CompressionType) -> None:
    records = [Record(index, NOW + age, b"k", b"") for index, age in enumerate((-11, -10, -1, 0, 20, 21))]
    policy = ValidationPolicy(before_max_ms=10, after_max_ms=20)
    refusal = _refusal(build_batch(records, compression=codec), policy)
    assert refusal.code is ErrorCode.INVALID_TIMESTAMP
    assert [index for index, _ in refusal.record_errors] == [0, 5]
    validate_produce(build_batch([Record(0, -1, b"k", b"")]), policy, NOW)


def test_a_producer_may_not_claim_log_append_time() -> None:
    batch = build_batch(SAMPLE, timestamp_type=TimestampType.LOG_APPEND_TIME, log_append_time_ms=NOW)
    refusal = _refusal(batch, ValidationPolicy(timestamp_type=TimestampType.LOG_APPEND_TIME))
    assert refusal.code is ErrorCode.INVALID_TIMESTAMP
    assert len(refusal.record_errors) == len(SAMPLE)


def test_a_batch_may_be_as_large_as_the_topic_allows_and_no_larger() -> None:
    batch = sample_batch()
    validate_produce(batch, ValidationPolicy(max_message_bytes=len(batch)), NOW)
    refusal = _refusal(batch, ValidationPolicy(max_message_bytes=len(batch) - 1))
    assert refusal.code is ErrorCode.MESSAGE_TOO_LARGE


def test_a_batch_that_grows_too_large_when_stored_is_refused() -> None:
    batch = bytearray(build_batch([Record(0, NOW, b"k", bytes(5000))], compression=CompressionType.GZIP))
    policy = ValidationPolicy(max_message_bytes=1000, compression_type=CompressionType.NONE)
    assert _refusal(batch, policy).code is ErrorCode.MESSAGE_TOO_LARGE


@pytest.mark.parametrize("level", [ValidationLevel.STRUCTURE, ValidationLevel.FULL])
def test_a_batch_that_swells_beyond_the_ceiling_is_too_large(level: ValidationLevel) -> None:
    batch = bytearray(
        build_batch([Record(0, NOW, b"k", bytes(2 * LONG_WALK_BYTES))], compression=CompressionType.ZSTD)
    )
    policy = ValidationPolicy(level=level, max_decompressed_bytes=LONG_WALK_BYTES)
    assert _refusal(batch, policy).code is ErrorCode.MESSAGE_TOO_LARGE
    assert is_long(batch, policy)


def test_zstd_is_refused_before_produce_version_7() -> None:
    batch = sample_batch(CompressionType.ZSTD)
    refusal = _refusal(batch, ValidationPolicy(), produce_version=6)
    assert refusal.code is ErrorCode.UNSUPPORTED_COMPRESSION_TYPE
    validate_produce(batch, ValidationPolicy(), NOW, produce_version=7)


def test_a_request_holds_exactly_one_batch_and_what_is_no_batch_after_it_is_dropped() -> None:
    batch = sample_batch()
    assert _refusal(batch + batch, ValidationPolicy()).code is ErrorCode.INVALID_RECORD
    assert _refusal(b"", ValidationPolicy()).code is ErrorCode.INVALID_RECORD
    validated = validate_produce(memoryview(batch + batch[:100]), ValidationPolicy(), NOW)
    assert validated.buffer == batch


def test_an_empty_old_request_appends_nothing_and_succeeds() -> None:
    with pytest.raises(NothingToAppend) as nothing:
        validate_produce(b"", ValidationPolicy(), NOW, produce_version=2)
    assert nothing.value.code is ErrorCode.NONE


def test_only_coordinators_write_markers_and_choose_offsets() -> None:
    marker = bytearray(
        build_end_transaction_marker(
            EndTransactionMarker(ControlRecordType.COMMIT, 3),
            producer_id=1,
            producer_epoch=0,
            timestamp_ms=NOW,
            base_offset=8,
        )
    )
    assert _refusal(marker, ValidationPolicy()).code is ErrorCode.INVALID_RECORD
    policy = ValidationPolicy(compacted=True, compression_type=CompressionType.GZIP)
    validated = validate_produce(marker, policy, NOW, origin=Origin.COORDINATOR)
    assert validated.header.is_control
    assert validated.header.compression is CompressionType.NONE


def test_refusals_say_where_the_records_were_to_go() -> None:
    policy = ValidationPolicy(compacted=True, topic_partition=TopicPartition("orders", 3))
    refusal = _refusal(sample_batch(), policy)
    assert "orders-3" in refusal.message
    assert "orders-3" in refusal.record_errors[0][1]


def test_record_errors_are_bounded() -> None:
    records = [Record(index, NOW, None, None) for index in range(MAX_RECORD_ERRORS + 5)]
    refusal = _refusal(build_batch(records), ValidationPolicy(compacted=True))
    assert len(refusal.record_errors) == MAX_RECORD_ERRORS
    assert f"due to {MAX_RECORD_ERRORS + 5} record errors in total" in refusal.message


@pytest.mark.parametrize("codec", CODECS)
def test_an_ordinary_batch_is_not_long_at_the_default_level(codec: CompressionType) -> None:
    records = [Record(index, NOW, b"key", b"%d " % index * 20) for index in range(150)]
    assert not is_long(build_batch(records, compression=codec), ValidationPolicy())


@pytest.mark.parametrize("codec", CODECS[1:])
def test_a_batch_that_decompresses_to_much_is_long_unless_the_producer_is_trusted(
    codec: CompressionType,
) -> None:
    size = LONG_BYTES if codec is CompressionType.GZIP else LONG_WALK_BYTES
    batch = build_batch([Record(0, NOW, b"key", bytes(size + 1))], compression=codec)
    assert is_long(batch, ValidationPolicy())
    assert not is_long(batch, ValidationPolicy(level=ValidationLevel.HEADER))
    assert is_long(
        batch, ValidationPolicy(level=ValidationLevel.HEADER, compression_type=CompressionType.NONE)
    )


@pytest.mark.parametrize("codec", [CompressionType.SNAPPY, CompressionType.LZ4, CompressionType.ZSTD])
def test_a_full_batch_of_a_clients_defaults_is_long_only_when_every_record_is_looked_at(
    codec: CompressionType,
) -> None:
    records = [Record(index, NOW, None, b"%06d" % index * 16) for index in range(9_500)]
    batch = build_batch(records, compression=codec)
    assert not is_long(batch, ValidationPolicy())
    assert is_long(batch, _FULL)


def test_many_small_records_are_long_to_decompress() -> None:
    records = [Record(index, NOW, None, b"") for index in range(LONG_UNPACKED_RECORDS + 1)]
    assert is_long(build_batch(records, compression=CompressionType.LZ4), ValidationPolicy())
    assert not is_long(build_batch(records[1:], compression=CompressionType.LZ4), ValidationPolicy())


@pytest.mark.parametrize("level", [ValidationLevel.STRUCTURE, ValidationLevel.FULL])
def test_what_is_short_is_not_long_whatever_count_it_claims(level: ValidationLevel) -> None:
    batch = bytearray(build_batch([Record(index, NOW, None, b"x") for index in range(2)]))
    struct.pack_into(">i", batch, offset_of(BATCH_HEADER, "last_offset_delta"), 2**31 - 2)
    struct.pack_into(">i", batch, offset_of(BATCH_HEADER, "record_count"), 2**31 - 1)
    struct.pack_into(">I", batch, CRC_POSITION, compute_crc(batch))
    policy = ValidationPolicy(level=level)
    assert not is_long(batch, policy)
    assert _refusal(batch, policy).code is ErrorCode.INVALID_RECORD


def test_many_records_or_much_to_compress_are_long() -> None:
    many = build_batch([Record(index, NOW, b"k", None) for index in range(3000)])
    assert is_long(many, _FULL)
    assert not is_long(many, ValidationPolicy())
    much = build_batch([Record(0, NOW, b"k", bytes(LONG_BYTES))])
    assert is_long(much, ValidationPolicy(compression_type=CompressionType.GZIP))
    assert not is_long(much, _FULL)
    assert not is_long(b"", _FULL)
