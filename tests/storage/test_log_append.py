"""Appending: offsets, stamps, rolling, and what a failed write leaves."""

from pathlib import Path

import pytest

from pybroker.records.header import crc_is_valid, iter_batch_headers
from pybroker.storage.context import StorageContext
from pybroker.storage.files import Files
from pybroker.storage.loader import open_log
from pybroker.storage.log_config import LogConfig
from tests.storage.conftest import PARTITION, Clock, OpenLog, all_offsets, all_records, batch


def test_offsets_are_dense_over_batches(open_at: OpenLog) -> None:
    log = open_at()
    infos = [log.append_as_leader(batch(count), 0) for count in (1, 3, 2)]
    assert [(info.first_offset, info.last_offset) for info in infos] == [(0, 0), (1, 3), (4, 5)]
    assert log.log_end_offset == 6
    assert all_offsets(log) == list(range(6))


def test_the_batch_on_disk_carries_its_offset_and_the_leaders_epoch_and_a_valid_crc(open_at: OpenLog) -> None:
    log = open_at()
    log.append_as_leader(batch(2), 4)
    log.append_as_leader(batch(2), 7)
    read = log.read(0, 1 << 20)
    assert read.slice is not None
    data = read.slice.read()
    found = list(iter_batch_headers(data))
    assert [(header.base_offset, header.leader_epoch) for _, header in found] == [(0, 4), (2, 7)]
    assert all(crc_is_valid(data[at : at + header.size_in_bytes]) for at, header in found)
    assert log.latest_epoch == 7
    assert log.end_offset_for_epoch(4).end_offset == 2


def test_a_full_segment_rolls_and_reads_go_on_in_the_next(open_at: OpenLog) -> None:
    log = open_at(LogConfig(segment_bytes=400))
    for _ in range(20):
        log.append_as_leader(batch(2), 0)
    assert len(log.segments) == 5
    assert all(segment.size <= 400 for segment in log.segments)
    assert all_offsets(log) == list(range(40))


def test_what_was_closed_cleanly_is_there_after_opening(open_at: OpenLog) -> None:
    log = open_at(LogConfig(segment_bytes=400))
    for _ in range(20):
        log.append_as_leader(batch(2), 5)
    before = all_records(log)
    log.close()
    again = open_at(LogConfig(segment_bytes=400))
    assert all_records(again) == before
    assert again.log_end_offset == 40
    assert again.latest_epoch == 5
    assert again.append_as_leader(batch(1), 5).first_offset == 40


def test_what_was_not_closed_is_there_after_recovery(open_at: OpenLog) -> None:
    log = open_at(LogConfig(segment_bytes=400))
    for _ in range(20):
        log.append_as_leader(batch(2), 5)
    before = all_records(log)
    again = open_at(LogConfig(segment_bytes=400), clean=False)
    assert all_records(again) == before
    assert again.latest_epoch == 5


def test_a_flush_is_due_after_so_many_messages(open_at: OpenLog) -> None:
    log = open_at(LogConfig(flush_messages=5))
    log.append_as_leader(batch(4), 0)
    assert not log.flush_is_due
    log.append_as_leader(batch(1), 0)
    assert log.flush_is_due
    log.flush()
    assert not log.flush_is_due
    assert log.recovery_point == 5


def test_a_segment_rolls_when_timestamps_are_too_far_apart_with_jitter_taken_off(open_at: OpenLog) -> None:
    log = open_at(LogConfig(segment_ms=1000))
    for timestamp in (5000, 6000, 6001, 7001, 7002, 3000, 9000):
        log.append_as_leader(batch(1, timestamp=timestamp), 0)
    assert [segment.base_offset for segment in log.segments] == [0, 2, 4, 6]
    log.update_config(LogConfig(segment_ms=1000, segment_jitter_ms=1000))
    rolled = 0
    for n in range(200):
        before = len(log.segments)
        log.append_as_leader(batch(1, timestamp=10_000 + 100 * n), 0)
        rolled += len(log.segments) - before
    assert 20 < rolled < 200, "every segment draws its own jitter"


def test_without_timestamps_the_clock_says_when_to_roll(open_at: OpenLog, clock: Clock) -> None:
    log = open_at(LogConfig(segment_ms=1000))
    for wait in (0, 1000, 1, 0):
        clock.now += wait
        log.append_as_leader(batch(1, timestamp=-1), 0)
    assert [segment.base_offset for segment in log.segments] == [0, 2]


def test_relative_offsets_beyond_32_bits_roll(open_at: OpenLog) -> None:
    log = open_at()
    far = 0x7FFFFFFF
    for offset in (5, far, far + 1, 2 * far + 9):
        one = batch(1).buffer
        one[0:8] = offset.to_bytes(8, "big")
        log.append_as_follower(one)
    assert [segment.base_offset for segment in log.segments] == [0, far + 1, 2 * far + 9]
    assert all_offsets(log) == [5, far, far + 1, 2 * far + 9]


class WatchedFiles(Files):
    """Notes which files are truncated."""

    def __init__(self) -> None:
        self.cut: list[str] = []

    def truncate(self, fd: int, size: int) -> None:
        self.cut.append(str(Path(f"/proc/self/fd/{fd}").readlink()))
        super().truncate(fd, size)


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="names of open files are asked of Linux")
def test_a_new_segment_is_not_cut_to_nothing(tmp_path: Path, clock: Clock) -> None:
    """ext4 writes out, on close, all of a file that was ever truncated to nothing."""
    files = WatchedFiles()
    context = StorageContext(now_ms=clock.now_ms, files=files)
    (tmp_path / "orders-3").mkdir()
    log = open_log(str(tmp_path / "orders-3"), PARTITION, LogConfig(), context, clean=True)
    log.append_as_leader(batch(3), 0)
    log.roll()
    log.append_as_leader(batch(3), 0)
    assert not [path for path in files.cut if path.endswith(".log")]
