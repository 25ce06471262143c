"""Batch headers: flags, sequences, walking from batch to batch, the CRC and what is patched."""

import pytest

from pybroker.model.errors import ErrorCode
from pybroker.records.batch import (
    CompressionType,
    Record,
    TimestampType,
    crc_is_valid,
    decrement_sequence,
    increment_sequence,
    iter_batch_headers,
    iter_records,
    next_batch_size,
    patch_max_timestamp,
    patch_offset_and_epoch,
    read_batch_header,
)
from pybroker.records.builder import RecordBatchBuilder, build_batch
from pybroker.records.errors import InvalidRecords
from tests.records.samples import NOW, SAMPLE, sample_batch


def test_a_header_tells_what_the_builder_was_told() -> None:
    batch = build_batch(
        SAMPLE,
        base_offset=0,
        compression=CompressionType.LZ4,
        timestamp_type=TimestampType.LOG_APPEND_TIME,
        log_append_time_ms=NOW + 50,
        producer_id=7,
        producer_epoch=2,
        base_sequence=2**31 - 3,
        is_transactional=True,
        leader_epoch=4,
    )
    header = read_batch_header(batch)
    assert header.size_in_bytes == len(batch)
    assert (header.base_offset, header.last_offset, header.next_offset) == (0, 5, 6)
    assert (header.record_count, header.leader_epoch, header.magic) == (6, 4, 2)
    assert header.compression is CompressionType.LZ4
    assert header.timestamp_type is TimestampType.LOG_APPEND_TIME
    assert (header.base_timestamp, header.max_timestamp) == (NOW - 5, NOW + 50)
    assert (header.producer_id, header.producer_epoch, header.base_sequence) == (7, 2, 2**31 - 3)
    assert header.last_sequence == 2
    assert header.is_transactional
    assert header.has_producer
    assert not header.is_control
    assert header.delete_horizon_ms is None


def test_sequence_numbers_wrap_to_zero() -> None:
    assert increment_sequence(2**31 - 1, 1) == 0
    assert decrement_sequence(0, 1) == 2**31 - 1
    assert read_batch_header(sample_batch()).last_sequence == -1


def test_a_delete_horizon_stands_in_the_base_timestamp() -> None:
    builder = RecordBatchBuilder(delete_horizon_ms=NOW + 9)
    builder.append(b"k", None, NOW)
    batch = builder.build()
    assert read_batch_header(batch).delete_horizon_ms == NOW + 9
    assert [record.timestamp for record in iter_records(batch)] == [NOW]


def test_batches_are_walked_up_to_a_cut_one() -> None:
    one, two = bytes(sample_batch()), build_batch([Record(6, 1, None, b"x")])
    buffer = one + two + one[:50]
    assert [(position, header.base_offset) for position, header in iter_batch_headers(buffer)] == [
        (0, 0),
        (len(one), 6),
    ]
    assert next(iter(iter_batch_headers(buffer[:-50], len(one))))[0] == len(one)


@pytest.mark.parametrize("length", [-(2**31), -1, 0, 13])
def test_a_size_below_the_smallest_message_is_corrupt(length: int) -> None:
    batch = sample_batch()
    batch[8:12] = length.to_bytes(4, "big", signed=True)
    with pytest.raises(InvalidRecords) as refusal:
        next_batch_size(batch, 0)
    assert refusal.value.code is ErrorCode.CORRUPT_MESSAGE


@pytest.mark.parametrize("magic", [3, 127, 128, 255])
def test_an_unknown_magic_is_corrupt(magic: int) -> None:
    batch = sample_batch()
    batch[16] = magic
    with pytest.raises(InvalidRecords) as refusal:
        next_batch_size(batch, 0)
    assert refusal.value.code is ErrorCode.CORRUPT_MESSAGE


def test_too_few_bytes_for_a_header_are_corrupt() -> None:
    with pytest.raises(InvalidRecords) as refusal:
        read_batch_header(sample_batch()[:60])
    assert refusal.value.code is ErrorCode.CORRUPT_MESSAGE


def test_the_crc_covers_attributes_to_end_and_nothing_before() -> None:
    batch = sample_batch()
    patch_offset_and_epoch(batch, 1234, 56)
    assert crc_is_valid(batch)
    assert (read_batch_header(batch).base_offset, read_batch_header(batch).leader_epoch) == (1234, 56)
    for position in (21, 40, 61, len(batch) - 1):
        damaged = bytearray(batch)
        damaged[position] ^= 1
        assert not crc_is_valid(damaged)
    assert not crc_is_valid(batch[:30])


def test_offset_and_epoch_are_patched_at_any_position_of_a_larger_buffer() -> None:
    batch = sample_batch()
    buffer = bytearray(b"head") + batch
    patch_offset_and_epoch(memoryview(buffer), 99, 3, 4)
    assert buffer[:4] == b"head"
    assert read_batch_header(buffer, 4).base_offset == 99


def test_patching_the_timestamp_keeps_the_other_flags_and_mends_the_crc() -> None:
    batch = bytearray(
        build_batch(
            SAMPLE,
            compression=CompressionType.GZIP,
            producer_id=1,
            producer_epoch=0,
            base_sequence=0,
            is_transactional=True,
        )
    )
    patch_max_timestamp(batch, TimestampType.LOG_APPEND_TIME, NOW + 99)
    header = read_batch_header(batch)
    assert (header.timestamp_type, header.max_timestamp) == (TimestampType.LOG_APPEND_TIME, NOW + 99)
    assert header.compression is CompressionType.GZIP
    assert header.is_transactional
    assert crc_is_valid(batch)
    assert {record.timestamp for record in iter_records(batch)} == {NOW + 99}
