"""The regular work on the logs: what it does, and that broker time sets it off."""

import errno
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio
import trio.testing

from pybroker.config.broker import BrokerConfig
from pybroker.instruments.clock import Clock, TimerQueue
from pybroker.model.ids import Offset, TopicPartition
from pybroker.replication.cleaner import LogCleaner
from pybroker.replication.maintenance import Maintenance
from pybroker.replication.partition import Partition
from pybroker.storage import checkpoints, names
from pybroker.storage.files import Files, LinuxFiles, system_files
from tests.replication.hosts import NOW_MS, TOPIC_ID, Host, batch, leading
from tests.storage.conftest import batch as producers_batch

FLUSHED = TopicPartition("flushed", 0)
EXPIRING = TopicPartition("expiring", 0)
FULL = TopicPartition("full", 0)
CONFIGS = {
    "flushed": {"flush.ms": "1000", "retention.ms": "-1"},
    "expiring": {"retention.ms": "600000", "file.delete.delay.ms": "60000", "segment.bytes": "200"},
    "full": {"retention.ms": "600000"},
}


class Jobs:
    """A broker's logs, and the jobs on them at a time that the test moves."""

    def __init__(self, folder: Path, files: Files | None = None) -> None:
        self.clock, self.timers = Clock(), TimerQueue()
        self.clock.freeze(NOW_MS)
        self.host = Host(folder, CONFIGS, now_ms=self.clock.now_ms, files=files or system_files())
        self.partitions: dict[TopicPartition, Partition] = {}
        config = BrokerConfig.from_properties({"log.cleaner.enable": "false"})
        logs = self.host.logs
        cleaner = LogCleaner(lambda: config, logs._context, logs, self.host.replicas)
        self.jobs = Maintenance(
            config,
            self.clock,
            self.timers,
            logs._context,
            logs,
            self.partitions.values(),  # type: ignore[arg-type]
            cleaner,
        )

    def open(self, tp: TopicPartition) -> Partition:
        partition = self.partitions[tp] = self.host.open_partition(tp, TOPIC_ID)
        partition.make_leader(leading())
        return partition

    async def after(self, milliseconds: int) -> None:
        """What is due by then has begun."""
        self.clock.advance(milliseconds)
        self.timers.fire_due(self.clock.now_ms())
        await trio.testing.wait_all_tasks_blocked()

    async def until(self, condition: Callable[[], bool]) -> None:
        """Unlinking happens in a thread."""
        with trio.fail_after(10):
            while not condition():
                await trio.testing.wait_all_tasks_blocked(0.002)

    def checkpoint(self, name: str) -> Mapping[TopicPartition, Offset]:
        return checkpoints.read_offsets(Files(), str(self.host.folder), name)


@asynccontextmanager
async def at_work(jobs: Jobs) -> AsyncIterator[None]:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(jobs.jobs.run)
        await trio.testing.wait_all_tasks_blocked()
        yield
        nursery.cancel_scope.cancel()


@pytest.fixture
async def jobs(tmp_path: Path) -> AsyncIterator[Jobs]:
    made = Jobs(tmp_path)
    yield made
    made.host.logs.release()


async def test_a_log_is_flushed_when_its_flush_ms_is_over_and_not_before(jobs: Jobs) -> None:
    log = jobs.open(FLUSHED).log
    jobs.partitions[FLUSHED].append(batch(b"a"))
    jobs.clock.advance(999)
    await jobs.jobs.flush()
    assert log.recovery_point == 0
    jobs.clock.advance(1)
    await jobs.jobs.flush()
    assert log.recovery_point == 1


async def test_a_sealed_segment_is_flushed_without_any_interval(jobs: Jobs) -> None:
    partition = jobs.open(EXPIRING)
    while len(partition.log.segments) == 1:
        partition.append(batch(b"v" * 50))
    async with at_work(jobs):
        assert partition.log.recovery_point == 0
        await jobs.after(1000)
        await jobs.until(lambda: partition.log.recovery_point > 0)
    assert partition.log.recovery_point == partition.log.segments.active.base_offset
    assert partition.log.unflushed_messages > 0


async def test_old_records_go_and_their_files_later(jobs: Jobs, tmp_path: Path) -> None:
    partition = jobs.open(EXPIRING)
    for _ in range(6):
        partition.append(batch(b"v" * 50))
    assert len(partition.log.segments) > 2

    def files(pattern: str) -> int:
        return len(list((tmp_path / str(EXPIRING)).glob(pattern)))

    async with at_work(jobs):
        await jobs.after(300_000)
        assert partition.log.log_start_offset == 0
        await jobs.after(300_000)
        await jobs.after(300_000)
        assert partition.log.log_start_offset == partition.log.log_end_offset == 6
        await jobs.after(59_000)
        assert (files("*.log"), files("*.log.deleted") > 2) == (1, True)
        await jobs.after(1000)
        await jobs.until(lambda: files("*.deleted") == 0)
    assert files("*.log") == 1


async def test_a_log_that_finds_no_room_keeps_no_other_from_giving_up_its_records(tmp_path: Path) -> None:
    class FullDisk(LinuxFiles):
        is_full = False

        def open(self, path: str, *, create: bool = False) -> int:
            if self.is_full and create and path.endswith(names.LOG):
                raise OSError(errno.ENOSPC, "no space")
            return super().open(path, create=create)

    files = FullDisk()
    jobs = Jobs(tmp_path, files)
    # Its only segment is old: a new one would have to take its place.
    first = jobs.open(FULL)
    first.append(batch(b"v"))
    second = jobs.open(EXPIRING)
    for _ in range(6):
        second.append(batch(b"v" * 50))
    second.log.roll()
    files.is_full = True
    jobs.clock.advance(900_000)
    await jobs.jobs.apply_retention()
    assert (first.log.log_start_offset, first.log.log_end_offset) == (0, 1)
    assert (second.log.log_start_offset, len(second.log.segments)) == (6, 1)
    files.is_full = False
    await jobs.jobs.apply_retention()
    assert first.log.log_start_offset == 1
    assert jobs.host.logs.online_dirs() == [str(tmp_path)]
    jobs.host.logs.release()


async def test_checkpoints_are_written_at_their_intervals(jobs: Jobs) -> None:
    partition = jobs.open(FLUSHED)
    partition.append(batch(b"a", b"b"))
    async with at_work(jobs):
        await jobs.after(4999)
        assert jobs.checkpoint(names.HIGH_WATERMARK_CHECKPOINT) == {}
        await jobs.after(1)
        assert jobs.checkpoint(names.HIGH_WATERMARK_CHECKPOINT) == {FLUSHED: 2}
        partition.log.flush()
        assert jobs.checkpoint(names.RECOVERY_POINT_CHECKPOINT).get(FLUSHED, 0) == 0
        await jobs.after(55_000)
        assert jobs.checkpoint(names.RECOVERY_POINT_CHECKPOINT) == {FLUSHED: 2}


async def test_a_silent_producer_is_forgotten(jobs: Jobs) -> None:
    partition = jobs.open(FLUSHED)
    partition.append(producers_batch(producer=(7, 0, 0), timestamp=NOW_MS))
    async with at_work(jobs):
        await jobs.after(86_400_000 - 1)
        assert partition.log.producers.get(7) is not None
        await jobs.after(600_000)
        assert partition.log.producers.get(7) is None
