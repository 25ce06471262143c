"""The group coordinator over a log: loading, waiting, losing leadership, and the time it all takes."""

import itertools
from collections.abc import AsyncIterator
from typing import Any

import pytest
import trio
import trio.testing

from pybroker.config.broker import BrokerConfig
from pybroker.coordination.group.calls import (
    CommitCall,
    FetchCall,
    HeartbeatCall,
    JoinCall,
    JoinReply,
    LeavingMember,
    SyncCall,
    SyncReply,
)
from pybroker.coordination.group.offsets import CommittedOffset, GroupOffsets
from pybroker.coordination.group.records import GroupKey, OffsetKey, read_key
from pybroker.coordination.group.shard import GroupShard
from pybroker.coordination.runtime.groups import GroupCoordinator
from pybroker.instruments.clock import Clock, TimerQueue
from pybroker.metadata.image import ClusterImage
from pybroker.model.errors import ApiError, ErrorCode
from pybroker.model.ids import TopicPartition
from pybroker.records.builder import RecordBatchBuilder
from pybroker.storage.errors import DiskFull
from tests.coordination.runtime.memory_log import MemoryLog

START_MS = 1_700_000_000_000
ORDERS = TopicPartition("orders", 0)


def _other_batch() -> bytes:
    builder = RecordBatchBuilder()
    builder.append(b"\0\3\0\1g", b"\0\0", START_MS)
    return builder.build()


OTHER_BATCH = _other_batch()
"""A record of a group of the consumer protocol, which is not ours."""


class Bench:
    """A coordinator of one partition, in frozen broker time."""

    def __init__(self, **properties: str) -> None:
        self.clock = Clock()
        self.clock.freeze(START_MS)
        self.timers = TimerQueue()
        ids = itertools.count(1)
        settings = {"group.initial.rebalance.delay.ms": "0", **properties}
        self.coordinator = GroupCoordinator(
            BrokerConfig.from_properties(settings),
            self.clock.now_ms,
            self.timers,
            partition_count=lambda: 1,
            unique_text=lambda: f"id{next(ids)}",
            image=ClusterImage,
        )
        self.log = MemoryLog()

    def advance(self, by_ms: int) -> None:
        self.clock.advance(by_ms)
        while self.timers.fire_due(self.clock.now_ms()):
            continue

    async def load(self, log: MemoryLog | None = None) -> None:
        self.coordinator.lead(0, log or self.log)
        await trio.testing.wait_all_tasks_blocked()

    async def join(self, member_id: str = "", **fields: Any) -> JoinReply:
        values: dict[str, Any] = {
            "group_id": "g",
            "protocol_type": "consumer",
            "protocols": (("range", b"\0\0\0\0\0\0\xff\xff\xff\xff"),),
            "session_timeout_ms": 10_000,
            "rebalance_timeout_ms": 60_000,
            "client_id": "c",
            **fields,
        }
        return await self.coordinator.join(JoinCall(member_id=member_id, **values))

    async def sync(self, reply: JoinReply) -> SyncReply:
        given = {one.member_id: b"all" for one in reply.members}
        return await self.coordinator.sync(
            SyncCall("g", reply.generation, reply.member_id, assignments=given)
        )

    async def stable(self) -> str:
        """A stable group of one member; its id."""
        async with trio.open_nursery() as nursery:
            joined: list[JoinReply] = []

            async def join() -> None:
                joined.append(await self.join())

            nursery.start_soon(join)
            await trio.testing.wait_all_tasks_blocked()
            self.advance(0)
        await self.sync(joined[0])
        return joined[0].member_id

    async def commit(self, offset: int, **fields: Any) -> ErrorCode:
        offsets = {ORDERS: CommittedOffset(offset, -1, "", START_MS)}
        return (await self.coordinator.commit(CommitCall("g", offsets, **fields)))[ORDERS]

    def committed(self) -> int:
        return self.coordinator.fetch(FetchCall("g", [ORDERS]))[ORDERS].offset


@pytest.fixture
async def bench(nursery: trio.Nursery) -> AsyncIterator[Bench]:
    made = Bench()
    await nursery.start(made.coordinator.run)
    await made.load()
    yield made


