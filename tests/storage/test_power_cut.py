"""The power goes at every write, rename and fsync of a scenario; afterwards the promises still hold."""

import random
from collections.abc import Callable

import pytest

from pybroker.config.broker import BrokerConfig
from pybroker.config.topic import TopicConfig
from pybroker.model.ids import ZERO_TOPIC_ID
from pybroker.records.header import Record
from pybroker.records.policy import Origin
from pybroker.replication.partition import Partition, open_partition
from pybroker.replication.topic_settings import partition_settings
from pybroker.storage import checkpoints, names
from pybroker.storage.context import StorageContext
from pybroker.storage.loader import open_log
from pybroker.storage.log import Log
from pybroker.storage.log_config import LogConfig
from tests.storage.conftest import PARTITION, Clock, all_records, batch, marker
from tests.support.memory_files import MemoryFiles, PowerCut

LOG_DIR = "/data"
DIRECTORY = f"/data/{PARTITION}"
BROKER = BrokerConfig.from_properties({})
SETTINGS = partition_settings(PARTITION, TopicConfig.from_overrides(BROKER, {}), BROKER)
CONFIG = LogConfig(segment_bytes=1500, index_interval_bytes=200, retention_bytes=3000, retention_ms=-1)


class Broker:
    """One log, its checkpoints, and what its clients were told."""

    def __init__(self, files: MemoryFiles, *, clean: bool = True) -> None:
        self.files = files
        self.clock = Clock()
        self.context = StorageContext(
            now_ms=self.clock.now_ms, files=files, handle_limit=4, random=random.Random(1)
        )
        files.mkdir(LOG_DIR)
        files.mkdir(DIRECTORY)
        starts = checkpoints.read_offsets(files, LOG_DIR, names.LOG_START_CHECKPOINT)
        points = checkpoints.read_offsets(files, LOG_DIR, names.RECOVERY_POINT_CHECKPOINT)
        self.log: Log = open_log(
            DIRECTORY,
            PARTITION,
            CONFIG,
            self.context,
            log_start_offset=starts.get(PARTITION, 0),
            recovery_point=points.get(PARTITION, 0),
            clean=clean,
        )
        self.acknowledged: list[Record] = []
        self.flushed = 0
        self.cut_to = 1 << 62

    def append(
        self, count: int, *, producer: tuple[int, int, int] | None = None, transactional: bool = False
    ) -> None:
        made = batch(count, producer=producer, transactional=transactional, size=60)
        info = self.log.append_as_leader(made, self.log.log_end_offset // 40)
        self.remember(info.first_offset)

    def remember(self, first_offset: int) -> None:
        read = [record for record in all_records(self.log) if record.offset >= first_offset]
        self.acknowledged = [record for record in self.acknowledged if record.offset < first_offset] + read

    def end(self, producer_id: int, *, commit: bool) -> None:
        info = self.log.append_as_leader(marker(producer_id, 0, commit=commit), 0, Origin.COORDINATOR)
        self.remember(info.first_offset)

    def flush(self) -> None:
        self.log.flush()
        self.flushed = self.log.log_end_offset

    def checkpoint(self) -> None:
        checkpoints.write_offsets(
            self.files, LOG_DIR, names.RECOVERY_POINT_CHECKPOINT, {PARTITION: self.log.recovery_point}
        )
        checkpoints.write_offsets(
            self.files, LOG_DIR, names.LOG_START_CHECKPOINT, {PARTITION: self.log.log_start_offset}
        )
        checkpoints.write_offsets(
            self.files, LOG_DIR, names.HIGH_WATERMARK_CHECKPOINT, {PARTITION: self.log.log_end_offset}
        )

    def partition(self) -> Partition:
        """As the broker serves it after a start."""
        found = checkpoints.read_offsets(self.files, LOG_DIR, names.HIGH_WATERMARK_CHECKPOINT)
        return open_partition(PARTITION, ZERO_TOPIC_ID, 0, self.log, SETTINGS, found.get(PARTITION, 0))


def writing(broker: Broker) -> None:
    """Appends of every kind, rolls, flushes, checkpoints, retention."""
    broker.append(3)
    broker.append(4, producer=(7, 0, 0))
    broker.append(2, producer=(9, 0, 0), transactional=True)
    broker.flush()
    for n in range(1, 12):
        broker.append(2, producer=(7, 0, 4 + 2 * (n - 1)))
    broker.end(9, commit=False)
    broker.flush()
    broker.checkpoint()
    for n in range(6):
        broker.append(2, producer=(9, 0, 2 + 2 * n), transactional=True)
    broker.log.on_high_watermark(broker.log.log_end_offset)
    broker.log.apply_retention(broker.log.log_end_offset)
    broker.end(9, commit=True)
    for path in broker.context.trash.take_due(1 << 62):
        broker.files.unlink(path)
    broker.append(3)
    broker.checkpoint()
    broker.flush()


def cutting(broker: Broker) -> None:
    """A follower that flushes, cuts, and goes on."""
    for _ in range(14):
        broker.append(2)
    broker.flush()
    broker.checkpoint()
    for target in (20, 6):
        broker.cut_to = target
        broker.flushed = min(broker.flushed, target)
        broker.log.truncate_to(target)
        broker.acknowledged = [record for record in broker.acknowledged if record.offset < target]
        broker.checkpoint()
        broker.cut_to = 1 << 62
        for _ in range(5):
            broker.append(2)
        broker.flush()


def changes_of(scenario: Callable[[Broker], None]) -> int:
    """How many changes the scenario makes to the disk."""
    files = MemoryFiles()
    scenario(Broker(files))
    return files.changes


def run_until_cut(scenario: Callable[[Broker], None], cut_at: int) -> Broker | None:
    """The broker as the cut found it; None if it hit the very first opening."""
    files = MemoryFiles()
    files.cut_at = cut_at
    broker = None
    try:
        broker = Broker(files)
        scenario(broker)
    except PowerCut:
        pass
    return broker


def check(before: Broker, files: MemoryFiles, *, killed: bool) -> None:
    """The next start finds what was promised, and the log works."""
    broker = Broker(files, clean=False)
    log, clock = broker.log, before.acknowledged
    partition = broker.partition()
    assert log.log_start_offset <= partition.last_stable_offset
    assert partition.last_stable_offset <= partition.high_watermark <= log.log_end_offset
    found = all_records(log)
    assert [record.offset for record in found] == list(range(log.log_start_offset, log.log_end_offset))
    promised = {record.offset: record for record in clock}
    for record in found:
        if record.offset < before.cut_to:
            assert promised.get(record.offset, record) == record
    least = len(promised) and max(promised) + 1 if killed else before.flushed
    assert log.log_end_offset >= min(least, before.cut_to)
    twice = Broker(broker.files.after_power_cut(None), clean=False)
    assert twice.log.log_end_offset >= min(before.flushed, before.cut_to)
    broker.append(2, producer=(11, 0, 0))
    after = all_records(log)
    log.close()
    again = Broker(files)
    assert all_records(again.log) == after


@pytest.mark.parametrize("scenario", [writing, cutting])
def test_every_acknowledged_record_survives_a_kill_at_any_moment(scenario: Callable[[Broker], None]) -> None:
    for cut_at in range(changes_of(scenario)):
        broker = run_until_cut(scenario, cut_at)
        if broker is not None:
            check(broker, broker.files.after_power_cut(None, keep_all=True), killed=True)


@pytest.mark.parametrize("scenario", [writing, cutting])
def test_every_flushed_record_survives_a_power_cut_at_any_moment(scenario: Callable[[Broker], None]) -> None:
    for cut_at in range(changes_of(scenario)):
        broker = run_until_cut(scenario, cut_at)
        if broker is None:
            continue
        check(broker, broker.files.after_power_cut(None), killed=False)
        for seed in range(3):
            check(broker, broker.files.after_power_cut(random.Random(seed)), killed=False)
