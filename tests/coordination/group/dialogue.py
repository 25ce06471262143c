"""Talking to one shard of groups without a broker: requests in; answers, records and timers out.

Time stands still until the test moves it; then timers fire in order. Records are committed at once, unless
the test holds them back or makes them fail.
"""

import heapq
import itertools
from collections.abc import Sequence
from typing import Any

from pybroker.coordination.effects import (
    Append,
    CoordinatorRecord,
    Effects,
    Outcome,
    Reply,
    StartTimer,
    StopTimer,
    TimerKey,
)
from pybroker.coordination.group.calls import (
    CommitCall,
    HeartbeatCall,
    JoinCall,
    JoinReply,
    LeavingMember,
    SyncCall,
    SyncReply,
)
from pybroker.coordination.group.group import ClassicGroup
from pybroker.coordination.group.offsets import CommittedOffset
from pybroker.coordination.group.replay import GroupReplay
from pybroker.coordination.group.rules import GroupRules
from pybroker.coordination.group.shard import GroupShard
from pybroker.metadata.image import ClusterImage
from pybroker.model.errors import ErrorCode
from pybroker.model.ids import TopicPartition
from pybroker.protocol.codec import encode
from pybroker.protocol.messages import ConsumerProtocolSubscription
from pybroker.records.builder import RecordBatchBuilder
from pybroker.records.header import Record, read_batch_header

START_MS = 1_700_000_000_000
GROUP = "g"
ORDERS = TopicPartition("orders", 0)


def subscription(*topics: str) -> bytes:
    """What a consumer joins with, version 0."""
    return b"\0\0" + encode(ConsumerProtocolSubscription(topics=list(topics)), 0)


RANGE = (("range", subscription("orders")),)


