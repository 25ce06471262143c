"""Offset, time and transaction indexes, in memory and as files."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pybroker.storage.context import IndexCache, StorageContext
from pybroker.storage.errors import CorruptFile
from pybroker.storage.log_config import LogConfig
from pybroker.storage.offset_index import OffsetIndex
from pybroker.storage.time_index import TimeIndex
from pybroker.storage.transaction_index import AbortedTransaction, parse_transaction_index
from tests.storage.conftest import OpenLog, all_offsets, batch

steps = st.lists(st.tuples(st.integers(1, 9), st.integers(1, 9)), max_size=30)


@settings(max_examples=60, derandomize=True)
@given(steps)
def test_an_offset_lookup_gives_the_last_entry_that_is_not_beyond_it(deltas: list[tuple[int, int]]) -> None:
    index = OffsetIndex(1000)
    offset, position, entries = 1000, 0, []
    for more_offsets, more_bytes in deltas:
        offset, position = offset + more_offsets, position + more_bytes
        index.append(offset, position)
        entries.append((offset, position))
    assert index.items() == entries
    for wanted in range(1000, offset + 3):
        assert index.position_for(wanted) == max([at for known, at in entries if known <= wanted], default=0)
    for wanted in range(position + 3):
        assert index.position_before(wanted) == max([at for _, at in entries if at <= wanted], default=0)
    again = OffsetIndex.parse(1000, bytes(index.entries), position + 1)
    assert again is not None
    assert again.items() == entries


@settings(max_examples=60, derandomize=True)
@given(st.lists(st.tuples(st.integers(-5, 9), st.integers(1, 9)), max_size=30))
def test_a_time_lookup_gives_an_offset_before_which_nothing_is_later(deltas: list[tuple[int, int]]) -> None:
    index = TimeIndex(1000)
    timestamp, offset, kept = 50, 1000, []
    for later, more_offsets in deltas:
        timestamp, offset = timestamp + later, offset + more_offsets
        index.maybe_append(timestamp, offset)
        if not kept or timestamp > kept[-1][0]:
            kept.append((timestamp, offset))
    assert index.items() == kept
    for wanted in range(0, 400, 3):
        assert index.offset_before(wanted) == max([at for known, at in kept if known <= wanted], default=1000)


def test_truncating_drops_entries_at_and_beyond_the_offset() -> None:
    offsets, times = OffsetIndex(0), TimeIndex(0)
    for n in range(1, 10):
        offsets.append(10 * n, 100 * n)
        times.maybe_append(n, 10 * n)
    for index in (offsets, times):
        index.truncate_to(50)
        assert len(index) == 4
    assert times.last() == (4, 40)
    offsets.truncate_to(0)
    assert len(offsets) == 0


@pytest.mark.parametrize("data", [b"\0" * 7, b"\xff" * 8, (9).to_bytes(4, "big") + (500).to_bytes(4, "big")])
def test_an_offset_index_that_cannot_be_is_refused(data: bytes) -> None:
    assert OffsetIndex.parse(0, data, 500) is None


def test_a_transaction_index_reads_back_and_damage_is_noticed() -> None:
    entries = [AbortedTransaction(n, n, n + 5, n) for n in range(3)]
    data = b"".join(entry.encode() for entry in entries)
    assert parse_transaction_index(data) == entries
    for damaged, base in ((data[:-1], 0), (b"\x00\x01" + data[2:], 0), (data, 6)):
        with pytest.raises(CorruptFile):
            parse_transaction_index(damaged, base)


def test_an_entry_is_made_for_each_batch_that_crosses_the_interval(open_at: OpenLog) -> None:
    log = open_at(LogConfig(index_interval_bytes=250))
    one = 0
    for _ in range(20):
        log.append_as_leader(batch(2), 0)
        one = one or log.size_in_bytes
    positions = [position for _, position in log.segments.active.offset_index.items()]
    per_entry = 250 // one + 1
    assert positions == [n * per_entry * one for n in range(1, len(positions) + 1)]
    assert all(
        offset == 2 * (position // one) + 1 for offset, position in log.segments.active.offset_index.items()
    )


def test_a_full_index_rolls_the_segment(open_at: OpenLog) -> None:
    log = open_at(LogConfig(index_interval_bytes=0, segment_index_bytes=50))
    for n in range(30):
        log.append_as_leader(batch(1, timestamp=1000 + n), 0)
    assert len(log.segments) > 5
    assert all(len(segment.time_index) <= 50 // 12 for segment in log.segments)
    assert all_offsets(log) == list(range(30))


def test_indexes_are_forgotten_when_they_take_too_much_memory_and_read_again(
    open_at: OpenLog, context: StorageContext
) -> None:
    context.index_cache = IndexCache(400)
    config = LogConfig(segment_bytes=900, index_interval_bytes=50)
    log = open_at(config)
    for n in range(60):
        log.append_as_leader(batch(2, timestamp=1000 * n), 0)
    for _ in range(3):
        assert all_offsets(log) == list(range(120))
        assert [log.find_offset_by_timestamp(1000 * n) for n in range(60)] == [
            (2 * n, 1000 * n, 0) for n in range(60)
        ]
        log.flush()
    assert sum(segment.index_bytes_in_memory for segment in log.segments) <= 800
    log.close()
    again = open_at(config)
    assert again.segments.active.max_timestamp == 59_001


def test_the_largest_timestamp_is_written_though_the_index_was_forgotten(open_at: OpenLog) -> None:
    log = open_at()
    log.append_as_leader(batch(1, timestamp=5), 0)
    log.flush()
    log.segments.active.drop_indexes()
    log.append_as_leader(batch(1, timestamp=9), 0)
    log.close()
    assert open_at().segments.active.max_timestamp == 9
