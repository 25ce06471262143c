"""The state of one classic group: who is in it, in which generation, and who waits for what.

Nothing here decides; the decisions are in ``joining``, ``rebalance``, ``syncing``, ``leaving`` and
``commits``, which are the only writers, on the trio thread.
"""

from collections import Counter
from collections.abc import Iterable

from pybroker.coordination.effects import Effects, TimerKey, Token
from pybroker.coordination.group.calls import (
    DescribedMember,
    GroupDescription,
    JoinedMember,
    JoinReply,
    Protocols,
    SyncReply,
)
from pybroker.coordination.group.member import Member
from pybroker.coordination.group.offsets import GroupOffsets
from pybroker.coordination.group.scala_order import scala_order
from pybroker.coordination.group.states import DEAD, EMPTY, PREVIOUS_STATES, STABLE, GroupState
from pybroker.coordination.group.subscriptions import CONSUMER_PROTOCOL_TYPE, subscribed_topics
from pybroker.model.errors import ErrorCode

CLASSIC = "classic"
"""The type of these groups, as ListGroups names it."""


class ClassicGroup:
    """A group of the classic protocol.

    Attributes:
        state_since_ms: when it entered its state, in broker time; None if its record did not say.
        members: by member id, in the order in which they came.
        static_members: member id by group.instance.id.
        pending_members: ids given out (KIP-394) with which nobody has joined yet.
        pending_syncs: members that have not sent SyncGroup in this generation.
        awaiting_join_count: how many members wait in JoinGroup.
        subscribed_topics: what a consumer group reads; None when that is not known.
        new_member_added: somebody came during the initial delay, which may be extended for it.
        initial_delay: while the first rebalance is being delayed: (the current delay, what may be added).
    """

    def __init__(
        self,
        group_id: str,
        now_ms: int,
        state: GroupState = EMPTY,
        offsets: GroupOffsets | None = None,
    ) -> None:
        self.group_id = group_id
        self.state = state
        self.state_since_ms: int | None = now_ms
        self.protocol_type: str | None = None
        self.protocol_name: str | None = None
        self.generation = 0
        self.leader_id: str | None = None
        self.members: dict[str, Member] = {}
        self.static_members: dict[str, str] = {}
        self.pending_members: set[str] = set()
        self.pending_syncs: set[str] = set()
        self.awaiting_join_count = 0
        self.offsets = GroupOffsets() if offsets is None else offsets
        self.subscribed_topics: frozenset[str] | None = None
        self.new_member_added = False
        self.initial_delay: tuple[int, int] | None = None
        self._supported: Counter[str] = Counter()

    # -- looking -------------------------------------------------------------------------------------

    @property
    def is_consumer_group(self) -> bool:
        return self.protocol_type == CONSUMER_PROTOCOL_TYPE

    @property
    def have_all_joined(self) -> bool:
        return len(self.members) == self.awaiting_join_count and not self.pending_members

    @property
    def rebalance_timeout_ms(self) -> int:
        """The longest that any member asks for; 0 without members."""
        return max((member.rebalance_timeout_ms for member in self.members.values()), default=0)

    @property
    def join_timer(self) -> TimerKey:
        return TimerKey("rebalance", "join", self.group_id)

    @property
    def sync_timer(self) -> TimerKey:
        return TimerKey("rebalance", "sync", self.group_id)

    def session_timer(self, member_id: str) -> TimerKey:
        return TimerKey("session", "member", self.group_id, member_id)

    def is_subscribed_to(self, topic: str) -> bool:
        """Whether a member may be reading the topic; when in doubt, yes."""
        return self.subscribed_topics is None or topic in self.subscribed_topics

    def refuse_member(self, member_id: str, instance_id: str | None) -> ErrorCode:
        """Why a request cannot be this member's: unknown, or fenced by a newer one of the same instance id
        (KIP-345). NONE lets it pass."""
        if instance_id is not None:
            current = self.static_members.get(instance_id)
            if current is None:
                return ErrorCode.UNKNOWN_MEMBER_ID
            if current != member_id:
                return ErrorCode.FENCED_INSTANCE_ID
        return ErrorCode.NONE if member_id in self.members else ErrorCode.UNKNOWN_MEMBER_ID

    def supports(self, protocol_type: str, protocols: Protocols) -> bool:
        """Whether somebody with these protocols can be a member: they must have one in common with all."""
        if self.state is EMPTY:
            return bool(protocol_type and protocols)
        return self.protocol_type == protocol_type and any(
            self._supported[name] == len(self.members) for name, _ in protocols
        )

    def select_protocol(self) -> str:
        """The protocol that all support and most prefer. There must be members."""
        candidates = {name for name, count in self._supported.items() if count == len(self.members)}
        votes = Counter(member.vote(candidates) for member in self.members.values())
        return max(scala_order(votes), key=votes.__getitem__)

    def joined_members(self) -> tuple[JoinedMember, ...]:
        """What the leader is told."""
        assert self.protocol_name is not None
        return tuple(member.joined(self.protocol_name) for member in self.members.values())

    def join_reply(self, member_id: str, *, skip_assignment: bool = False) -> JoinReply:
        """What a member is told of the current generation."""
        return JoinReply(
            member_id=member_id,
            generation=self.generation,
            protocol_type=self.protocol_type,
            protocol_name=self.protocol_name,
            leader=self.leader_id or "",
            members=self.joined_members() if member_id == self.leader_id else (),
            skip_assignment=skip_assignment,
        )

    def describe(self) -> GroupDescription:
        is_stable = self.state is STABLE
        protocol = self.protocol_name if is_stable else None
        return GroupDescription(
            state=self.state.value,
            protocol_type=self.protocol_type or "",
            protocol=protocol or "",
            members=tuple(
                DescribedMember(
                    member.member_id,
                    member.instance_id,
                    member.client_id,
                    member.client_host,
                    b"" if protocol is None else member.metadata(protocol),
                    member.assignment if is_stable else b"",
                )
                for member in self.members.values()
            ),
        )

    # -- members -------------------------------------------------------------------------------------

    def add(self, member: Member, token: Token | None = None) -> None:
        """Take in a member; the first one becomes the leader."""
        if member.instance_id is not None:
            self.static_members[member.instance_id] = member.member_id
        if not self.members:
            self.protocol_type = member.protocol_type
        if self.leader_id is None:
            self.leader_id = member.member_id
        self.members[member.member_id] = member
        self._count_protocols(member.protocols)
        self._await_join(member, token)
        self.pending_members.discard(member.member_id)

    def remove(self, member_id: str, effects: Effects) -> None:
        """Forget a member or a pending id; if it led, any other leads now."""
        member = self.members.pop(member_id, None)
        if member is not None:
            self._uncount_protocols(member.protocols)
            if member.awaiting_join is not None:
                self.awaiting_join_count -= 1
            if member.instance_id is not None:
                self.static_members.pop(member.instance_id, None)
        if self.leader_id == member_id:
            self.leader_id = next(iter(self.members), None)
        if member is not None or member_id in self.pending_members:
            effects.stop_timer(self.session_timer(member_id))
        self.pending_members.discard(member_id)
        self.pending_syncs.discard(member_id)

    def update(
        self,
        member: Member,
        protocols: Protocols,
        rebalance_timeout_ms: int,
        session_timeout_ms: int,
        token: Token | None,
        effects: Effects,
    ) -> None:
        """A member joins again. A join of it that still waits was given up by its client; it is answered all
        the same, so that no request stays for ever."""
        self._uncount_protocols(member.protocols)
        member.protocols = protocols
        self._count_protocols(protocols)
        member.rebalance_timeout_ms = rebalance_timeout_ms
        member.session_timeout_ms = session_timeout_ms
        self.answer_join(member, JoinReply(member.member_id, ErrorCode.REBALANCE_IN_PROGRESS), effects)
        self._await_join(member, token)

    def replace_static(self, instance_id: str, old_id: str, new_id: str, effects: Effects) -> Member:
        """Give a static member's place to its successor; requests of the old one are fenced."""
        member = self.members.pop(old_id)
        self.answer_join(member, JoinReply(old_id, ErrorCode.FENCED_INSTANCE_ID), effects)
        self.answer_sync(member, SyncReply(ErrorCode.FENCED_INSTANCE_ID), effects)
        effects.stop_timer(self.session_timer(old_id))
        member.member_id = new_id
        self.members[new_id] = member
        if self.leader_id == old_id:
            self.leader_id = new_id
        self.static_members[instance_id] = new_id
        if old_id in self.pending_syncs:
            self.pending_syncs.discard(old_id)
            self.pending_syncs.add(new_id)
        return member

    def _await_join(self, member: Member, token: Token | None) -> None:
        if token is not None and member.awaiting_join is None:
            self.awaiting_join_count += 1
        member.awaiting_join = token

    def _count_protocols(self, protocols: Protocols) -> None:
        for name, _ in protocols:
            self._supported[name] += 1

    def _uncount_protocols(self, protocols: Protocols) -> None:
        for name, _ in protocols:
            self._supported[name] -= 1
            if not self._supported[name]:
                del self._supported[name]

    # -- answers -------------------------------------------------------------------------------------

    def answer_join(self, member: Member, reply: JoinReply, effects: Effects) -> None:
        """Answer the join of a member, if one waits."""
        token, member.awaiting_join = member.awaiting_join, None
        if token is not None:
            self.awaiting_join_count -= 1
            effects.reply(token, reply)

    def answer_sync(self, member: Member, reply: SyncReply, effects: Effects) -> bool:
        """Answer the sync of a member; False if none waits."""
        token, member.awaiting_sync = member.awaiting_sync, None
        if token is None:
            return False
        effects.reply(token, reply)
        return True

    def renew_session(self, member: Member, effects: Effects, timeout_ms: int | None = None) -> None:
        """The member lives; it must be heard of again within its session time-out (or ``timeout_ms``)."""
        effects.start_timer(
            self.session_timer(member.member_id),
            member.session_timeout_ms if timeout_ms is None else timeout_ms,
        )

    # -- states --------------------------------------------------------------------------------------

    def enter(self, state: GroupState, now_ms: int) -> None:
        """Change the state; only along the table, all else is a bug."""
        assert self.state in PREVIOUS_STATES[state], f"{self.group_id}: {self.state} cannot become {state}"
        self.state = state
        self.state_since_ms = now_ms

    def die(self, effects: Effects) -> None:
        """Deleted or gone elsewhere: no timer of this group matters any more."""
        self.enter(DEAD, effects.now_ms)
        for member_id in (*self.members, *self.pending_members):
            effects.stop_timer(self.session_timer(member_id))
        effects.stop_timer(self.join_timer)
        effects.stop_timer(self.sync_timer)

    def restore(self, members: Iterable[Member]) -> None:
        """The members as a record has them; the leader was set before."""
        for member in members:
            self.add(member)
        self.note_subscriptions()

    def note_subscriptions(self) -> None:
        """Find out what the members of a consumer group read."""
        self.subscribed_topics = None
        if not self.is_consumer_group:
            return
        if not self.members:
            self.subscribed_topics = frozenset()
        elif self.protocol_name is not None:
            protocol = self.protocol_name
            self.subscribed_topics = subscribed_topics(
                member.metadata(protocol) for member in self.members.values()
            )
