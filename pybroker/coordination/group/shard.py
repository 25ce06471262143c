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
    FetchCall,
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
from pybroker.coordination.group.consumer import offsets as consumer_offsets
from pybroker.coordination.group.consumer.calls import ConsumerGroupDescription, ConsumerHeartbeatCall
from pybroker.coordination.group.consumer.coordinator import ConsumerGroups, Group
from pybroker.coordination.group.consumer.draft import Setting
from pybroker.coordination.group.consumer.group import CONSUMER, ConsumerGroup
from pybroker.coordination.group.consumer.migration import tombstones
from pybroker.coordination.group.consumer.regexes import TopicRegexes
from pybroker.coordination.group.group import CLASSIC, ClassicGroup
from pybroker.coordination.group.joining import Joining
from pybroker.coordination.group.leaving import leave
from pybroker.coordination.group.rebalance import (
    on_join_timeout,
    on_session_timeout,
    on_sync_timeout,
    prepare,
    prepare_if_possible,
)
from pybroker.coordination.group.records import make_decoders
from pybroker.coordination.group.replay import GroupReplay, steps
from pybroker.coordination.group.rules import GroupRules
from pybroker.coordination.group.states import DEAD
from pybroker.coordination.group.syncing import heartbeat, sync
from pybroker.metadata.image import ClusterImage
from pybroker.model.errors import ApiError, ErrorCode
from pybroker.model.ids import ProducerId, TopicPartition

STEPS = 32
"""Groups, or offsets, that are gone through between two looks at the clock."""


