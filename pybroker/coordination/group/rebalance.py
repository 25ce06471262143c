"""The rebalance: collecting joins, beginning a generation, and what time-outs do to it."""

import logging

from pybroker.coordination.effects import Effects, Outcome
from pybroker.coordination.group.calls import UNKNOWN_MEMBER, JoinReply, SyncReply
from pybroker.coordination.group.errors import group_error
from pybroker.coordination.group.group import ClassicGroup
from pybroker.coordination.group.member import Member
from pybroker.coordination.group.records import group_key, group_value
from pybroker.coordination.group.rules import GroupRules
from pybroker.coordination.group.states import (
    COMPLETING_REBALANCE,
    DEAD,
    EMPTY,
    PREPARING_REBALANCE,
    PREVIOUS_STATES,
    STABLE,
)
from pybroker.model.errors import ErrorCode
from pybroker.model.values import Value

logger = logging.getLogger(__name__)


def prepare_if_possible(group: ClassicGroup, rules: GroupRules, effects: Effects, reason: str) -> None:
    """Begin a rebalance, unless one is under way already."""
    if group.state in PREVIOUS_STATES[PREPARING_REBALANCE]:
        prepare(group, rules, effects, reason)


def prepare(group: ClassicGroup, rules: GroupRules, effects: Effects, reason: str) -> None:
    """Begin to collect joins. Members that wait for an assignment are told to join again."""
    if group.state is COMPLETING_REBALANCE:
        drop_assignments(group, ErrorCode.REBALANCE_IN_PROGRESS, effects)
    forget_pending_syncs(group, effects)
    logger.info("group %s, generation %d: rebalance: %s", group.group_id, group.generation, reason)
    if group.state is EMPTY:
        delay = rules.initial_rebalance_delay_ms
        group.initial_delay = (delay, max(group.rebalance_timeout_ms - delay, 0))
    else:
        delay = group.rebalance_timeout_ms
        group.initial_delay = None
    group.enter(PREPARING_REBALANCE, effects.now_ms)
    effects.start_timer(group.join_timer, delay)
    complete_if_all_joined(group, effects)


def complete_if_all_joined(group: ClassicGroup, effects: Effects) -> None:
    """End the collecting early, when there is nobody left to wait for; never during the initial delay."""
    if group.state is PREPARING_REBALANCE and group.initial_delay is None and group.have_all_joined:
        effects.stop_timer(group.join_timer)
        complete(group, effects)


def on_join_timeout(group: ClassicGroup, rules: GroupRules, effects: Effects) -> None:
    """The time to join is over. The initial delay begins anew while new members keep coming, until the
    longest rebalance time-out is used up."""
    if group.state is not PREPARING_REBALANCE:
        return
    if group.initial_delay is not None:
        delay, remaining = group.initial_delay
        if group.new_member_added and remaining:
            group.new_member_added = False
            next_delay = min(rules.initial_rebalance_delay_ms, remaining)
            group.initial_delay = (next_delay, max(remaining - delay, 0))
            effects.start_timer(group.join_timer, next_delay)
            return
        group.initial_delay = None
    complete(group, effects)


def complete(group: ClassicGroup, effects: Effects) -> None:
    """Begin a new generation with those who joined. Dynamic members that did not are out; static ones stay
    until their session ends."""
    absent = [member for member in group.members.values() if member.awaiting_join is None]
    for member in absent:
        if not member.is_static:
            group.remove(member.member_id, effects)
    if not _elect_joined_leader(group) and group.members:
        logger.info("group %s: nobody joined, waiting on", group.group_id)
        effects.start_timer(group.join_timer, group.rebalance_timeout_ms)
        return
    _begin_generation(group, effects)
    if group.state is EMPTY:
        effects.append([(group_key(group.group_id), group_value(group, {}))], EmptyGroupStored(group))
        return
    for member in tuple(group.members.values()):
        group.answer_join(member, group.join_reply(member.member_id), effects)
        group.renew_session(member, effects)
        member.is_new = False
        group.pending_syncs.add(member.member_id)
    effects.start_timer(group.sync_timer, group.rebalance_timeout_ms)


