"""A partition as a coordinator's log: what is refused, what is waited for, and what is read back."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing
from msgspec.structs import replace

from pybroker.config.broker import BrokerConfig
from pybroker.config.topic import TopicConfig
from pybroker.coordination.runtime.partition_log import PartitionLog
from pybroker.model.errors import ApiError, ErrorCode
from pybroker.model.ids import TopicPartition
from pybroker.records.builder import RecordBatchBuilder
from pybroker.records.header import TimestampType, read_batch_header
from pybroker.replication.partition import Partition, PartitionState
from pybroker.replication.topic_settings import partition_settings
from pybroker.storage.context import StorageContext
from pybroker.storage.files import Files
from pybroker.storage.loader import open_log

OFFSETS = TopicPartition("__consumer_offsets", 0)
NOW_MS = 1_700_000_000_000
LEADER = PartitionState(leader=0, leader_epoch=3, isr=(0,), replicas=(0,))


def batch(value: bytes = b"v") -> bytes:
    builder = RecordBatchBuilder()
    builder.append(b"k", value, NOW_MS)
    return builder.build()


def transactional_batch(epoch: int) -> bytes:
    """As Kafka's group coordinator writes it: each one with the sequence number 0."""
    builder = RecordBatchBuilder(producer_id=7, producer_epoch=epoch, base_sequence=0, is_transactional=True)
    builder.append(b"k", b"v", NOW_MS)
    return builder.build()


class Opener:
    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.opened: list[Partition] = []

    def __call__(self, state: PartitionState = LEADER, key: str = "", value: str = "") -> PartitionLog:
        config = BrokerConfig.from_properties({})
        overrides = {"cleanup.policy": "compact"} | ({key: value} if key else {})
        settings = partition_settings(OFFSETS, TopicConfig.from_overrides(config, overrides), config)
        where = self.directory / str(OFFSETS)
        where.mkdir()
        context = StorageContext(now_ms=lambda: NOW_MS, files=Files())
        log = open_log(str(where), OFFSETS, settings.log, context, clean=True)
        partition = Partition(OFFSETS, 0, log, settings)
        partition.make_leader(state)
        self.opened.append(partition)
        return PartitionLog(partition, state.leader_epoch)


@pytest.fixture
def open_partition(tmp_path: Path) -> Iterator[Opener]:
    opener = Opener(tmp_path)
    yield opener
    for partition in opener.opened:
        partition.log.close_handles()


def refused(call: Any, *args: Any, **fields: Any) -> ErrorCode:
    with pytest.raises(ApiError) as raised:
        call(*args, **fields)
    return raised.value.code


def test_what_is_appended_is_read_back(open_partition: Opener) -> None:
    log = open_partition()
    assert log.append(batch(), all_replicas=True) == (0, 1)
    assert log.append(batch(), all_replicas=True) == (1, 2)
    assert log.is_committed(2)
    data = log.read(0, 1 << 20)
    assert read_batch_header(data).leader_epoch == 3
    assert read_batch_header(log.read(1, 1)).base_offset == 1
    assert log.read(2, 1 << 20) == b""


def test_only_a_leader_appends(open_partition: Opener) -> None:
    log = open_partition()
    log.partition.make_follower(replace(LEADER, leader=1))
    assert refused(log.append, batch(), all_replicas=True) is ErrorCode.NOT_LEADER_OR_FOLLOWER
    assert not log.is_committed(0)


def test_a_small_isr_refuses_what_must_be_on_all_replicas(open_partition: Opener) -> None:
    state = replace(LEADER, replicas=(0, 1), isr=(0,))
    log = open_partition(state, "min.insync.replicas", "2")
    assert refused(log.append, batch(), all_replicas=True) is ErrorCode.NOT_ENOUGH_REPLICAS
    assert log.append(batch(), all_replicas=False) == (0, 1)


def test_a_batch_may_be_too_large(open_partition: Opener) -> None:
    log = open_partition(LEADER, "max.message.bytes", "1000")
    assert refused(log.append, batch(bytes(1000)), all_replicas=True) is ErrorCode.MESSAGE_TOO_LARGE
    assert log.log_end_offset == 0


def test_a_topic_may_stamp_its_records_itself(open_partition: Opener) -> None:
    log = open_partition(LEADER, "message.timestamp.type", "LogAppendTime")
    log.append(batch(), all_replicas=True)
    assert read_batch_header(log.read(0, 1000)).timestamp_type is TimestampType.LOG_APPEND_TIME


def test_batches_for_a_producer_are_not_counted(open_partition: Opener) -> None:
    """What a coordinator writes for a producer is fenced by epoch, but is nobody's duplicate."""
    log = open_partition()
    assert log.append(transactional_batch(epoch=1), all_replicas=True) == (0, 1)
    assert log.append(transactional_batch(epoch=1), all_replicas=True) == (1, 2)
    fenced = refused(log.append, transactional_batch(epoch=0), all_replicas=True)
    assert fenced is ErrorCode.INVALID_PRODUCER_EPOCH


async def test_waiting_ends_with_leadership(open_partition: Opener, nursery: trio.Nursery) -> None:
    log = open_partition()
    codes: list[ErrorCode] = []

    async def wait() -> None:
        try:
            await log.committed(5, timeout_s=60)
        except ApiError as error:
            codes.append(error.code)

    nursery.start_soon(wait)
    await trio.testing.wait_all_tasks_blocked()
    log.partition.make_follower(replace(LEADER, leader=1))
    await trio.testing.wait_all_tasks_blocked()
    assert codes == [ErrorCode.NOT_LEADER_OR_FOLLOWER]


async def test_waiting_ends_in_time(
    open_partition: Opener,
    autojump_clock: trio.testing.MockClock,
) -> None:
    log = open_partition()
    with pytest.raises(ApiError) as raised:
        await log.committed(5, timeout_s=5)
    assert raised.value.code is ErrorCode.REQUEST_TIMED_OUT
