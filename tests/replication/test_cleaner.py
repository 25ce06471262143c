"""The cleaner with a process of its own: what it does to logs, and what may befall it."""

import logging
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import trio
import trio.testing

from pybroker.config.broker import BrokerConfig
from pybroker.instruments.clock import Clock, TimerQueue
from pybroker.model.ids import TopicPartition
from pybroker.replication import cleaner as module
from pybroker.replication.cleaner import LogCleaner
from pybroker.replication.cleaner_process import CleanerProcess
from pybroker.replication.maintenance import Maintenance
from pybroker.replication.partition import Partition
from pybroker.storage import checkpoints, names
from pybroker.storage.cleaning.job import Answer, CleanedGroup
from pybroker.storage.context import StorageContext
from pybroker.storage.files import Files
from pybroker.storage.log_manager import LogManager
from tests.replication.hosts import TOPIC_ID, Host, leading
from tests.storage.cleaning.support import keyed, state_of
from tests.storage.conftest import all_records

TP = TopicPartition("compacted", 0)
OTHER = TopicPartition("compacted", 1)
CONFIGS = {
    "compacted": {"cleanup.policy": "compact", "segment.bytes": "2000", "min.cleanable.dirty.ratio": "0.1"}
}


class Cleaning:
    """A broker's logs with a cleaner."""

    def __init__(self, folder: Path, properties: dict[str, str] | None = None) -> None:
        self.host = Host(folder, CONFIGS)
        self.partitions: dict[TopicPartition, Partition] = {}
        self.config = BrokerConfig.from_properties(properties or {})
        self.storage: StorageContext = self.host.logs._context
        self.cleaner = LogCleaner(
            lambda: self.config,
            self.storage,
            self.host.logs,
            self.partitions.values(),  # type: ignore[arg-type]
        )

    def filled(self, tp: TopicPartition = TP, batches: int = 100) -> Partition:
        partition = self.host.open_partition(tp, TOPIC_ID)
        partition.make_leader(leading())
        self.partitions[tp] = partition
        self.fill(partition, batches)
        return partition

    def fill(self, partition: Partition, batches: int = 100) -> None:
        for n in range(batches):
            partition.append(keyed([(b"k%d" % (n % 5), b"v%d" % n * 10)]))

    def checkpoint(self) -> dict[TopicPartition, int]:
        return checkpoints.read_offsets(Files(), str(self.host.folder), names.CLEANER_CHECKPOINT)

    def leftovers(self, tp: TopicPartition = TP) -> list[str]:
        return [path.name for path in (self.host.folder / str(tp)).glob(f"*{names.CLEANED}")]


@pytest.fixture
async def cleaning(tmp_path: Path) -> AsyncIterator[Cleaning]:
    made = Cleaning(tmp_path)
    yield made
    await made.cleaner.stop()
    made.host.logs.release()


def after_first_group(monkeypatch: pytest.MonkeyPatch, act: Callable[[CleanerProcess], None]) -> None:
    """Acts once, when the first group is made but not swapped in."""
    receive = CleanerProcess.receive
    acted = False

    async def acting(self: CleanerProcess) -> Answer | None:
        nonlocal acted
        answer = await receive(self)
        if isinstance(answer, CleanedGroup) and not acted:
            acted = True
            act(self)
        return answer

    monkeypatch.setattr(CleanerProcess, "receive", acting)


async def test_a_round_cleans_all_that_is_due_and_writes_the_checkpoint(cleaning: Cleaning) -> None:
    first, second = cleaning.filled(), cleaning.filled(OTHER)
    states = state_of(first.log), state_of(second.log)
    await cleaning.cleaner.run_round()
    for partition, state in zip((first, second), states, strict=True):
        assert state_of(partition.log) == state
        assert partition.log.cleaned_offset == partition.log.segments.active.base_offset
    assert len(all_records(first.log)) < 50
    assert cleaning.checkpoint() == {TP: first.log.cleaned_offset, OTHER: second.log.cleaned_offset}
    assert cleaning.leftovers() == []
    cleaned = first.log.cleaned_offset
    cleaning.host.logs.close()
    again = LogManager([str(cleaning.host.folder)], StorageContext(now_ms=lambda: 0))
    again.lock()
    again.load()
    log = again.get(TP)
    assert log is not None
    assert log.cleaned_offset == cleaned
    again.release()


