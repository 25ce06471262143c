"""Talking to one shard of groups without a broker."""

import itertools
from collections.abc import Sequence
from typing import Any

from pybroker.coordination.effects import CoordinatorRecord, Effects
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
from pybroker.coordination.group.rules import GroupRules
from pybroker.coordination.group.shard import GroupShard
from pybroker.metadata.image import ClusterImage
from pybroker.model.errors import ErrorCode
from pybroker.model.ids import TopicPartition
from pybroker.protocol.codec import encode
from pybroker.protocol.messages import ConsumerProtocolSubscription
from tests.coordination.dialogue import ShardDialogue, read_all

GROUP = "g"
ORDERS = TopicPartition("orders", 0)


def subscription(*topics: str) -> bytes:
    """What a consumer joins with, version 0."""
    return b"\0\0" + encode(ConsumerProtocolSubscription(topics=list(topics)), 0)


RANGE = (("range", subscription("orders")),)


class Dialogue(ShardDialogue[GroupShard]):
    """A shard of groups and everything around it.

    Attributes:
        image: the cluster; the test changes it.
    """

    def __init__(self, **rules: int) -> None:
        self.rules = GroupRules(**{"initial_rebalance_delay_ms": 3000, **rules})
        self.ids = itertools.count(1)
        self.image = ClusterImage()
        super().__init__(self.new_shard())

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
        return self.request(self.shard.join, JoinCall(member_id=member_id, **{**values, **fields}))

    def sync(
        self, member_id: str, generation: int, assignments: dict[str, bytes] | None = None, **fields: Any
    ) -> int:
        call = SyncCall(GROUP, generation, member_id, assignments=assignments or {}, **fields)
        return self.request(self.shard.sync, call)

    def commit(self, offset: int = 7, generation: int = -1, member_id: str = "", **fields: Any) -> int:
        offsets = fields.pop("offsets", None) or {ORDERS: CommittedOffset(offset, -1, "", self.now_ms)}
        return self.request(self.shard.commit, CommitCall(GROUP, offsets, generation, member_id, **fields))

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

    def move(self) -> None:
        """The coordinator is another broker from now on: it knows only what is in the log."""
        for effects in self.shard.unloaded(self.now_ms):
            self.carry_out(effects)
        assert not self.timers, "nothing is left of the old one"
        self.shard = self.new_shard()
        for effects in self.shard.loaded(read_all(self.shard.start_replay(), self.log), self.now_ms):
            self.carry_out(effects)

    def new_shard(self) -> GroupShard:
        """A shard that knows nothing yet."""
        return GroupShard(self.rules, lambda: f"id{next(self.ids)}", lambda: self.image)

    def replayed(self) -> GroupShard:
        """A new shard that has read the log."""
        return replay(self.log, self.rules, self.now_ms)


def replay(records: Sequence[CoordinatorRecord], rules: GroupRules, now_ms: int) -> GroupShard:
    shard = GroupShard(rules, lambda: "unused")
    for _ in shard.loaded(read_all(shard.start_replay(), records), now_ms):
        continue
    return shard
