"""Reading: which batches a read returns, and look-ups by timestamp and epoch."""

import pytest

from pybroker.records.header import CompressionType, iter_batch_headers
from pybroker.storage.errors import OffsetOutOfRange
from pybroker.storage.log import Log
from pybroker.storage.log_config import LogConfig
from pybroker.storage.lookup import TimestampOffset
from tests.storage.conftest import OpenLog, all_offsets, batch

NOW = 1_700_000_000_000


@pytest.fixture
def log(open_at: OpenLog) -> Log:
    """30 batches of 3 records in segments of a few batches, an index entry for nearly each."""
    log = open_at(LogConfig(segment_bytes=1000, index_interval_bytes=150))
    for n in range(30):
        log.append_as_leader(batch(3, timestamp=NOW + 1000 * n), n // 10)
    assert len(log.segments) > 2
    return log


def bases(log: Log, offset: int, max_bytes: int, **options: object) -> list[int]:
    read = log.read(offset, max_bytes, **options)  # type: ignore[arg-type]
    return [] if read.slice is None else [h.base_offset for _, h in iter_batch_headers(read.slice.read())]


def test_a_read_begins_with_the_batch_that_holds_the_offset(log: Log) -> None:
    for offset in range(90):
        assert bases(log, offset, 1)[0] == offset - offset % 3


def test_max_bytes_bounds_whole_batches(log: Log) -> None:
    one = log.read(0, 1).size_in_bytes
    for wanted in range(1, 6):
        assert len(bases(log, 0, one * wanted)) == wanted
        assert len(bases(log, 0, one * (wanted + 1) - 1)) == wanted


def test_a_read_says_where_the_next_one_begins(log: Log) -> None:
    for max_bytes in (1, 100, 250, 1000, 1 << 20):
        for limit in (90, 61, 60, 30):
            offset = 0
            while offset < limit:
                read = log.read(offset, max_bytes, max_offset=limit)
                if read.slice is None:
                    break
                *_, (_, last) = iter_batch_headers(read.slice.read())
                assert read.end_offset == last.next_offset
                offset = read.end_offset
            assert offset == limit - limit % 3


def test_a_first_batch_over_the_limit_is_returned_only_when_asked_for(log: Log) -> None:
    assert bases(log, 4, 10) == [3]
    read = log.read(4, 10, min_one_batch=False)
    assert (read.slice, read.first_batch_incomplete) == (None, True)


def test_nothing_at_or_beyond_max_offset_is_returned(log: Log) -> None:
    for limit in range(0, 91, 3):
        offset, found = 0, []
        while batch_bases := bases(log, offset, 1 << 20, max_offset=limit):
            found += batch_bases
            offset = batch_bases[-1] + 3
        assert found == list(range(0, limit, 3))


def test_reads_outside_the_log_are_out_of_range_and_at_its_end_empty(log: Log) -> None:
    assert log.read(90, 100).slice is None
    with pytest.raises(OffsetOutOfRange):
        log.read(91, 100)
    log.advance_log_start_offset(7)
    with pytest.raises(OffsetOutOfRange):
        log.read(6, 100)
    assert bases(log, 7, 1) == [6]


def test_the_first_record_at_or_after_a_timestamp_is_found_in_every_segment(log: Log) -> None:
    for n in range(30):
        epoch = n // 10
        assert log.find_offset_by_timestamp(NOW + 1000 * n + 1) == TimestampOffset(
            3 * n + 1, NOW + 1000 * n + 1, epoch
        )
        if n:
            found = log.find_offset_by_timestamp(NOW + 1000 * n - 500)
            assert found == TimestampOffset(3 * n, NOW + 1000 * n, epoch)
    assert log.find_offset_by_timestamp(0) == TimestampOffset(0, NOW, 0)
    assert log.find_offset_by_timestamp(NOW + 29_003) is None


def test_records_before_the_log_start_are_not_found_by_timestamp(log: Log) -> None:
    log.advance_log_start_offset(40)
    found = log.find_offset_by_timestamp(NOW)
    assert found is not None
    assert found.offset == 40


def test_timestamps_that_go_backwards_and_compressed_batches(open_at: OpenLog) -> None:
    log = open_at(LogConfig(segment_bytes=400, index_interval_bytes=1))
    for timestamp in (500, 100, 900, 200, 800, 900):
        log.append_as_leader(batch(2, timestamp=timestamp, compression=CompressionType.GZIP, size=100), 0)
    assert log.find_offset_by_timestamp(300) == TimestampOffset(0, 500, 0)
    assert log.find_offset_by_timestamp(502) == TimestampOffset(4, 900, 0)
    assert log.max_timestamp_offset() == TimestampOffset(5, 901, 0)


def test_an_empty_log_has_no_timestamps(open_at: OpenLog) -> None:
    log = open_at()
    assert log.max_timestamp_offset() is None
    assert log.find_offset_by_timestamp(0) is None
    assert all_offsets(log) == []


def test_epochs_end_where_the_next_begins(log: Log) -> None:
    assert [log.end_offset_for_epoch(epoch) for epoch in (0, 1, 2)] == [(0, 30), (1, 60), (2, 90)]
    assert log.end_offset_for_epoch(3) == (-1, -1)
    assert [log.epoch_for_offset(offset) for offset in (0, 29, 30, 89)] == [0, 0, 1, 2]


def test_the_same_is_found_when_the_indexes_come_from_disk(log: Log, open_at: OpenLog) -> None:
    log.close()
    again = open_at(LogConfig(segment_bytes=1000, index_interval_bytes=150))
    test_the_first_record_at_or_after_a_timestamp_is_found_in_every_segment(again)
    test_a_read_begins_with_the_batch_that_holds_the_offset(again)
    test_nothing_at_or_beyond_max_offset_is_returned(again)
