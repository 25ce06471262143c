"""Making a log shorter: truncation, DeleteRecords, retention."""

from pathlib import Path

import pytest

from pybroker.records.header import iter_batch_headers
from pybroker.records.policy import Origin
from pybroker.storage.context import StorageContext
from pybroker.storage.errors import OffsetOutOfRange, UnexpectedAppendOffset
from pybroker.storage.log_config import LogConfig
from pybroker.storage.retention import RetentionPolicy, SegmentFacts, deletable_segments
from tests.storage.conftest import PARTITION, Clock, OpenLog, all_offsets, batch, marker

SMALL = LogConfig(segment_bytes=300, index_interval_bytes=50, retention_ms=-1)


def test_truncation_keeps_what_is_below_at_every_offset(open_at: OpenLog, tmp_path: Path) -> None:
    for target in range(21):
        log = open_at(SMALL)
        log.truncate_fully_and_start_at(0)
        for n in range(10):
            log.append_as_leader(batch(2), n // 3)
        cut = log.truncate_to(target)
        expected = target - target % 2
        assert cut == (target < 20)
        assert all_offsets(log) == list(range(expected)), "a batch that reaches the target goes as a whole"
        assert log.log_end_offset == expected
        assert log.append_as_leader(batch(1), 9).first_offset == expected
        log.close()
        assert all_offsets(open_at(SMALL)) == list(range(expected + 1))


def test_truncation_takes_back_producers_transactions_epochs_and_the_recovery_point(open_at: OpenLog) -> None:
    log = open_at(SMALL)
    log.append_as_leader(batch(2, producer=(1, 0, 0)), 0)
    log.append_as_leader(batch(2, producer=(2, 0, 0), transactional=True), 1)
    log.append_as_leader(marker(2, 0, commit=False), 2, Origin.COORDINATOR)
    log.append_as_leader(batch(2, producer=(1, 0, 2)), 3)
    log.flush()
    log.truncate_to(4)
    assert log.recovery_point == 4
    assert log.latest_epoch == 1
    assert log.first_unstable_offset == 2
    assert log.aborted_transactions(0, 10) == []
    assert log.producers.active()[1].last_sequence == 1
    assert log.append_as_leader(batch(2, producer=(1, 0, 2)), 4).first_offset == 4


def test_a_flush_that_began_before_a_cut_does_not_move_the_recovery_point(open_at: OpenLog) -> None:
    log = open_at()
    log.append_as_leader(batch(4), 0)
    job = log.prepare_flush()
    assert job is not None
    log.truncate_to(0)
    log.append_as_leader(batch(4), 0)
    job.run()
    log.flush_done(job)
    assert log.recovery_point == 0


def test_reads_find_the_new_batches_after_a_cut_though_they_remember_where_the_old_ones_were(
    open_at: OpenLog,
) -> None:
    log = open_at(LogConfig())
    for _ in range(10):
        log.append_as_leader(batch(2, size=50), 0)
    assert all_offsets(log) == list(range(20))
    for offset in range(0, 20, 2):
        log.read(offset, 1)
    log.truncate_to(6)
    for _ in range(20):
        log.append_as_leader(batch(1, size=5), 0)
    for offset in range(26):
        read = log.read(offset, 1)
        assert read.slice is not None
        (_, header), *rest = iter_batch_headers(read.slice.read())
        assert not rest
        assert header.base_offset <= offset < header.next_offset == read.end_offset


def test_a_follower_takes_offsets_and_epochs_as_they_are(open_at: OpenLog) -> None:
    log = open_at(SMALL)
    log.truncate_fully_and_start_at(100)
    sent = bytearray()
    for n in range(8):
        one = batch(2).buffer
        one[0:8] = (100 + 2 * n).to_bytes(8, "big")
        one[12:16] = (n // 4).to_bytes(4, "big")
        sent += one
    info = log.append_as_follower(memoryview(sent + sent[:70]))
    assert info is not None
    assert (info.first_offset, info.last_offset, log.log_end_offset) == (100, 115, 116)
    assert all_offsets(log) == list(range(100, 116))
    assert log.end_offset_for_epoch(0) == (0, 108)
    with pytest.raises(UnexpectedAppendOffset):
        log.append_as_follower(memoryview(sent))


def test_delete_records_hides_at_once_and_retention_removes_whole_segments(
    open_at: OpenLog, context: StorageContext, clock: Clock, tmp_path: Path
) -> None:
    log = open_at(SMALL)
    for _ in range(12):
        log.append_as_leader(batch(2), 0)
    assert log.advance_log_start_offset(9)
    assert not log.advance_log_start_offset(8)
    with pytest.raises(OffsetOutOfRange):
        log.advance_log_start_offset(25)
    assert all_offsets(log) == list(range(9, 24))
    count, _ = log.apply_retention(24)
    assert count > 0
    assert log.segments.first.base_offset <= 9
    assert log.log_start_offset == 9
    home = tmp_path / str(PARTITION)
    assert list(home.glob("*.deleted"))
    clock.now += SMALL.file_delete_delay_ms - 1
    assert context.trash.take_due(clock.now) == []
    clock.now += 1
    due = context.trash.take_due(clock.now)
    assert sorted(map(str, home.glob("*.deleted"))) == sorted(due)


def test_retention_by_time_rolls_an_old_active_segment_and_empties_the_log(
    open_at: OpenLog, clock: Clock
) -> None:
    log = open_at(LogConfig(retention_ms=1000))
    log.append_as_leader(batch(5, timestamp=clock.now), 0)
    clock.now += 1004
    assert log.apply_retention(5)[0] == 0
    clock.now += 1
    assert log.apply_retention(4)[0] == 0, "never beyond the high watermark"
    assert log.apply_retention(5)[0] == 1
    assert (log.log_start_offset, log.log_end_offset) == (5, 5)
    assert log.append_as_leader(batch(1), 0).first_offset == 5
    log.close()
    assert open_at(clean=True).log_start_offset == 5


def facts(*sizes: int, timestamps: tuple[int, ...] | None = None) -> list[SegmentFacts]:
    times = timestamps or (0,) * len(sizes)
    return [SegmentFacts(10 * n, 10 * n + 10, size, times[n]) for n, size in enumerate(sizes)]


@pytest.mark.parametrize(
    ("segments", "policy", "log_start", "high_watermark", "expected"),
    [
        (facts(100, 100, 100), RetentionPolicy(True, -1, -1), 0, 30, 0),
        (facts(100, 100, 100), RetentionPolicy(True, -1, 150), 0, 30, 1),
        (facts(100, 100, 100), RetentionPolicy(True, -1, 100), 0, 30, 2),
        (facts(100, 100, 100), RetentionPolicy(True, -1, 0), 0, 30, 3),
        (facts(100, 100, 100), RetentionPolicy(True, -1, 0), 0, 20, 2),
        (facts(100, 100, 100), RetentionPolicy(True, -1, 0), 0, 19, 1),
        (facts(100, 100, 0), RetentionPolicy(True, -1, 0), 0, 30, 2),
        (facts(100, 100, 100), RetentionPolicy(False, 0, 0), 0, 30, 0),
        (facts(100, 100, 100), RetentionPolicy(False, 0, 0), 10, 30, 1),
        (facts(100, 100, 100), RetentionPolicy(False, 0, 0), 19, 30, 1),
        (facts(100, 100, 100), RetentionPolicy(False, 0, 0), 30, 30, 2),
        (facts(1, 1, 1, timestamps=(5, 900, 5)), RetentionPolicy(True, 500, -1), 0, 30, 1),
        (facts(1, 1, 1, timestamps=(5, 5, 5)), RetentionPolicy(True, 500, -1), 0, 30, 3),
        (facts(1, 1, 1, timestamps=(500, 5, 5)), RetentionPolicy(True, 500, -1), 0, 30, 0),
    ],
)
def test_which_segments_may_go(
    segments: list[SegmentFacts], policy: RetentionPolicy, log_start: int, high_watermark: int, expected: int
) -> None:
    count, _ = deletable_segments(
        segments, policy, log_start_offset=log_start, high_watermark=high_watermark, now_ms=1000
    )
    assert count == expected
