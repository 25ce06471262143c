"""SyncGroup and Heartbeat: handing out assignments, and knowing who lives."""

import logging
from collections.abc import Mapping

from pybroker.coordination.effects import Effects, Outcome, Token
from pybroker.coordination.group.calls import HeartbeatCall, SyncCall, SyncReply
from pybroker.coordination.group.errors import group_error
from pybroker.coordination.group.group import ClassicGroup
from pybroker.coordination.group.rebalance import drop_assignments, note_sync, prepare_if_possible
from pybroker.coordination.group.records import group_key, group_value
from pybroker.coordination.group.rules import GroupRules
from pybroker.coordination.group.states import (
    COMPLETING_REBALANCE,
    DEAD,
    HEARTBEAT_ANSWERS,
    STABLE,
    SYNC_STEPS,
    GroupState,
    SyncStep,
)
from pybroker.model.errors import ErrorCode
from pybroker.model.values import Value

logger = logging.getLogger(__name__)


def heartbeat(group: ClassicGroup, call: HeartbeatCall, effects: Effects) -> ErrorCode:
    """What a member's heartbeat is answered; it renews the session of a known member."""
    if group.state is DEAD:
        return HEARTBEAT_ANSWERS[DEAD]
    refused = group.refuse_member(call.member_id, call.instance_id)
    if refused is not ErrorCode.NONE:
        return refused
    if call.generation != group.generation:
        return ErrorCode.ILLEGAL_GENERATION
    if group.state is not GroupState.EMPTY:
        group.renew_session(group.members[call.member_id], effects)
    return HEARTBEAT_ANSWERS[group.state]


def sync(group: ClassicGroup, call: SyncCall, token: Token, rules: GroupRules, effects: Effects) -> None:
    """Answer a SyncGroup, or keep its token until the leader's assignment is stored."""
    refused = _refusal(group, call)
    step, error = SYNC_STEPS[group.state]
    if refused is ErrorCode.NONE and step is SyncStep.REFUSE:
        refused = error
    if refused is not ErrorCode.NONE:
        effects.reply(token, SyncReply(refused))
        return
    member = group.members[call.member_id]
    note_sync(group, call.member_id, effects)
    if step is SyncStep.ANSWER:
        effects.reply(token, _assignment(group, member.assignment))
        group.renew_session(member, effects)
        return
    # An earlier request of the same member was given up by its client, but must not wait for ever.
    group.answer_sync(member, SyncReply(ErrorCode.REBALANCE_IN_PROGRESS), effects)
    member.awaiting_sync = token
    if group.leader_id == call.member_id:
        _store_assignments(group, call, rules, effects)


def _refusal(group: ClassicGroup, call: SyncCall) -> ErrorCode:
    if group.state is DEAD:
        return ErrorCode.COORDINATOR_NOT_AVAILABLE
    refused = group.refuse_member(call.member_id, call.instance_id)
    if refused is not ErrorCode.NONE:
        return refused
    if call.generation != group.generation:
        return ErrorCode.ILLEGAL_GENERATION
    if call.protocol_type not in (None, group.protocol_type):
        return ErrorCode.INCONSISTENT_GROUP_PROTOCOL
    if call.protocol_name not in (None, group.protocol_name):
        return ErrorCode.INCONSISTENT_GROUP_PROTOCOL
    return ErrorCode.NONE


def _assignment(group: ClassicGroup, assignment: bytes) -> SyncReply:
    return SyncReply(
        protocol_type=group.protocol_type, protocol_name=group.protocol_name, assignment=assignment
    )


def _store_assignments(group: ClassicGroup, call: SyncCall, rules: GroupRules, effects: Effects) -> None:
    """Members that the leader forgot get an empty assignment."""
    assignments = {member_id: call.assignments.get(member_id, b"") for member_id in group.members}
    effects.append(
        [(group_key(group.group_id), group_value(group, assignments))],
        AssignmentsStored(group, group.generation, assignments, rules),
    )


class AssignmentsStored(Value):
    """The leader's assignment is in the log: now the members may have it."""

    group: ClassicGroup
    generation: int
    assignments: Mapping[str, bytes]
    rules: GroupRules

    def settle(self, outcome: Outcome, effects: Effects) -> None:
        group = self.group
        if group.state is not COMPLETING_REBALANCE or group.generation != self.generation:
            return
        if outcome.error is not ErrorCode.NONE:
            error = group_error(outcome.error)
            drop_assignments(group, error, effects)
            prepare_if_possible(group, self.rules, effects, f"assignment not stored: {error.name}")
            return
        for member in group.members.values():
            member.assignment = self.assignments[member.member_id]
            if group.answer_sync(member, _assignment(group, member.assignment), effects):
                group.renew_session(member, effects)
        group.enter(STABLE, effects.now_ms)