class GroupShard:
    """The groups of one partition. One writer: the trio thread, through this class.

    Args:
        unique_text: a new UUID as text, for member ids.
        image: the cluster as it is now.
        regexes: shared by all shards.
    """

    def __init__(
        self,
        rules: GroupRules,
        unique_text: Callable[[], str],
        image: Callable[[], ClusterImage] = ClusterImage,
        regexes: TopicRegexes | None = None,
    ) -> None:
        self.groups: dict[str, Group] = {}
        self._in_transactions: dict[ProducerId, set[str]] = {}
        """By producer, the groups whose offsets are part of its open transaction."""
        self._rules = rules
        self._joining = Joining(rules, unique_text)
        self._image = image
        setting = Setting(rules, image, regexes or TopicRegexes(), unique_text)
        self._consumers = ConsumerGroups(self.groups, setting)

    # -- members -------------------------------------------------------------------------------------

    def join(self, call: JoinCall, token: Token, effects: Effects) -> None:
        """Answers with a :class:`JoinReply`, at once or when the rebalance is complete."""
        rules = self._rules
        if not rules.min_session_timeout_ms <= call.session_timeout_ms <= rules.max_session_timeout_ms:
            effects.reply(token, JoinReply(call.member_id, ErrorCode.INVALID_SESSION_TIMEOUT))
            return
        group = self.groups.get(call.group_id)
        if isinstance(group, ConsumerGroup) and group.members:
            self._consumers.join(group, call, token, effects)
            return
        if group is None or isinstance(group, ConsumerGroup):
            if call.member_id != UNKNOWN_MEMBER:
                effects.reply(token, JoinReply(call.member_id, ErrorCode.UNKNOWN_MEMBER_ID))
                return
            group = self._begin_classic(call.group_id, group, effects)
        self._joining.join(group, call, token, effects)

    def sync(self, call: SyncCall, token: Token, effects: Effects) -> None:
        """Answers with a :class:`SyncReply`, at once or when the assignment is stored."""
        group = self.groups.get(call.group_id)
        if group is None:
            effects.reply(token, SyncReply(ErrorCode.UNKNOWN_MEMBER_ID))
        elif isinstance(group, ConsumerGroup):
            self._consumers.sync(group, call, token, effects)
        else:
            sync(group, call, token, self._rules, effects)

    def heartbeat(self, call: HeartbeatCall, effects: Effects) -> ErrorCode:
        group = self.groups.get(call.group_id)
        if group is None:
            return ErrorCode.UNKNOWN_MEMBER_ID
        if isinstance(group, ConsumerGroup):
            return self._consumers.classic_heartbeat(group, call, effects)
        return heartbeat(group, call, effects)

    def consumer_heartbeat(self, call: ConsumerHeartbeatCall, token: Token, effects: Effects) -> None:
        """Answers with a :class:`ConsumerHeartbeatReply`, when what it led to is committed."""
        self._consumers.heartbeat(call, token, effects)

    def leave(self, group_id: str, leaving: Sequence[LeavingMember], effects: Effects) -> list[ErrorCode]:
        """One code for each of ``leaving``."""
        group = self.groups.get(group_id)
        if group is None:
            return [ErrorCode.UNKNOWN_MEMBER_ID] * len(leaving)
        if isinstance(group, ConsumerGroup):
            return self._consumers.leave(group, leaving, effects)
        return [leave(group, one, self._rules, effects) for one in leaving]

    def rebalance(self, group_id: str, effects: Effects) -> bool:
        """Begin a rebalance that nothing calls for; False when there is no group with members."""
        group = self.groups.get(group_id)
        if group is None or not group.members:
            return False
        if isinstance(group, ConsumerGroup):
            self._consumers.rebalance(group, effects)
        else:
            prepare_if_possible(group, self._rules, effects, "it was asked for")
        return True

    # -- offsets -------------------------------------------------------------------------------------

    def commit(self, call: CommitCall, token: Token, effects: Effects) -> None:
        """Answers with a code for each partition, when the offsets are committed to the log."""
        group = self.groups.get(call.group_id)
        if call.writer is not None:
            group = group or self._create(call.group_id, effects)
            self._in_transactions.setdefault(call.writer.producer_id, set()).add(call.group_id)
            if isinstance(group, ClassicGroup):
                transactional.commit(group, call, call.writer, token, self._rules, effects)
                return
        if group is None:
            if call.generation >= 0:
                effects.reply(token, dict.fromkeys(call.offsets, ErrorCode.ILLEGAL_GENERATION))
                return
            group = self._create(call.group_id, effects)
        if isinstance(group, ClassicGroup):
            commits.commit(group, call, token, self._rules, effects)
            return
        refused = consumer_offsets.refuse_commit(group, call, self._image())
        if refused is not ErrorCode.NONE:
            effects.reply(token, dict.fromkeys(call.offsets, refused))
        elif call.writer is not None:
            transactional.stage(group.offsets, call, call.writer, token, self._rules, effects)
        else:
            commits.store(group.offsets, call, token, self._rules, effects)

    def complete_transaction(self, producer_id: ProducerId, *, is_commit: bool) -> None:
        """The marker that ends a producer's transaction is in the log of this partition."""
        for group_id in self._in_transactions.pop(producer_id, ()):
            group = self.groups.get(group_id)
            if group is not None:
                group.offsets.complete_transaction(producer_id, commit=is_commit)

    def fetch(self, call: FetchCall) -> dict[TopicPartition, FetchedOffset]:
        """Committed offsets.

        Raises:
            ApiError: UNKNOWN_MEMBER_ID, STALE_MEMBER_EPOCH or ILLEGAL_GENERATION.
        """
        group = self.groups.get(call.group_id)
        if isinstance(group, ConsumerGroup):
            refused = consumer_offsets.refuse_fetch(group, call.asking)
            if refused is not ErrorCode.NONE:
                raise ApiError(refused)
        offsets = None if group is None else group.offsets
        return commits.fetch(offsets, call)

    # -- administration ------------------------------------------------------------------------------

    def describe(self, group_id: str) -> GroupDescription | None:
        """None if there is no such classic group."""
        group = self.groups.get(group_id)
        return group.describe() if isinstance(group, ClassicGroup) else None

    def describe_consumer_group(self, group_id: str) -> ConsumerGroupDescription | None:
        """None if there is no such consumer group."""
        group = self.groups.get(group_id)
        return self._consumers.describe(group) if isinstance(group, ConsumerGroup) else None

    def list_groups(self) -> list[GroupListing]:
        return [_listing(group) for group in self.groups.values()]

    def delete_group(self, group_id: str, effects: Effects) -> ErrorCode:
        group = self.groups.get(group_id)
        if group is None:
            return ErrorCode.GROUP_ID_NOT_FOUND
        if isinstance(group, ConsumerGroup):
            error = consumer_offsets.delete_group(group, effects)
        else:
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
        if isinstance(group, ConsumerGroup):
            outcome = ErrorCode.NONE, consumer_offsets.delete_offsets(group, partitions, effects)
        else:
            outcome = commits.delete_offsets(group, partitions, effects)
        self._drop_if_dead(group)
        return outcome

    def expire(self, group_id: str, effects: Effects) -> int:
        """Forget what has expired of one group, and the group itself when nothing is left."""
        group = self.groups.get(group_id)
        if group is None:
            return 0
        if isinstance(group, ConsumerGroup):
            count = consumer_offsets.expire(group, self._rules, effects)
        else:
            count = commits.expire(group, self._rules, effects)
        self._drop_if_dead(group)
        return count

    def forget_partitions(self, group_id: str, partitions: Iterable[TopicPartition], effects: Effects) -> int:
        """The partitions were deleted: so are their offsets."""
        group = self.groups.get(group_id)
        if group is None:
            return 0
        removed = group.offsets.remove(partitions)
        if isinstance(group, ConsumerGroup):
            consumer_offsets.forget(group, removed, effects)
        else:
            commits.forget(group, removed, effects)
        self._drop_if_dead(group)
        return len(removed)

    # -- time ----------------------------------------------------------------------------------------

    def timer_fired(self, key: TimerKey, effects: Effects) -> None:
        group = self.groups.get(key.group_id)
        if group is None:
            return
        if isinstance(group, ConsumerGroup):
            self._consumers.timer_fired(group, key, effects)
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
                if isinstance(group, ConsumerGroup):
                    self._consumers.start_sessions(group, effects)
                    continue
                if len(group.members) > self._rules.max_size:
                    prepare(group, self._rules, effects, "the loaded group is over group.max.size")
                for member in group.members.values():
                    group.renew_session(member, effects)
            yield effects

    def unloaded(self, now_ms: int) -> Iterator[Effects]:
        """Another broker coordinates from now on: whoever waits must go there. In slices; nothing more is
        asked of this shard."""
        groups = tuple(self.groups.values())
        self.groups.clear()
        for some in _slices(groups):
            effects = Effects(now_ms)
            for group in some:
                if isinstance(group, ConsumerGroup):
                    for key in group.timers():
                        effects.stop_timer(key)
                    continue
                for member in group.members.values():
                    moved = JoinReply(member.member_id, ErrorCode.NOT_COORDINATOR)
                    group.answer_join(member, moved, effects)
                    group.answer_sync(member, SyncReply(ErrorCode.NOT_COORDINATOR), effects)
                group.die(effects)
            yield effects

    def _create(self, group_id: str, effects: Effects) -> ClassicGroup:
        group = self.groups[group_id] = ClassicGroup(group_id, effects.now_ms)
        return group

    def _begin_classic(self, group_id: str, former: ConsumerGroup | None, effects: Effects) -> ClassicGroup:
        """A new group; one of the consumer protocol without members leaves it its place and its offsets."""
        group = self._create(group_id, effects)
        if former is not None:
            group.offsets = former.offsets
            effects.append(tombstones(former))
        return group

    def _drop_if_dead(self, group: Group) -> None:
        is_dead = group.is_deleted if isinstance(group, ConsumerGroup) else group.state is DEAD
        if is_dead:
            del self.groups[group.group_id]


def _listing(group: Group) -> GroupListing:
    if isinstance(group, ConsumerGroup):
        return GroupListing(group.group_id, CONSUMER, group.state.value, CONSUMER)
    return GroupListing(group.group_id, group.protocol_type or "", group.state.value, CLASSIC)


def _slices(groups: Iterable[Group]) -> Iterator[Sequence[Group]]:
    remaining = iter(groups)
    while some := tuple(islice(remaining, STEPS)):
        yield some
