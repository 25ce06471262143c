"""All groups that live in one partition of ``__consumer_offsets``: calls in, effects out.

The shell asks it only while this broker leads the partition and its log has been replayed.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice

from pybroker.coordination.effects import Effects, TimerKey, Token
from pybroker.coordination.group import commits, transactional
from pybroker.coordination.group.calls import (
    UNKNOWN_MEMBER,
    CommitCall,
    FetchedOffset,
    GroupDescription,
    GroupListing,
    HeartbeatCall,
    JoinCall,
    JoinReply,
    LeavingMember,
    SyncCall,
    SyncReply,
)
from pybroker.coordination.group.group import CLASSIC, ClassicGroup
from pybroker.coordination.group.joining import Joining
from pybroker.coordination.group.leaving import leave
from pybroker.coordination.group.rebalance import (
    on_join_timeout,
    on_session_timeout,
    on_sync_timeout,
    prepare,
)
from pybroker.coordination.group.records import make_decoders
from pybroker.coordination.group.replay import GroupReplay, steps
from pybroker.coordination.group.rules import GroupRules
from pybroker.coordination.group.states import DEAD
from pybroker.coordination.group.syncing import heartbeat, sync
from pybroker.model.errors import ErrorCode
from pybroker.model.ids import ProducerId, TopicPartition

STEPS = 32
"""Groups, or offsets, that are gone through between two looks at the clock."""


class GroupShard:
    """The groups of one partition. One writer: the trio thread, through this class.

    Args:
        unique_text: a new UUID as text, for member ids.
    """

    def __init__(self, rules: GroupRules, unique_text: Callable[[], str]) -> None:
        self.groups: dict[str, ClassicGroup] = {}
        self._in_transactions: dict[ProducerId, set[str]] = {}
        """By producer, the groups whose offsets are part of its open transaction."""
        self._rules = rules
        self._joining = Joining(rules, unique_text)

    # -- members -------------------------------------------------------------------------------------

    def join(self, call: JoinCall, token: Token, effects: Effects) -> None:
        """Answers with a :class:`JoinReply`, at once or when the rebalance is complete."""
        rules = self._rules
        if not rules.min_session_timeout_ms <= call.session_timeout_ms <= rules.max_session_timeout_ms:
            effects.reply(token, JoinReply(call.member_id, ErrorCode.INVALID_SESSION_TIMEOUT))
            return
        group = self.groups.get(call.group_id)
        if group is None:
            if call.member_id != UNKNOWN_MEMBER:
                effects.reply(token, JoinReply(call.member_id, ErrorCode.UNKNOWN_MEMBER_ID))
                return
            group = self._create(call.group_id, effects)
        self._joining.join(group, call, token, effects)

    def sync(self, call: SyncCall, token: Token, effects: Effects) -> None:
        """Answers with a :class:`SyncReply`, at once or when the assignment is stored."""
        group = self.groups.get(call.group_id)
        if group is None:
            effects.reply(token, SyncReply(ErrorCode.UNKNOWN_MEMBER_ID))
        else:
            sync(group, call, token, self._rules, effects)

    def heartbeat(self, call: HeartbeatCall, effects: Effects) -> ErrorCode:
        group = self.groups.get(call.group_id)
        return ErrorCode.UNKNOWN_MEMBER_ID if group is None else heartbeat(group, call, effects)

    def leave(self, group_id: str, leaving: Sequence[LeavingMember], effects: Effects) -> list[ErrorCode]:
        """One code for each of ``leaving``."""
        group = self.groups.get(group_id)
        if group is None:
            return [ErrorCode.UNKNOWN_MEMBER_ID] * len(leaving)
        return [leave(group, one, self._rules, effects) for one in leaving]

    # -- offsets -------------------------------------------------------------------------------------

    def commit(self, call: CommitCall, token: Token, effects: Effects) -> None:
        """Answers with a code for each partition, when the offsets are committed to the log."""
        group = self.groups.get(call.group_id)
        if call.writer is not None:
            group = group or self._create(call.group_id, effects)
            self._in_transactions.setdefault(call.writer.producer_id, set()).add(call.group_id)
            transactional.commit(group, call, call.writer, token, self._rules, effects)
            return
        if group is None:
            if call.generation >= 0:
                effects.reply(token, dict.fromkeys(call.offsets, ErrorCode.ILLEGAL_GENERATION))
                return
            group = self._create(call.group_id, effects)
        commits.commit(group, call, token, self._rules, effects)

    def complete_transaction(self, producer_id: ProducerId, *, is_commit: bool) -> None:
        """The marker that ends a producer's transaction is in the log of this partition."""
        for group_id in self._in_transactions.pop(producer_id, ()):
            group = self.groups.get(group_id)
            if group is not None:
                group.offsets.complete_transaction(producer_id, commit=is_commit)

    def fetch(
        self, group_id: str, partitions: Iterable[TopicPartition] | None, *, require_stable: bool
    ) -> dict[TopicPartition, FetchedOffset]:
        """Committed offsets; of all partitions when ``partitions`` is None."""
        return commits.fetch(self.groups.get(group_id), partitions, require_stable=require_stable)

    # -- administration ------------------------------------------------------------------------------

    def describe(self, group_id: str) -> GroupDescription | None:
        """None if there is no such group."""
        group = self.groups.get(group_id)
        return None if group is None else group.describe()

    def list_groups(self) -> list[GroupListing]:
        return [
            GroupListing(group.group_id, group.protocol_type or "", group.state.value, CLASSIC)
            for group in self.groups.values()
        ]

    def delete_group(self, group_id: str, effects: Effects) -> ErrorCode:
        group = self.groups.get(group_id)
        if group is None:
            return ErrorCode.GROUP_ID_NOT_FOUND
        error = commits.delete_group(group, effects)
        self._drop_if_dead(group)
        return error

    def delete_offsets(
        self, group_id: str, partitions: Sequence[TopicPartition], effects: Effects
    ) -> tuple[ErrorCode, dict[TopicPartition, ErrorCode]]:
        """An error for the whole group, or one code for each partition."""
        group = self.groups.get(group_id)
        if group is None:
            return ErrorCode.GROUP_ID_NOT_FOUND, {}
        outcome = commits.delete_offsets(group, partitions, effects)
        self._drop_if_dead(group)
        return outcome

    def expire(self, group: ClassicGroup, effects: Effects) -> int:
        """Forget what has expired of one group, and the group itself when nothing is left."""
        if self.groups.get(group.group_id) is not group:
            return 0
        count = commits.expire(group, self._rules, effects)
        self._drop_if_dead(group)
        return count

    def forget_partitions(
        self, group: ClassicGroup, partitions: Iterable[TopicPartition], effects: Effects
    ) -> int:
        """The partitions were deleted: so are their offsets."""
        if self.groups.get(group.group_id) is not group:
            return 0
        removed = group.offsets.remove(partitions)
        commits.forget(group, removed, effects)
        self._drop_if_dead(group)
        return len(removed)

    # -- time ----------------------------------------------------------------------------------------

    def timer_fired(self, key: TimerKey, effects: Effects) -> None:
        group = self.groups.get(key.group_id)
        if group is None:
            return
        match key.purpose:
            case "join":
                on_join_timeout(group, self._rules, effects)
            case "sync":
                on_sync_timeout(group, self._rules, effects)
            case "member":
                on_session_timeout(group, key.member_id, self._rules, effects)

    # -- coming and going ----------------------------------------------------------------------------

    def start_replay(self) -> GroupReplay:
        """Takes the log's records; give it back to :meth:`loaded`."""
        return GroupReplay()

    def loaded(self, replay: GroupReplay, now_ms: int) -> Iterator[Effects]:
        """The log has been read: from now on members must be heard of again. In slices; until the last one
        nothing is asked of this shard."""
        for _ in make_decoders():
            yield Effects(now_ms)
        for groups in steps(replay.finish(now_ms), STEPS):
            effects = Effects(now_ms)
            for group in groups:
                self.groups[group.group_id] = group
                for producer_id in group.offsets.transactional:
                    self._in_transactions.setdefault(producer_id, set()).add(group.group_id)
                if len(group.members) > self._rules.max_size:
                    prepare(group, self._rules, effects, "the loaded group is over group.max.size")
                for member in group.members.values():
                    group.renew_session(member, effects)
            yield effects

    def unloaded(self, now_ms: int) -> Iterator[Effects]:
        """Another broker coordinates from now on: whoever waits must go there. In slices; nothing more is
        asked of this shard."""
        groups, self.groups = self.groups, {}
        for some in _slices(groups.values()):
            effects = Effects(now_ms)
            for group in some:
                for member in group.members.values():
                    moved = JoinReply(member.member_id, ErrorCode.NOT_COORDINATOR)
                    group.answer_join(member, moved, effects)
                    group.answer_sync(member, SyncReply(ErrorCode.NOT_COORDINATOR), effects)
                group.die(effects)
            yield effects

    def _create(self, group_id: str, effects: Effects) -> ClassicGroup:
        group = self.groups[group_id] = ClassicGroup(group_id, effects.now_ms)
        return group

    def _drop_if_dead(self, group: ClassicGroup) -> None:
        if group.state is DEAD:
            del self.groups[group.group_id]


def _slices(groups: Iterable[ClassicGroup]) -> Iterator[Sequence[ClassicGroup]]:
    remaining = iter(groups)
    while some := tuple(islice(remaining, STEPS)):
        yield some
