"""A partition: who leads, what readers may see, and who is told of news."""

from pathlib import Path

import pytest

from pybroker.model.errors import ApiError, ErrorCode
from pybroker.replication.fetched import Isolation
from pybroker.replication.partition import Partition, PartitionState
from pybroker.replication.waiters import waiting_on
from tests.replication.hosts import TOPIC_ID, TP, US, Host, batch, leading


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


@pytest.fixture
def partition(host: Host) -> Partition:
    partition = host.open_partition(TP, TOPIC_ID)
    partition.make_leader(leading())
    return partition


def test_an_only_replica_commits_what_it_appends(partition: Partition) -> None:
    info = partition.append(batch(b"a", b"b"))
    assert (info.first_offset, info.last_offset) == (0, 1)
    assert partition.high_watermark == 2


def test_readers_get_the_batches_from_the_offset_on(partition: Partition) -> None:
    partition.append(batch(b"a", b"b"))
    partition.append(batch(b"c"))
    fetched = partition.read(1, 10_000, Isolation.READ_UNCOMMITTED, min_one_batch=True)
    assert fetched.read.first_offset == 0
    assert fetched.read.size_in_bytes == partition.log.size_in_bytes
    assert fetched.read.slice is not None
    fetched.read.slice.release()


@pytest.mark.parametrize("offset", [-1, 3])
def test_offsets_outside_the_committed_log_are_out_of_range(partition: Partition, offset: int) -> None:
    partition.append(batch(b"a", b"b"))
    with pytest.raises(ApiError) as refused:
        partition.read(offset, 100, Isolation.READ_UNCOMMITTED, min_one_batch=True)
    assert refused.value.code is ErrorCode.OFFSET_OUT_OF_RANGE


def test_the_end_of_the_log_reads_as_nothing(partition: Partition) -> None:
    partition.append(batch(b"a"))
    assert partition.read(1, 100, Isolation.READ_UNCOMMITTED, min_one_batch=True).read.slice is None


@pytest.mark.parametrize(
    ("epoch", "code"),
    [(4, ErrorCode.FENCED_LEADER_EPOCH), (6, ErrorCode.UNKNOWN_LEADER_EPOCH), (5, None), (-1, None)],
)
def test_clients_are_fenced_by_their_leader_epoch(host: Host, epoch: int, code: ErrorCode | None) -> None:
    partition = host.open_partition(TP, TOPIC_ID)
    partition.make_leader(leading(epoch=5))
    if code is None:
        partition.check_epoch(epoch)
        return
    with pytest.raises(ApiError) as refused:
        partition.check_epoch(epoch)
    assert refused.value.code is code


def test_too_small_an_isr_refuses_acks_all(tmp_path: Path) -> None:
    host = Host(tmp_path, topic_configs={TP.topic: {"min.insync.replicas": "2"}})
    partition = host.open_partition(TP, TOPIC_ID)
    partition.make_leader(
        PartitionState(leader=US, leader_epoch=0, controller_epoch=1, isr=(US,), replicas=(US, 2))
    )
    with pytest.raises(ApiError, match="insufficient") as refused:
        partition.check_enough_replicas()
    assert refused.value.code is ErrorCode.NOT_ENOUGH_REPLICAS


def test_min_isr_asks_for_no_more_replicas_than_there_are(tmp_path: Path) -> None:
    host = Host(tmp_path, topic_configs={TP.topic: {"min.insync.replicas": "3"}})
    partition = host.open_partition(TP, TOPIC_ID)
    partition.make_leader(leading())
    partition.check_enough_replicas()


async def test_an_append_wakes_whoever_waits(partition: Partition) -> None:
    with waiting_on([partition.waiters]) as waiter:
        partition.append(batch(b"a"))
        await waiter.sleep()


async def test_losing_leadership_wakes_whoever_waits(partition: Partition) -> None:
    with waiting_on([partition.waiters]) as waiter:
        partition.make_follower(PartitionState(leader=2, leader_epoch=1))
        await waiter.sleep()
    assert not partition.is_leader


def test_a_new_leader_epoch_begins_at_the_log_end(partition: Partition) -> None:
    partition.append(batch(b"a", b"b"))
    partition.make_leader(leading(epoch=3))
    partition.append(batch(b"c"))
    assert tuple(partition.end_offset_for_epoch(0)) == (0, 2)
    assert tuple(partition.end_offset_for_epoch(3)) == (3, 3)
    assert partition.log.epoch_for_offset(2) == 3


def test_the_checkpointed_high_watermark_is_kept_within_the_log(host: Host) -> None:
    assert host.open_partition(TP, TOPIC_ID, checkpointed_high_watermark=7).high_watermark == 0