def _elect_joined_leader(group: ClassicGroup) -> bool:
    """Whether the leader has joined, or any other member now leads in its place."""
    if group.leader_id is None:
        return False
    if group.members[group.leader_id].awaiting_join is not None:
        return True
    for member in group.members.values():
        if member.awaiting_join is not None:
            group.leader_id = member.member_id
            return True
    return False


def _begin_generation(group: ClassicGroup, effects: Effects) -> None:
    group.generation += 1
    group.protocol_name = group.select_protocol() if group.members else None
    group.note_subscriptions()
    group.enter(COMPLETING_REBALANCE if group.members else EMPTY, effects.now_ms)
    group.pending_syncs.clear()


# -- syncing -----------------------------------------------------------------------------------------


def drop_assignments(group: ClassicGroup, error: ErrorCode, effects: Effects) -> None:
    """Nobody gets an assignment of this generation; whoever waits for one is told why."""
    for member in group.members.values():
        member.assignment = b""
        if group.answer_sync(member, SyncReply(error), effects):
            group.renew_session(member, effects)


def note_sync(group: ClassicGroup, member_id: str, effects: Effects) -> None:
    """A member asked for its assignment."""
    if member_id in group.pending_syncs:
        group.pending_syncs.discard(member_id)
        if not group.pending_syncs:
            effects.stop_timer(group.sync_timer)


def forget_pending_syncs(group: ClassicGroup, effects: Effects) -> None:
    if group.pending_syncs:
        group.pending_syncs.clear()
    effects.stop_timer(group.sync_timer)


def on_sync_timeout(group: ClassicGroup, rules: GroupRules, effects: Effects) -> None:
    """Members that never asked for their assignment are out."""
    if group.state not in (COMPLETING_REBALANCE, STABLE) or not group.pending_syncs:
        return
    late = tuple(group.pending_syncs)
    for member_id in late:
        group.remove(member_id, effects)
    prepare(group, rules, effects, f"{len(late)} members did not sync in time")


# -- losing members ----------------------------------------------------------------------------------


def remove_member(
    group: ClassicGroup, member: Member, rules: GroupRules, effects: Effects, reason: str
) -> None:
    """A member is gone; the others share its work anew."""
    gone = JoinReply(UNKNOWN_MEMBER, ErrorCode.UNKNOWN_MEMBER_ID)
    group.answer_join(member, gone, effects)
    group.answer_sync(member, SyncReply(ErrorCode.UNKNOWN_MEMBER_ID), effects)
    group.remove(member.member_id, effects)
    if group.state in (STABLE, COMPLETING_REBALANCE):
        prepare_if_possible(group, rules, effects, reason)
    else:
        complete_if_all_joined(group, effects)


def remove_pending(group: ClassicGroup, member_id: str, effects: Effects) -> None:
    """Nobody will join with this id."""
    group.remove(member_id, effects)
    complete_if_all_joined(group, effects)


def on_session_timeout(group: ClassicGroup, member_id: str, rules: GroupRules, effects: Effects) -> None:
    """A member, or who was given its id, was not heard of in time."""
    if group.state is DEAD:
        return
    if member_id in group.pending_members:
        remove_pending(group, member_id, effects)
        return
    member = group.members.get(member_id)
    if member is not None and not member.is_excused:
        logger.info("group %s: member %s is gone", group.group_id, member_id)
        remove_member(group, member, rules, effects, f"member {member_id} was not heard of in time")


class EmptyGroupStored(Value):
    """The last member is gone, and the log should know."""

    group: ClassicGroup

    def settle(self, outcome: Outcome, effects: Effects) -> None:  # noqa: ARG002
        if outcome.error is not ErrorCode.NONE:
            # The former generation is still in the log; after a restart its members will time out.
            logger.warning(
                "group %s: that it is empty was not stored: %s",
                self.group.group_id,
                group_error(outcome.error).name,
            )