def refusal(call: Any, *args: Any, **fields: Any) -> ErrorCode:
    with pytest.raises(ApiError) as raised:
        call(*args, **fields)
    return raised.value.code


async def test_join_sync_heartbeat_commit_fetch_leave(bench: Bench) -> None:
    member = await bench.stable()
    assert bench.coordinator.heartbeat(HeartbeatCall("g", 1, member)) is ErrorCode.NONE
    assert await bench.commit(42, generation=1, member_id=member) is ErrorCode.NONE
    assert bench.committed() == 42
    assert bench.coordinator.leave("g", [LeavingMember(member)]) == [ErrorCode.NONE]
    description = bench.coordinator.describe("g")
    assert description is not None
    assert description.state == "Empty"
    assert [read_key(record.key) for record in bench.log.records()] == [
        GroupKey("g"),
        OffsetKey("g", ORDERS),
        GroupKey("g"),
    ]


async def test_a_commit_that_is_committed_at_once_does_not_suspend(bench: Bench) -> None:
    coroutine = bench.commit(1)
    with pytest.raises(StopIteration):
        coroutine.send(None)


async def test_groups_are_there_again_after_a_restart(bench: Bench, nursery: trio.Nursery) -> None:
    member = await bench.stable()
    await bench.commit(42, generation=1, member_id=member)
    again = Bench()
    await nursery.start(again.coordinator.run)
    await again.load(bench.log)
    assert again.committed() == 42
    assert again.coordinator.heartbeat(HeartbeatCall("g", 1, member)) is ErrorCode.NONE
    again.advance(10_000)
    assert again.coordinator.heartbeat(HeartbeatCall("g", 1, member)) is ErrorCode.UNKNOWN_MEMBER_ID


async def test_before_it_runs_the_coordinator_is_not_available() -> None:
    made = Bench()
    await made.load()
    assert refusal(made.coordinator.describe, "g") is ErrorCode.COORDINATOR_NOT_AVAILABLE
    assert refusal(made.coordinator.list_groups) is ErrorCode.COORDINATOR_NOT_AVAILABLE


async def test_leadership_that_began_before_the_start_is_loaded_then(nursery: trio.Nursery) -> None:
    made = Bench()
    made.coordinator.lead(0, made.log)
    await nursery.start(made.coordinator.run)
    await trio.testing.wait_all_tasks_blocked()
    assert made.committed() == -1


async def test_without_leadership_it_is_not_the_coordinator(nursery: trio.Nursery) -> None:
    made = Bench()
    await nursery.start(made.coordinator.run)
    assert refusal(made.coordinator.describe, "g") is ErrorCode.NOT_COORDINATOR
    assert refusal(made.coordinator.leave, "", []) is ErrorCode.INVALID_GROUP_ID


async def test_what_is_answered_while_groups_are_loaded(nursery: trio.Nursery) -> None:
    """Old clients do not expect COORDINATOR_LOAD_IN_PROGRESS of heartbeats and syncs."""
    made = Bench()
    await nursery.start(made.coordinator.run)
    made.coordinator.lead(0, made.log)
    coordinator = made.coordinator
    assert coordinator.heartbeat(HeartbeatCall("g", 1, "m")) is ErrorCode.NONE
    assert (await coordinator.sync(SyncCall("g", 1, "m"))).error is ErrorCode.REBALANCE_IN_PROGRESS
    loading = ErrorCode.COORDINATOR_LOAD_IN_PROGRESS
    assert refusal(coordinator.fetch, FetchCall("g")) is loading
    assert coordinator.list_groups() == (ErrorCode.COORDINATOR_LOAD_IN_PROGRESS, [])
    await trio.testing.wait_all_tasks_blocked()
    assert coordinator.list_groups() == (ErrorCode.NONE, [])


async def test_whoever_waits_for_the_groups_waits_for_all_that_can_be_loaded(nursery: trio.Nursery) -> None:
    made = Bench()
    await nursery.start(made.coordinator.run)
    made.log.append(OTHER_BATCH, all_replicas=False)
    broken = MemoryLog()
    broken.append(OTHER_BATCH, all_replicas=False)
    broken.broken = DiskFull("no")
    made.coordinator.lead(0, made.log)
    made.coordinator.lead(1, broken)
    await made.coordinator.loaded()
    assert made.committed() == -1
    assert made.coordinator.list_groups()[0] is ErrorCode.COORDINATOR_LOAD_IN_PROGRESS