async def test_several_rounds_at_once_take_different_logs(cleaning: Cleaning) -> None:
    partitions = [cleaning.filled(TopicPartition("compacted", n)) for n in range(4)]
    async with trio.open_nursery() as nursery:
        nursery.start_soon(cleaning.cleaner.run_round)
        nursery.start_soon(cleaning.cleaner.run_round)
    assert [p.log.cleaned_offset for p in partitions] == [
        p.log.segments.active.base_offset for p in partitions
    ]


async def test_a_dead_process_leaves_the_log_alone_and_the_broker_alive(
    cleaning: Cleaning, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    partition = cleaning.filled()
    state = state_of(partition.log)

    async def dead(self: CleanerProcess) -> Answer | None:
        assert self.pid is not None
        os.kill(self.pid, signal.SIGKILL)
        return await receive(self)

    receive = CleanerProcess.receive
    monkeypatch.setattr(CleanerProcess, "receive", dead)
    with caplog.at_level(logging.ERROR):
        await cleaning.cleaner.run_round()
    assert len(caplog.records) == 1
    assert cleaning.cleaner.uncleanable == {TP: partition.log}
    assert state_of(partition.log) == state
    monkeypatch.setattr(CleanerProcess, "receive", receive)
    other = cleaning.filled(OTHER)
    await cleaning.cleaner.run_round()
    assert other.log.cleaned_offset
    assert partition.log.cleaned_offset is None


async def test_a_damaged_segment_makes_its_log_uncleanable(
    cleaning: Cleaning, caplog: pytest.LogCaptureFixture
) -> None:
    partition = cleaning.filled()
    path = Path(partition.log.segments.first.path())
    data = bytearray(path.read_bytes())
    data[100] ^= 0xFF
    path.write_bytes(data)
    with caplog.at_level(logging.ERROR):
        await cleaning.cleaner.run_round()
    assert len([record for record in caplog.records if record.name == module.__name__]) == 1
    assert cleaning.cleaner.uncleanable == {TP: partition.log}
    assert cleaning.leftovers() == []


@pytest.mark.parametrize("change", ["truncate", "delete", "retention"])
async def test_a_log_that_changes_below_the_clean_ends_it_and_the_next_round_starts_anew(
    cleaning: Cleaning, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    partition = cleaning.filled()
    log = partition.log

    def act(_process: CleanerProcess) -> None:
        if change == "truncate":
            log.truncate_to(30)
        elif change == "delete":
            cleaning.host.logs.delete_async(TP)
        else:
            log.advance_log_start_offset(40)
            assert log.apply_retention(partition.high_watermark)[0]

    after_first_group(monkeypatch, act)
    await cleaning.cleaner.run_round()
    assert log.cleaned_offset is None
    assert cleaning.cleaner.uncleanable == {}
    if change == "delete":
        del cleaning.partitions[TP]
        partition = cleaning.filled()
        assert partition.log is not log
    else:
        partition.high_watermark = log.log_end_offset
        cleaning.fill(partition)
    assert cleaning.leftovers() == []
    state = state_of(partition.log)
    await cleaning.cleaner.run_round()
    assert partition.log.cleaned_offset == partition.log.segments.active.base_offset
    assert state_of(partition.log) == state


async def test_a_full_disk_ends_the_round_and_keeps_the_log_cleanable(
    cleaning: Cleaning, monkeypatch: pytest.MonkeyPatch
) -> None:
    partition = cleaning.filled()

    async def full(_self: CleanerProcess) -> Answer | None:
        return OSError(28, "No space left on device")

    monkeypatch.setattr(CleanerProcess, "receive", full)
    await cleaning.cleaner.run_round()
    assert cleaning.host.logs.get(TP) is partition.log
    monkeypatch.undo()
    await cleaning.cleaner.run_round()
    assert partition.log.cleaned_offset


async def test_a_failed_disk_takes_its_log_directory_offline(
    cleaning: Cleaning, monkeypatch: pytest.MonkeyPatch
) -> None:
    cleaning.filled()

    async def failed(_self: CleanerProcess) -> Answer | None:
        return OSError(5, "Input/output error")

    monkeypatch.setattr(CleanerProcess, "receive", failed)
    await cleaning.cleaner.run_round()
    assert cleaning.host.logs.online_dirs() == []


async def test_a_stop_ends_a_running_clean_and_its_process(
    cleaning: Cleaning, monkeypatch: pytest.MonkeyPatch
) -> None:
    partition = cleaning.filled()
    started, pids = trio.Event(), list[int]()

    async def stuck(self: CleanerProcess) -> Answer | None:
        assert self.pid is not None
        pids.append(self.pid)
        started.set()
        await trio.sleep_forever()
        raise AssertionError

    monkeypatch.setattr(CleanerProcess, "receive", stuck)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(cleaning.cleaner.run_round)
        await started.wait()
        await cleaning.cleaner.stop()
    with pytest.raises(ProcessLookupError):
        os.kill(pids[0], 0)
    assert partition.log.cleaned_offset is None
    await cleaning.cleaner.run_round()
    assert partition.log.cleaned_offset is None


async def test_a_log_cut_while_nothing_is_answered_is_noticed(
    cleaning: Cleaning, monkeypatch: pytest.MonkeyPatch
) -> None:
    partition = cleaning.filled()

    async def stuck(_self: CleanerProcess) -> Answer | None:
        partition.log.truncate_to(10)
        await trio.sleep_forever()
        raise AssertionError

    monkeypatch.setattr(CleanerProcess, "receive", stuck)
    monkeypatch.setattr(module, "LOOK_INTERVAL_S", 0.01)
    with trio.fail_after(20):
        await cleaning.cleaner.run_round()
    assert cleaning.cleaner.uncleanable == {}


async def test_uncommitted_and_unreplicated_records_are_left_alone(cleaning: Cleaning) -> None:
    partition = cleaning.filled()
    partition.high_watermark = 3
    await cleaning.cleaner.run_round()
    assert partition.log.cleaned_offset is None


@pytest.mark.parametrize("is_enabled", [True, False])
async def test_it_runs_as_a_job_on_broker_time(tmp_path: Path, is_enabled: bool) -> None:
    made = Cleaning(
        tmp_path, {"log.cleaner.backoff.ms": "700", "log.cleaner.enable": str(is_enabled).lower()}
    )
    partition = made.filled()
    timers, clock = TimerQueue(), Clock()
    jobs = Maintenance(
        made.config, clock, timers, made.storage, made.host.logs, made.host.replicas, lambda: made.cleaner
    )
    async with trio.open_nursery() as nursery:
        nursery.start_soon(jobs.run)
        await trio.testing.wait_all_tasks_blocked()
        assert timers.pending().get("clean", 0) == is_enabled
        timers.fire_due(clock.now_ms() + 700)
        if is_enabled:
            with trio.fail_after(20):
                while partition.log.cleaned_offset is None:
                    await trio.testing.wait_all_tasks_blocked(0.01)
        nursery.cancel_scope.cancel()
    made.host.logs.release()


def test_the_limits_of_a_process_are_its_share(tmp_path: Path) -> None:
    made = Cleaning(
        tmp_path,
        {
            "log.cleaner.threads": "2",
            "log.cleaner.dedupe.buffer.size": "8000000",
            "log.cleaner.io.buffer.size": "400000",
            "log.cleaner.io.max.bytes.per.second": "1000",
            "log.cleaner.io.buffer.load.factor": "0.7",
        },
    )
    limits = made.cleaner.limits
    assert (limits.map_bytes, limits.buffer_bytes) == (4_000_000, 100_000)
    assert (limits.max_bytes_per_second, limits.map_load_factor) == (500, 0.7)
    made.host.logs.release()


def test_a_process_ends_with_the_broker_that_started_it() -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "pybroker.storage.cleaning.worker"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdin is not None
        process.stdin.close()
        assert process.wait(20) == 0


async def test_a_log_that_is_being_moved_is_left_alone(cleaning: Cleaning) -> None:
    partition = cleaning.filled()
    cleaning.host.logs.create_future(TP, str(cleaning.host.folder))
    await cleaning.cleaner.run_round()
    assert partition.log.cleaned_offset is None
    cleaning.host.logs.drop_future(TP)
    await cleaning.cleaner.run_round()
    assert partition.log.cleaned_offset is not None


async def test_a_move_that_begins_amid_a_clean_ends_it(
    cleaning: Cleaning, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    partition = cleaning.filled()
    state = state_of(partition.log)
    after_first_group(
        monkeypatch, lambda _process: cleaning.host.logs.create_future(TP, str(cleaning.host.folder))
    )
    await cleaning.cleaner.run_round()
    assert "it is being moved to another directory" in caplog.text
    assert state_of(partition.log) == state
    assert partition.log.cleaned_offset is None
    assert cleaning.leftovers() == []
