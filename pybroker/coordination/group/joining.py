"""JoinGroup: who may come in, under which id, and whether the group rebalances for it."""

import logging
from collections.abc import Callable

from pybroker.coordination.effects import Effects, Outcome, Token
from pybroker.coordination.group.calls import UNKNOWN_MEMBER, JoinCall, JoinReply, Protocols
from pybroker.coordination.group.errors import group_error
from pybroker.coordination.group.group import ClassicGroup
from pybroker.coordination.group.member import Member
from pybroker.coordination.group.rebalance import complete_if_all_joined, prepare, prepare_if_possible
from pybroker.coordination.group.records import group_key, group_value
from pybroker.coordination.group.rules import NEW_MEMBER_JOIN_TIMEOUT_MS, GroupRules
from pybroker.coordination.group.states import (
    COMPLETING_REBALANCE,
    PREPARING_REBALANCE,
    REJOIN_STEPS,
    STABLE,
    RejoinStep,
)
from pybroker.model.errors import ErrorCode
from pybroker.model.values import Value

logger = logging.getLogger(__name__)


class Joining(Value):
    """Decides about joins; ``unique_text`` makes the second half of member ids (a UUID)."""

    rules: GroupRules
    unique_text: Callable[[], str]

    def join(self, group: ClassicGroup, call: JoinCall, token: Token, effects: Effects) -> None:
        """Answer a JoinGroup, or keep its token until the rebalance is complete."""
        if not self._has_room(group, call.member_id):
            group.remove(call.member_id, effects)
            effects.reply(token, JoinReply(UNKNOWN_MEMBER, ErrorCode.GROUP_MAX_SIZE_REACHED))
        elif not group.supports(call.protocol_type, call.protocols):
            effects.reply(token, JoinReply(call.member_id, ErrorCode.INCONSISTENT_GROUP_PROTOCOL))
        elif call.member_id == UNKNOWN_MEMBER:
            self._join_new(group, call, token, effects)
        else:
            self._join_known(group, call, token, effects)
        complete_if_all_joined(group, effects)

    def _has_room(self, group: ClassicGroup, member_id: str) -> bool:
        """During a rebalance those who wait are counted, because the group may have grown too large before
        ``group.max.size`` was lowered: the last ones to join again are turned away."""
        member = group.members.get(member_id)
        if group.state is PREPARING_REBALANCE:
            is_waiting = member is not None and member.awaiting_join is not None
            return is_waiting or group.awaiting_join_count < self.rules.max_size
        if group.state in (COMPLETING_REBALANCE, STABLE):
            return member is not None or len(group.members) < self.rules.max_size
        return True

    # -- new members ---------------------------------------------------------------------------------

    def _join_new(self, group: ClassicGroup, call: JoinCall, token: Token, effects: Effects) -> None:
        name = call.client_id if call.instance_id is None else call.instance_id
        new_id = f"{name}-{self.unique_text()}"
        if call.instance_id is not None and call.instance_id in group.static_members:
            self._replace(group, call, call.instance_id, new_id, token, effects)
        elif call.instance_id is None and call.needs_member_id:
            group.pending_members.add(new_id)
            effects.start_timer(group.session_timer(new_id), call.session_timeout_ms)
            effects.reply(token, JoinReply(new_id, ErrorCode.MEMBER_ID_REQUIRED))
        else:
            self._add(group, call, new_id, call.instance_id, token, effects)

    def _add(
        self,
        group: ClassicGroup,
        call: JoinCall,
        member_id: str,
        instance_id: str | None,
        token: Token,
        effects: Effects,
    ) -> None:
        member = Member(
            member_id=member_id,
            instance_id=instance_id,
            client_id=call.client_id,
            client_host=call.client_host,
            rebalance_timeout_ms=call.rebalance_timeout_ms,
            session_timeout_ms=call.session_timeout_ms,
            protocol_type=call.protocol_type,
            protocols=call.protocols,
            is_new=True,
        )
        if group.state is PREPARING_REBALANCE and group.generation == 0:
            group.new_member_added = True
        group.add(member, token)
        group.renew_session(member, effects, NEW_MEMBER_JOIN_TIMEOUT_MS)
        prepare_if_possible(group, self.rules, effects, f"{member_id} joins; {_reason(call)}")

    # -- members that have an id ---------------------------------------------------------------------

    def _join_known(self, group: ClassicGroup, call: JoinCall, token: Token, effects: Effects) -> None:
        if call.member_id in group.pending_members:
            if call.instance_id is not None:
                # Static members are never sent back for an id: this client mixes two things up.
                effects.reply(token, JoinReply(UNKNOWN_MEMBER, ErrorCode.UNKNOWN_SERVER_ERROR))
            else:
                self._add(group, call, call.member_id, None, token, effects)
            return
        refused = group.refuse_member(call.member_id, call.instance_id)
        step = REJOIN_STEPS[group.state]
        if refused is ErrorCode.NONE and step is RejoinStep.REFUSE:
            refused = ErrorCode.UNKNOWN_MEMBER_ID
        if refused is not ErrorCode.NONE:
            effects.reply(token, JoinReply(call.member_id, refused))
        elif _begins_rebalance(step, group, call):
            self._rejoin(group, call, token, effects)
        else:
            effects.reply(token, group.join_reply(call.member_id))

    def _rejoin(self, group: ClassicGroup, call: JoinCall, token: Token, effects: Effects) -> None:
        member = group.members[call.member_id]
        group.update(
            member, call.protocols, call.rebalance_timeout_ms, call.session_timeout_ms, token, effects
        )
        prepare_if_possible(group, self.rules, effects, f"{call.member_id} joins again; {_reason(call)}")

    # -- static members that come back ---------------------------------------------------------------

    def _replace(
        self,
        group: ClassicGroup,
        call: JoinCall,
        instance_id: str,
        new_id: str,
        token: Token,
        effects: Effects,
    ) -> None:
        old_id = group.static_members[instance_id]
        former_leader = group.leader_id or ""
        member = group.replace_static(instance_id, old_id, new_id, effects)
        stored = StaticMemberStored(
            group=group,
            member=member,
            instance_id=instance_id,
            old_id=old_id,
            new_id=new_id,
            generation=group.generation,
            former_leader=former_leader,
            former_protocols=member.protocols,
            former_timeouts_ms=(member.rebalance_timeout_ms, member.session_timeout_ms),
            can_skip_assignment=call.can_skip_assignment,
        )
        group.renew_session(member, effects)
        group.update(
            member, call.protocols, call.rebalance_timeout_ms, call.session_timeout_ms, token, effects
        )
        if group.state is STABLE and group.select_protocol() == group.protocol_name:
            assignments = {one.member_id: one.assignment for one in group.members.values()}
            effects.append([(group_key(group.group_id), group_value(group, assignments))], stored)
        elif group.state is not PREPARING_REBALANCE:
            # Also in COMPLETING_REBALANCE: the leader may be assigning to the old id.
            prepare(group, self.rules, effects, f"static member {instance_id} is back; {_reason(call)}")


