"""A follower's files are its leader's, byte for byte."""

from pathlib import Path

import pytest

from pybroker.model.ids import TopicPartition
from pybroker.records.policy import Origin
from pybroker.storage.context import StorageContext
from pybroker.storage.errors import CorruptRecords
from pybroker.storage.log import Log
from pybroker.storage.log_config import LogConfig
from pybroker.storage.log_manager import LogManager
from tests.storage.conftest import Clock, OpenLog, batch, marker

PARTITION = TopicPartition("copied", 0)
CONFIG = LogConfig(segment_bytes=1500, index_interval_bytes=200)


def managed(path: Path) -> tuple[LogManager, Log]:
    manager = LogManager([str(path)], StorageContext(now_ms=Clock().now_ms))
    manager.lock()
    manager.load()
    return manager, manager.create(PARTITION, bytes(15) + b"\1", CONFIG)


def lead(log: Log) -> None:
    for n in range(40):
        log.append_as_leader(batch(2, producer=(1, 0, 2 * n), timestamp=1000 * n), n // 15)
        log.append_as_leader(batch(1, producer=(2, 0, n), transactional=True, timestamp=7), n // 15)
        if n % 10 == 9:
            log.append_as_leader(marker(2, 0, commit=n % 20 == 9), n // 15, Origin.COORDINATOR)


@pytest.mark.parametrize("max_bytes", [1, 500, 1 << 20])
def test_replication_in_pieces_of_any_size_makes_the_same_files(tmp_path: Path, max_bytes: int) -> None:
    leader_manager, leader = managed(tmp_path / "leader")
    lead(leader)
    follower_manager, follower = managed(tmp_path / "follower")
    while follower.log_end_offset < leader.log_end_offset:
        read = leader.read(follower.log_end_offset, max_bytes)
        assert read.slice is not None
        follower.append_as_follower(memoryview(read.slice.read()))
    assert follower.aborted_transactions(0, 1000) == leader.aborted_transactions(0, 1000)
    leader_manager.close()
    follower_manager.close()
    found = [
        {path.name: path.read_bytes() for path in (tmp_path / name / str(PARTITION)).iterdir()}
        for name in ("leader", "follower")
    ]
    assert found[0] == found[1]


def test_nothing_of_a_fetch_with_a_bad_batch_is_appended(open_at: OpenLog) -> None:
    log = open_at()
    good = bytes(batch(2).buffer)
    for position in (17, 30, len(good) - 1):
        bad = bytearray(good)
        bad[0:8] = (2).to_bytes(8, "big")
        bad[position] ^= 1
        with pytest.raises(CorruptRecords):
            log.append_as_follower(memoryview(good + bytes(bad)))
    with pytest.raises(CorruptRecords):
        log.append_as_follower(memoryview(good + good))
    assert log.log_end_offset == 0
    assert log.append_as_follower(memoryview(good[:-1])) is None
