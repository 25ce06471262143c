"""Message sets of magic 0 and 1, and their conversion both ways. Kafka's own bytes are in test_golden."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pybroker.model.errors import ErrorCode
from pybroker.records.batch import CompressionType, Record, TimestampType, iter_records, read_batch_header
from pybroker.records.builder import build_batch
from pybroker.records.compression import compress
from pybroker.records.control import ControlRecordType, EndTransactionMarker, build_end_transaction_marker
from pybroker.records.downconversion import OVERFLOW_MESSAGE, down_convert
from pybroker.records.errors import InvalidRecords
from pybroker.records.legacy import build_message, build_message_set, iter_message_set, read_message
from pybroker.records.policy import ValidationPolicy
from pybroker.records.validation import validate_produce
from tests.records.samples import LEGACY_CODECS, NOW, PLAIN_SAMPLE, SAMPLE, record_lists


def _as_magic(records: list[Record], magic: int) -> list[Record]:
    return [record._replace(headers=(), timestamp=record.timestamp if magic else -1) for record in records]


@settings(max_examples=60, deadline=None)
@given(record_lists(headers=False), st.sampled_from([0, 1]), st.sampled_from(LEGACY_CODECS))
def test_a_message_set_holds_what_was_put_in(
    records: list[Record], magic: int, codec: CompressionType
) -> None:
    data = build_message_set(records, magic, compression=codec)
    assert list(iter_message_set(data)) == _as_magic(records, magic)


@pytest.mark.parametrize("codec", LEGACY_CODECS[1:])
def test_offsets_inside_a_wrapper_are_relative_in_magic_1_and_absolute_in_magic_0(
    codec: CompressionType,
) -> None:
    records = [record._replace(offset=record.offset + 70) for record in PLAIN_SAMPLE]
    for magic in (0, 1):
        data = build_message_set(records, magic, compression=codec)
        assert read_message(data, 0, len(data)).offset == 75
        assert [record.offset for record in iter_message_set(data)] == list(range(70, 76))


def test_a_wrapper_of_offset_0_is_taken_as_it_comes_from_old_librdkafka() -> None:
    inner = build_message_set(PLAIN_SAMPLE, 1)
    wrapper = build_message(1, 0, NOW, None, compress(CompressionType.GZIP, inner), CompressionType.GZIP)
    assert [record.offset for record in iter_message_set(wrapper)] == [0, 1, 2, 3, 4, 5]


def test_a_wrapper_with_log_append_time_overrides_the_times_inside() -> None:
    data = build_message_set(
        PLAIN_SAMPLE,
        1,
        compression=CompressionType.SNAPPY,
        timestamp_type=TimestampType.LOG_APPEND_TIME,
        log_append_time_ms=NOW + 5,
    )
    assert {record.timestamp for record in iter_message_set(data)} == {NOW + 5}


def test_headers_and_zstd_do_not_exist_in_old_formats() -> None:
    data = build_message_set(SAMPLE, 1)
    assert all(record.headers == () for record in iter_message_set(data))
    with pytest.raises(ValueError, match="ZSTD"):
        build_message_set(SAMPLE, 1, compression=CompressionType.ZSTD)
    with pytest.raises(ValueError, match="magic 2"):
        build_message_set(SAMPLE, 2)


@pytest.mark.parametrize("magic", [0, 1])
@pytest.mark.parametrize("codec", LEGACY_CODECS)
def test_old_sets_become_one_batch_on_the_way_in(magic: int, codec: CompressionType) -> None:
    data = build_message_set(PLAIN_SAMPLE, magic, compression=codec)
    validated = validate_produce(data, ValidationPolicy(), NOW, produce_version=magic + 1)
    assert list(iter_records(validated.buffer)) == _as_magic(PLAIN_SAMPLE, magic)
    assert validated.header.compression is codec
    assert validated.header.magic == 2
    assert validated.header.base_offset == 0
    assert not validated.buffer.readonly


@pytest.mark.parametrize("magic", [0, 1])
def test_old_sets_get_the_topics_codec_and_time(magic: int) -> None:
    policy = ValidationPolicy(
        compression_type=CompressionType.ZSTD, timestamp_type=TimestampType.LOG_APPEND_TIME
    )
    data = build_message_set(PLAIN_SAMPLE, magic, compression=CompressionType.GZIP)
    validated = validate_produce(data, policy, NOW + 70, produce_version=2)
    assert validated.header.compression is CompressionType.ZSTD
    assert validated.header.timestamp_type is TimestampType.LOG_APPEND_TIME
    assert (validated.max_timestamp, validated.log_append_time_ms) == (NOW + 70, NOW + 70)


def test_a_small_wrapper_that_swells_is_refused() -> None:
    records = [Record(index, NOW, None, bytes(10_000)) for index in range(100)]
    data = build_message_set(records, 1, compression=CompressionType.GZIP)
    policy = ValidationPolicy(max_decompressed_bytes=500_000)
    with pytest.raises(InvalidRecords) as refusal:
        validate_produce(data, policy, NOW, produce_version=2)
    assert refusal.value.code is ErrorCode.MESSAGE_TOO_LARGE


@settings(max_examples=60, deadline=None)
@given(record_lists(), st.sampled_from([0, 1]), st.sampled_from(LEGACY_CODECS), st.integers(0, 40))
def test_down_conversion_keeps_records_but_not_their_headers(
    records: list[Record], magic: int, codec: CompressionType, first: int
) -> None:
    data = down_convert(build_batch(records, compression=codec), magic, first)
    kept = records if codec else [record for record in records if record.offset >= first]
    if kept:
        assert list(iter_message_set(data)) == _as_magic(kept, magic)
    else:
        assert data == OVERFLOW_MESSAGE


def test_markers_are_dropped_and_a_fetch_of_nothing_else_says_that_more_is_there() -> None:
    marker = build_end_transaction_marker(
        EndTransactionMarker(ControlRecordType.ABORT, 1), producer_id=1, producer_epoch=0, timestamp_ms=NOW
    )
    batch = build_batch([Record(1, NOW, b"k", b"v")])
    assert [record.offset for record in iter_message_set(down_convert(marker + batch, 1, 0))] == [1]
    assert down_convert(marker, 1, 0) == OVERFLOW_MESSAGE
    assert down_convert(b"", 1, 0) == b""


def test_zstd_cannot_be_converted_and_ends_what_came_before() -> None:
    plain = build_batch([Record(0, NOW, b"k", b"v" * 500)])
    zstd = build_batch([Record(1, NOW, b"k", b"v")], compression=CompressionType.ZSTD)
    assert [record.offset for record in iter_message_set(down_convert(plain + zstd, 1, 0))] == [0]
    with pytest.raises(InvalidRecords) as refusal:
        down_convert(zstd + plain, 1, 0)
    assert refusal.value.code is ErrorCode.UNSUPPORTED_COMPRESSION_TYPE


def test_at_least_one_batch_is_converted_and_the_rest_while_there_is_room() -> None:
    batches = b"".join(
        build_batch([Record(index, NOW, b"k", b"v" * 300)], compression=CompressionType.NONE)
        for index in range(20)
    )
    data = down_convert(batches, 0, 0)
    assert len(data) <= len(batches)
    assert [record.offset for record in iter_message_set(data)] == list(range(20))
    one = build_batch([Record(offset, NOW, b"", b"") for offset in range(50)])
    assert len(list(iter_message_set(down_convert(one, 1, 0)))) == 50


def test_a_set_of_magic_1_goes_down_to_0_and_stays_what_it_is_for_1() -> None:
    data = build_message_set(PLAIN_SAMPLE, 1, compression=CompressionType.LZ4)
    assert list(iter_message_set(down_convert(data, 0, 0))) == _as_magic(PLAIN_SAMPLE, 0)
    assert down_convert(data, 1, 0) == data


def test_a_converted_batch_is_ready_for_a_fresh_header() -> None:
    data = build_message_set(PLAIN_SAMPLE, 1)
    validated = validate_produce(data, ValidationPolicy(), NOW, produce_version=2)
    assert read_batch_header(validated.buffer) == validated.header
    assert (validated.header.producer_id, validated.header.leader_epoch) == (-1, -1)


@pytest.mark.parametrize("codec", [5, 6, 7])
def test_an_unknown_codec_cannot_be_converted_down(codec: int) -> None:
    batch = bytearray(build_batch(SAMPLE))
    batch[22] = codec
    with pytest.raises(InvalidRecords):
        down_convert(bytes(batch), 1, 0)


def test_an_offset_beyond_64_bits_is_corrupt() -> None:
    batch = bytearray(build_batch(SAMPLE))
    batch[:8] = (2**63 - 3).to_bytes(8, "big")
    with pytest.raises(InvalidRecords) as refusal:
        down_convert(bytes(batch), 1, 0)
    assert refusal.value.code is ErrorCode.CORRUPT_MESSAGE