def _begins_rebalance(step: RejoinStep, group: ClassicGroup, call: JoinCall) -> bool:
    if step is RejoinStep.AWAIT:
        return True
    if step is RejoinStep.AWAIT_IF_CHANGED_OR_LEADER and group.leader_id == call.member_id:
        return True
    return group.members[call.member_id].protocols != call.protocols


def _reason(call: JoinCall) -> str:
    return f"client reason: {call.reason or 'not provided'}"


class StaticMemberStored(Value):
    """A static member came back to a stable group, which stays as it is but for the member's id."""

    group: ClassicGroup
    member: Member
    instance_id: str
    old_id: str
    new_id: str
    generation: int
    former_leader: str
    former_protocols: Protocols
    former_timeouts_ms: tuple[int, int]
    can_skip_assignment: bool

    def settle(self, outcome: Outcome, effects: Effects) -> None:
        group = self.group
        if group.members.get(self.new_id) is not self.member:
            # Replaced once more, removed or unloaded: whoever did that has answered.
            return
        if group.state is not STABLE or group.generation != self.generation:
            # A rebalance began meanwhile. Its end answers, and stores the new id.
            return
        if outcome.error is not ErrorCode.NONE:
            self._revert(group_error(outcome.error), effects)
        elif self.can_skip_assignment:
            skip = group.leader_id == self.new_id
            self._answer(group.join_reply(self.new_id, skip_assignment=skip), effects)
        else:
            self._answer(self._reply(self.new_id), effects)

    def _answer(self, reply: JoinReply, effects: Effects) -> None:
        self.group.answer_join(self.member, reply, effects)

    def _reply(self, member_id: str, error: ErrorCode = ErrorCode.NONE) -> JoinReply:
        """Clients that cannot skip the assignment must not believe that they lead: they are told of the
        former leader, which may be their own old id."""
        group = self.group
        return JoinReply(
            member_id=member_id,
            error=error,
            generation=group.generation,
            protocol_type=group.protocol_type,
            protocol_name=group.protocol_name,
            leader=self.former_leader,
        )

    def _revert(self, error: ErrorCode, effects: Effects) -> None:
        logger.warning("group %s: the new id of %s was not stored", self.group.group_id, self.instance_id)
        self._answer(self._reply(UNKNOWN_MEMBER, error), effects)
        rebalance_timeout_ms, session_timeout_ms = self.former_timeouts_ms
        group, member = self.group, self.member
        group.update(member, self.former_protocols, rebalance_timeout_ms, session_timeout_ms, None, effects)
        group.replace_static(self.instance_id, self.new_id, self.old_id, effects)
        group.renew_session(member, effects)
