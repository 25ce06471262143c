"""A follower takes over what its leader has, and finds the place where their logs part."""

from pathlib import Path

import pytest

from pybroker.model.errors import ErrorCode
from pybroker.model.ids import LeaderEpoch, Offset
from pybroker.protocol.messages import FetchResponse
from pybroker.records.builder import build_batch
from pybroker.records.header import Record
from pybroker.replication.following import Following, Progress, common_end
from pybroker.replication.partition import Partition, PartitionState
from pybroker.storage.leader_epochs import EpochEndOffset
from tests.replication.hosts import NOW_MS, TOPIC_ID, TP, US, Host

LEADER = 2


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


@pytest.fixture
def partition(host: Host) -> Partition:
    partition = host.open_partition(TP, TOPIC_ID)
    follow(partition, epoch=0)
    return partition


def follow(partition: Partition, epoch: LeaderEpoch) -> None:
    state = PartitionState(leader=LEADER, leader_epoch=epoch, isr=(LEADER, US), replicas=(LEADER, US))
    partition.make_follower(state)


def batch_of(first: Offset, count: int, epoch: LeaderEpoch) -> bytes:
    """As it is in the leader's log."""
    records = [Record(first + number, NOW_MS, None, b"value") for number in range(count)]
    return bytes(build_batch(records, base_offset=first, leader_epoch=epoch))


def answer(
    records: bytes = b"",
    *,
    high_watermark: Offset = 0,
    log_start: Offset = 0,
    error: ErrorCode = ErrorCode.NONE,
    diverging: tuple[LeaderEpoch, Offset] | None = None,
) -> FetchResponse.PartitionData:
    data = FetchResponse.PartitionData(
        partition_index=TP.partition,
        error_code=error,
        high_watermark=high_watermark,
        log_start_offset=log_start,
        records=memoryview(records),
    )
    if diverging is not None:
        epoch, end_offset = diverging
        data.diverging_epoch = FetchResponse.EpochEndOffset(epoch=epoch, end_offset=end_offset)
    return data


def filled(partition: Partition, *epochs: LeaderEpoch) -> Following:
    """One that has two records of each epoch, none of them known to be committed."""
    for number, epoch in enumerate(epochs):
        follow(partition, epoch)
        following = Following.begin(partition)
        assert following.take(answer(batch_of(2 * number, 2, epoch))) is Progress.GO_ON
    return following


def test_what_comes_is_appended_and_what_follows_is_asked_for(partition: Partition) -> None:
    following = Following.begin(partition)
    assert following.take(answer(batch_of(0, 3, 0), high_watermark=2)) is Progress.GO_ON
    assert (partition.log.log_end_offset, partition.high_watermark) == (3, 2)
    asked = following.asked()
    assert (asked.topic_id, asked.fetch_offset, asked.last_fetched_epoch) == (TOPIC_ID, 3, 0)


def test_it_is_in_sync_once_it_has_all_that_is_committed(partition: Partition) -> None:
    following = Following.begin(partition)
    assert not following.is_in_sync
    following.take(answer(batch_of(0, 2, 0), high_watermark=5))
    assert following.lag == 3
    following.take(answer(batch_of(2, 4, 0), high_watermark=5))
    assert following.is_in_sync


def test_a_high_watermark_beyond_its_log_counts_up_to_there(partition: Partition) -> None:
    following = Following.begin(partition)
    following.take(answer(batch_of(0, 1, 0), high_watermark=100))
    assert partition.high_watermark == 1


def test_records_that_the_leader_has_deleted_are_deleted(partition: Partition) -> None:
    following = filled(partition, 0)
    following.take(answer(high_watermark=2, log_start=1))
    assert partition.log.log_start_offset == 1


@pytest.mark.parametrize(
    ("error", "progress"),
    [
        (ErrorCode.OFFSET_OUT_OF_RANGE, Progress.OUT_OF_RANGE),
        (ErrorCode.FENCED_LEADER_EPOCH, Progress.FAILED),
        (ErrorCode.NOT_LEADER_OR_FOLLOWER, Progress.RETRY_LATER),
        (ErrorCode.UNKNOWN_LEADER_EPOCH, Progress.RETRY_LATER),
        (ErrorCode.KAFKA_STORAGE_ERROR, Progress.RETRY_LATER),
    ],
)
def test_what_a_refusal_means(partition: Partition, error: ErrorCode, progress: Progress) -> None:
    assert Following.begin(partition).take(answer(error=error)) is progress
    assert partition.log.log_end_offset == 0


def test_damaged_records_are_asked_for_again(partition: Partition) -> None:
    following = Following.begin(partition)
    damaged = bytearray(batch_of(0, 3, 0))
    damaged[-1] ^= 1
    assert following.take(answer(bytes(damaged))) is Progress.RETRY_LATER
    assert partition.log.log_end_offset == following.offset == 0


def test_records_that_are_there_already_are_not_taken_again(partition: Partition) -> None:
    following = filled(partition, 0)
    assert following.take(answer(batch_of(1, 1, 0))) is Progress.FAILED
    assert partition.log.log_end_offset == 2


def test_a_gap_is_taken_over_as_compaction_has_left_it(partition: Partition) -> None:
    following = filled(partition, 0)
    assert following.take(answer(batch_of(7, 1, 0))) is Progress.GO_ON
    assert partition.log.log_end_offset == 8


def test_a_log_is_cut_where_it_parts_from_the_leaders(partition: Partition) -> None:
    following = filled(partition, 0, 1)
    assert following.take(answer(diverging=(0, 2))) is Progress.GO_ON
    assert partition.log.log_end_offset == following.offset == 2
    assert following.asked().last_fetched_epoch == 0


@pytest.mark.parametrize(
    ("leader", "cut"),
    [
        ((3, 5), 5),  # both have it, the leader's ended earlier
        ((3, 9), 6),  # ours ended earlier
        ((2, 4), 4),  # we do not know that epoch: to the end of the one before, and ask again
        ((4, 5), 5),  # newer than all of ours
    ],
)
def test_where_two_logs_part(partition: Partition, leader: tuple[LeaderEpoch, Offset], cut: Offset) -> None:
    filled(partition, 0, 1, 3)
    assert common_end(partition, EpochEndOffset(*leader)) == cut


def test_another_order_of_the_controller_ends_it(partition: Partition) -> None:
    following = Following.begin(partition)
    assert not following.is_over
    follow(partition, epoch=1)
    assert following.is_over


def test_a_log_without_epochs_begins_at_its_high_watermark(host: Host) -> None:
    partition = host.open_partition(TP, TOPIC_ID)
    follow(partition, epoch=0)
    following = Following.begin(partition)
    following.take(answer(batch_of(0, 3, -1), high_watermark=3))
    following.take(answer(batch_of(3, 1, -1), high_watermark=3))
    assert partition.log.log_end_offset == 4
    assert Following.begin(partition).offset == partition.log.log_end_offset == 3


def test_a_leader_with_fewer_records_has_it_cut_its_log(partition: Partition) -> None:
    following = filled(partition, 0, 1)
    following.adapt(leader_start=0, leader_end=3)
    assert partition.log.log_end_offset == following.offset <= 3


def test_it_starts_over_where_a_leader_begins_that_has_deleted_all_of_it(partition: Partition) -> None:
    following = filled(partition, 0)
    following.adapt(leader_start=10, leader_end=20)
    assert partition.log.log_start_offset == partition.log.log_end_offset == following.offset == 10