class Dialogue:
    """A shard and everything around it.

    Attributes:
        answers: by token, what a request was answered; a token that is missing still waits.
        log: every record that was committed, in order.
        held: appends that wait because ``holds`` is set.
        error: what appends fail with while it is set.
        image: the cluster; the test changes it.
    """

    def __init__(self, **rules: int) -> None:
        self.rules = GroupRules(**{"initial_rebalance_delay_ms": 3000, **rules})
        self.ids = itertools.count(1)
        self.image = ClusterImage()
        self.shard = self.new_shard()
        self.now_ms = START_MS
        self.answers: dict[int, Any] = {}
        self.log: list[CoordinatorRecord] = []
        self.timers: dict[TimerKey, int] = {}
        self.holds = False
        self.held: list[Append] = []
        self.error = ErrorCode.NONE
        self.tokens = itertools.count()
        self._sequence = itertools.count()
        self._heap: list[tuple[int, int, TimerKey]] = []

    @property
    def group(self) -> ClassicGroup:
        group = self.shard.groups[GROUP]
        assert isinstance(group, ClassicGroup)
        return group

    @property
    def state(self) -> str:
        return self.group.state.value

    # -- requests

    def join(self, member_id: str = "", **fields: Any) -> int:
        """Returns the request's token."""
        values: dict[str, Any] = {
            "group_id": GROUP,
            "protocol_type": "consumer",
            "protocols": RANGE,
            "session_timeout_ms": 10_000,
            "rebalance_timeout_ms": 60_000,
            "client_id": "c",
            "client_host": "/10.0.0.1",
        }
        return self._ask(self.shard.join, JoinCall(member_id=member_id, **{**values, **fields}))

    def sync(
        self, member_id: str, generation: int, assignments: dict[str, bytes] | None = None, **fields: Any
    ) -> int:
        call = SyncCall(GROUP, generation, member_id, assignments=assignments or {}, **fields)
        return self._ask(self.shard.sync, call)

    def commit(self, offset: int = 7, generation: int = -1, member_id: str = "", **fields: Any) -> int:
        offsets = fields.pop("offsets", None) or {ORDERS: CommittedOffset(offset, -1, "", self.now_ms)}
        return self._ask(self.shard.commit, CommitCall(GROUP, offsets, generation, member_id, **fields))

    def heartbeat(self, member_id: str, generation: int, instance_id: str | None = None) -> ErrorCode:
        effects = Effects(self.now_ms)
        code = self.shard.heartbeat(HeartbeatCall(GROUP, generation, member_id, instance_id), effects)
        self.carry_out(effects)
        return code

    def leave(self, *members: LeavingMember | str) -> list[ErrorCode]:
        effects = Effects(self.now_ms)
        leaving = [LeavingMember(one) if isinstance(one, str) else one for one in members]
        codes = self.shard.leave(GROUP, leaving, effects)
        self.carry_out(effects)
        return codes

    def expire(self) -> int:
        effects = Effects(self.now_ms)
        count = self.shard.expire(GROUP, effects)
        self.carry_out(effects)
        return count

    def _ask(self, decide: Any, call: Any) -> int:
        token = next(self.tokens)
        effects = Effects(self.now_ms)
        decide(call, token, effects)
        self.carry_out(effects)
        return token

    # -- whole scenes

    def stable(self, *members: dict[str, Any]) -> list[str]:
        """A stable group of one generation; member ids in order, the leader first."""
        tokens = [self.join(**member) for member in members or ({},)]
        self.advance(self.rules.initial_rebalance_delay_ms)
        while any(token not in self.answers for token in tokens):
            self.advance(self.rules.initial_rebalance_delay_ms)
        joined: list[JoinReply] = [self.answers[token] for token in tokens]
        for reply in joined:
            given = {one.member_id: b"for " + one.member_id.encode() for one in reply.members}
            self.sync(reply.member_id, reply.generation, given)
        assert self.state == "Stable"
        return [reply.member_id for reply in joined]

    def joined(self, token: int) -> JoinReply:
        answer = self.answers[token]
        assert isinstance(answer, JoinReply)
        return answer

    def synced(self, token: int) -> SyncReply:
        answer = self.answers[token]
        assert isinstance(answer, SyncReply)
        return answer

    # -- the world outside

    def advance(self, by_ms: int) -> None:
        """Move the clock on; what falls due meanwhile happens at its time."""
        end = self.now_ms + by_ms
        while self._heap and self._heap[0][0] <= end:
            when, _, key = heapq.heappop(self._heap)
            if self.timers.get(key) != when:
                continue
            del self.timers[key]
            self.now_ms = max(self.now_ms, when)
            effects = Effects(self.now_ms)
            self.shard.timer_fired(key, effects)
            self.carry_out(effects)
        self.now_ms = end

    def carry_out(self, effects: Effects) -> None:
        for item in effects.items:
            match item:
                case Reply(token, answer):
                    assert token not in self.answers, "a request is answered once"
                    self.answers[token] = answer
                case StartTimer(key, when_ms, replaces):
                    if key in self.timers and not replaces:
                        continue
                    self.timers[key] = when_ms
                    heapq.heappush(self._heap, (when_ms, next(self._sequence), key))
                case StopTimer(key):
                    self.timers.pop(key, None)
                case Append():
                    self._append(item)

    def _append(self, item: Append) -> None:
        if self.holds:
            self.held.append(item)
            return
        outcome = Outcome(self.error)
        if self.error is ErrorCode.NONE:
            outcome = Outcome(ErrorCode.NONE, len(self.log))
            self.log.extend(item.records)
            if item.appended is not None:
                effects = Effects(self.now_ms)
                item.appended(effects)
                self.carry_out(effects)
        if item.then is not None:
            effects = Effects(self.now_ms)
            item.then.settle(outcome, effects)
            self.carry_out(effects)

    def release(self) -> None:
        """What was held back is committed now (or fails with ``error``)."""
        self.holds = False
        held, self.held = self.held, []
        for item in held:
            self._append(item)

    def move(self) -> None:
        """The coordinator is another broker from now on: it knows only what is in the log."""
        for effects in self.shard.unloaded(self.now_ms):
            self.carry_out(effects)
        assert not self.timers, "nothing is left of the old one"
        self.shard = self.new_shard()
        for effects in self.shard.loaded(read_log(self.shard, self.log), self.now_ms):
            self.carry_out(effects)

    def new_shard(self) -> GroupShard:
        """A shard that knows nothing yet."""
        return GroupShard(self.rules, lambda: f"id{next(self.ids)}", lambda: self.image)

    def replayed(self) -> GroupShard:
        """A new shard that has read the log."""
        return replay(self.log, self.rules, self.now_ms)


def replay(records: Sequence[CoordinatorRecord], rules: GroupRules, now_ms: int) -> GroupShard:
    shard = GroupShard(rules, lambda: "unused")
    for _ in shard.loaded(read_log(shard, records), now_ms):
        continue
    return shard


def read_log(shard: GroupShard, records: Sequence[CoordinatorRecord]) -> GroupReplay:
    reading = shard.start_replay()
    builder = RecordBatchBuilder()
    builder.append(b"", b"", 0)
    header = read_batch_header(builder.build())
    for offset, (key, value) in enumerate(records):
        reading.apply(header, Record(offset, 0, key, value), offset)
    return reading