async def test_a_commit_waits_for_the_high_watermark(bench: Bench, nursery: trio.Nursery) -> None:
    bench.log.follows = False
    codes: list[ErrorCode] = []

    async def commit() -> None:
        codes.append(await bench.commit(5))

    nursery.start_soon(commit)
    await trio.testing.wait_all_tasks_blocked()
    assert (codes, bench.committed()) == ([], -1)
    unstable = bench.coordinator.fetch(FetchCall("g", [ORDERS], require_stable=True))[ORDERS]
    assert unstable.error is ErrorCode.UNSTABLE_OFFSET_COMMIT
    bench.log.commit_all()
    await trio.testing.wait_all_tasks_blocked()
    assert (codes, bench.committed()) == ([ErrorCode.NONE], 5)


class Commits:
    """Commits that wait, and their answers by offset."""

    def __init__(self, bench: Bench, nursery: trio.Nursery) -> None:
        self.answers: dict[int, ErrorCode] = {}
        self._bench = bench
        self._nursery = nursery

    async def add(self, offset: int) -> None:
        self._nursery.start_soon(self._commit, offset)
        await trio.testing.wait_all_tasks_blocked()

    async def _commit(self, offset: int) -> None:
        self.answers[offset] = await self._bench.commit(offset)


@pytest.fixture
def commits(bench: Bench, nursery: trio.Nursery) -> Commits:
    bench.log.follows = False
    return Commits(bench, nursery)


async def test_each_commit_waits_for_its_own_records(bench: Bench, commits: Commits) -> None:
    ends = []
    for offset in (1, 2, 3):
        await commits.add(offset)
        ends.append(bench.log.log_end_offset)
    assert commits.answers == {}
    bench.log.commit_up_to(ends[1])
    await trio.testing.wait_all_tasks_blocked()
    assert (commits.answers, bench.committed()) == ({1: ErrorCode.NONE, 2: ErrorCode.NONE}, 2)
    bench.log.commit_all()
    await trio.testing.wait_all_tasks_blocked()
    assert (commits.answers[3], bench.committed()) == (ErrorCode.NONE, 3)
    await commits.add(4)
    bench.log.commit_all()
    await trio.testing.wait_all_tasks_blocked()
    assert (commits.answers[4], bench.committed()) == (ErrorCode.NONE, 4)


async def test_all_commits_that_wait_are_sent_away_when_leadership_is_lost(
    bench: Bench, commits: Commits
) -> None:
    await commits.add(1)
    await commits.add(2)
    bench.log.lose_leadership()
    bench.coordinator.resign(0, 1)
    await trio.testing.wait_all_tasks_blocked()
    assert commits.answers == {1: ErrorCode.NOT_COORDINATOR, 2: ErrorCode.NOT_COORDINATOR}


async def test_a_commit_that_is_refused_takes_nothing_from_one_that_waits(
    bench: Bench, commits: Commits
) -> None:
    await commits.add(1)
    bench.log.refusal = ErrorCode.NOT_ENOUGH_REPLICAS
    await commits.add(2)
    bench.log.commit_all()
    await trio.testing.wait_all_tasks_blocked()
    assert commits.answers == {1: ErrorCode.NONE, 2: ErrorCode.COORDINATOR_NOT_AVAILABLE}
    assert bench.committed() == 1


async def test_a_bug_in_what_follows_a_commit_does_not_hold_up_the_next(
    bench: Bench, commits: Commits, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    apply, applied = GroupOffsets.apply, []

    def break_once(self: GroupOffsets, *args: Any) -> None:
        applied.append(self)
        assert len(applied) > 1, "a bug"
        apply(self, *args)

    monkeypatch.setattr(GroupOffsets, "apply", break_once)
    await commits.add(1)
    await commits.add(2)
    bench.log.commit_all()
    await trio.testing.wait_all_tasks_blocked()
    assert (commits.answers, bench.committed()) == ({2: ErrorCode.NONE}, 2)
    assert "a bug" in caplog.text


async def test_a_commit_that_is_never_replicated_times_out(
    bench: Bench, autojump_clock: trio.testing.MockClock
) -> None:
    bench.log.follows = False
    started_s = trio.current_time()
    timed_out: list[float] = []

    async def commit(after_s: float) -> None:
        await trio.sleep(after_s)
        assert await bench.commit(5) is ErrorCode.REQUEST_TIMED_OUT
        timed_out.append(trio.current_time() - started_s)

    async with trio.open_nursery() as nursery:
        for after_s in (0, 2, 2):
            nursery.start_soon(commit, after_s)
    assert timed_out == pytest.approx([5, 7, 7])
    assert bench.committed() == -1


async def test_commits_whose_time_was_over_while_others_were_answered_time_out_too(
    bench: Bench, commits: Commits, mock_clock: trio.testing.MockClock
) -> None:
    for offset in (1, 2, 3):
        await commits.add(offset)
    mock_clock.jump(60)
    await trio.testing.wait_all_tasks_blocked()
    assert commits.answers == dict.fromkeys((1, 2, 3), ErrorCode.REQUEST_TIMED_OUT)
    assert bench.committed() == -1


@pytest.mark.parametrize(
    ("refused", "code"),
    [
        (ErrorCode.NOT_ENOUGH_REPLICAS, ErrorCode.COORDINATOR_NOT_AVAILABLE),
        (ErrorCode.NOT_LEADER_OR_FOLLOWER, ErrorCode.NOT_COORDINATOR),
        (ErrorCode.KAFKA_STORAGE_ERROR, ErrorCode.NOT_COORDINATOR),
        (ErrorCode.MESSAGE_TOO_LARGE, ErrorCode.INVALID_COMMIT_OFFSET_SIZE),
    ],
)
async def test_what_a_refused_append_means_to_a_commit(
    bench: Bench, refused: ErrorCode, code: ErrorCode
) -> None:
    bench.log.refusal = refused
    assert await bench.commit(5) is code
    assert bench.committed() == -1


async def test_losing_leadership_sends_waiting_members_away(bench: Bench, nursery: trio.Nursery) -> None:
    member = await bench.stable()
    replies: list[JoinReply] = []

    async def join() -> None:
        replies.append(await bench.join())

    nursery.start_soon(join)
    await trio.testing.wait_all_tasks_blocked()
    assert bench.timers.pending() != {"offset expiry": 1}
    bench.log.lose_leadership()
    bench.coordinator.resign(0, leader_epoch=0)
    await trio.testing.wait_all_tasks_blocked()
    assert [reply.error for reply in replies] == [ErrorCode.NOT_COORDINATOR]
    assert refusal(bench.coordinator.heartbeat, HeartbeatCall("g", 1, member)) is ErrorCode.NOT_COORDINATOR
    assert bench.timers.pending() == {"offset expiry": 1}


async def test_a_commit_on_its_way_is_told_of_the_new_coordinator(
    bench: Bench, nursery: trio.Nursery
) -> None:
    bench.log.follows = False
    codes: list[ErrorCode] = []

    async def commit() -> None:
        codes.append(await bench.commit(5))

    nursery.start_soon(commit)
    await trio.testing.wait_all_tasks_blocked()
    bench.coordinator.resign(0, leader_epoch=0)
    bench.log.lose_leadership()
    await trio.testing.wait_all_tasks_blocked()
    assert codes == [ErrorCode.NOT_COORDINATOR]


async def test_news_of_an_older_epoch_does_not_count(bench: Bench) -> None:
    await bench.load(newer := MemoryLog(leader_epoch=3))
    assert await bench.commit(1) is ErrorCode.NONE
    assert len(newer.records()) == 1
    bench.coordinator.resign(0, leader_epoch=2)
    assert bench.committed() == 1
    bench.coordinator.resign(0, leader_epoch=3)
    assert refusal(bench.coordinator.describe, "g") is ErrorCode.NOT_COORDINATOR


async def test_leadership_that_ends_while_loading_leaves_nothing(nursery: trio.Nursery) -> None:
    made = Bench()
    await nursery.start(made.coordinator.run)
    made.coordinator.lead(0, made.log)
    made.coordinator.resign(0, leader_epoch=0)
    await trio.testing.wait_all_tasks_blocked()
    assert refusal(made.coordinator.describe, "g") is ErrorCode.NOT_COORDINATOR


async def test_a_client_that_goes_while_it_waits_harms_nobody(bench: Bench) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(bench.join)
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    bench.advance(0)
    description = bench.coordinator.describe("g")
    assert description is not None
    assert description.state == "CompletingRebalance"
    bench.advance(60_000)
    bench.advance(60_000)
    description = bench.coordinator.describe("g")
    assert description is not None
    assert description.state == "Empty"


async def test_several_partitions_are_loaded(bench: Bench, nursery: trio.Nursery) -> None:
    """One after the other: others wait for one slice, not for as many as there are partitions."""
    offsets = {TopicPartition("t", n): CommittedOffset(n, -1, "", START_MS) for n in range(1000)}
    await bench.coordinator.commit(CommitCall("g", offsets))
    again = Bench()
    await nursery.start(again.coordinator.run)
    again.coordinator.lead(0, bench.log)
    again.coordinator.lead(1, bench.log)
    while again.coordinator.list_groups()[0] is not ErrorCode.NONE:
        await trio.lowlevel.checkpoint()
    assert len(again.coordinator.fetch(FetchCall("g"))) == 1000


async def test_expired_offsets_go_with_their_group(bench: Bench) -> None:
    await bench.commit(1)
    bench.advance(7 * 24 * 3600 * 1000)
    await trio.testing.wait_all_tasks_blocked()
    assert bench.coordinator.describe("g") is None
    assert bench.log.records()[-1].value is None


async def test_offsets_of_deleted_topics_go(bench: Bench) -> None:
    await bench.commit(1)
    bench.coordinator.on_partitions_deleted([ORDERS])
    await trio.testing.wait_all_tasks_blocked()
    assert bench.committed() == -1
    assert [record.value is None for record in bench.log.records()] == [False, True]


async def test_a_log_that_cannot_be_read_is_not_taken_for_an_empty_one(nursery: trio.Nursery) -> None:
    made = Bench()
    await nursery.start(made.coordinator.run)
    made.log.append(OTHER_BATCH, all_replicas=False)
    made.log.broken = DiskFull("no")
    await made.load()
    assert made.coordinator.list_groups()[0] is ErrorCode.COORDINATOR_LOAD_IN_PROGRESS


async def test_a_bug_in_one_group_leaves_the_broker_alone(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object) -> int:
        raise RuntimeError("a bug")

    await bench.commit(1)
    monkeypatch.setattr(GroupShard, "forget_partitions", fail)
    bench.coordinator.on_partitions_deleted([ORDERS])
    await trio.testing.wait_all_tasks_blocked()
    assert "a bug" in caplog.text
    assert bench.committed() == 1


async def test_a_damaged_batch_does_not_take_the_others_along(bench: Bench, nursery: trio.Nursery) -> None:
    bench.log.append(OTHER_BATCH[:-2] + b"\xff\xff", all_replicas=False)
    await bench.commit(7)
    again = Bench()
    await nursery.start(again.coordinator.run)
    await again.load(bench.log)
    assert again.committed() == 7


async def test_a_stop_sends_waiting_members_away_at_once(bench: Bench, nursery: trio.Nursery) -> None:
    await bench.stable()
    replies: list[JoinReply] = []

    async def join() -> None:
        replies.append(await bench.join())

    nursery.start_soon(join)
    await trio.testing.wait_all_tasks_blocked()
    bench.coordinator.stop()
    await trio.testing.wait_all_tasks_blocked()
    assert [reply.error for reply in replies] == [ErrorCode.NOT_COORDINATOR]
    assert refusal(bench.coordinator.describe, "g") is ErrorCode.COORDINATOR_NOT_AVAILABLE
    await bench.load(MemoryLog(leader_epoch=1))
    assert refusal(bench.coordinator.list_groups) is ErrorCode.COORDINATOR_NOT_AVAILABLE
