"""The consumer groups of one shard: each call is a decision, whose group takes the old one's place when its
records are in the log, and whose answer comes when they are committed."""

import logging
from collections.abc import Mapping, MutableMapping, Sequence
from typing import TypeAlias

from pybroker.coordination.effects import Effects, Outcome, TimerKey, Token
from pybroker.coordination.group.calls import (
    UNKNOWN_MEMBER,
    HeartbeatCall,
    JoinCall,
    JoinReply,
    LeavingMember,
    SyncCall,
    SyncReply,
)
from pybroker.coordination.group.consumer import classic_members, migration
from pybroker.coordination.group.consumer.calls import (
    ConsumerGroupDescription,
    ConsumerHeartbeatCall,
    ConsumerHeartbeatReply,
    DescribedConsumerMember,
)
from pybroker.coordination.group.consumer.draft import Draft, Setting
from pybroker.coordination.group.consumer.group import CONSUMER, ConsumerGroup
from pybroker.coordination.group.consumer.heartbeat import (
    check_assignor,
    check_request,
    heartbeat,
    leave_for_a_while,
    leaving_member,
)
from pybroker.coordination.group.consumer.membership import check_room, reconcile, remove
from pybroker.coordination.group.consumer.rules import MigrationPolicy
from pybroker.coordination.group.consumer.state import (
    JOIN_EPOCH,
    LEAVE_EPOCH,
    LEAVE_STATIC_EPOCH,
    ConsumerMember,
    MemberState,
)
from pybroker.coordination.group.errors import consumer_group_error
from pybroker.coordination.group.group import ClassicGroup
from pybroker.coordination.group.rebalance import prepare
from pybroker.coordination.group.subscriptions import MalformedBlob, read_subscription, write_assignment
from pybroker.model.errors import ApiError, ErrorCode
from pybroker.model.values import Value

logger = logging.getLogger(__name__)

Group: TypeAlias = ClassicGroup | ConsumerGroup

RETRY_MS = 500
"""When a removal that could not be stored is tried again."""


class ConsumerGroups:
    """Decides about consumer groups. ``groups`` are all of the shard; this is the writer of its consumer
    groups, and of those that change their protocol."""

    def __init__(self, groups: MutableMapping[str, Group], setting: Setting) -> None:
        self._groups = groups
        self._setting = setting

    # -- members of the consumer protocol ------------------------------------------------------------

    def heartbeat(self, call: ConsumerHeartbeatCall, token: Token, effects: Effects) -> None:
        """Answers with a :class:`ConsumerHeartbeatReply`."""
        try:
            check_request(call)
            check_assignor(call, self._setting.rules.consumer.assignors)
            if call.member_epoch in (LEAVE_EPOCH, LEAVE_STATIC_EPOCH):
                self._leave(call, token, effects)
            else:
                draft = self._draft(call.group_id, effects, joins=call.member_epoch == JOIN_EPOCH)
                reply = heartbeat(draft, call, effects)
                self._keep(draft, effects, HeartbeatStored(token, reply))
        except ApiError as refused:
            effects.reply(token, ConsumerHeartbeatReply(refused.code, refused.message))

    def _leave(self, call: ConsumerHeartbeatCall, token: Token, effects: Effects) -> None:
        draft = self._draft(call.group_id, effects, joins=False)
        member = leaving_member(draft, call)
        stored = HeartbeatStored(
            token, ConsumerHeartbeatReply(member_id=call.member_id, member_epoch=call.member_epoch)
        )
        if call.member_epoch == LEAVE_STATIC_EPOCH and call.instance_id is not None:
            leave_for_a_while(draft, member)
            self._keep(draft, effects, stored)
        else:
            self._remove(draft, {member.member_id: member}, effects, f"{member.member_id} leaves", stored)

    def _draft(self, group_id: str, effects: Effects, *, joins: bool) -> Draft:
        """Raises:
        ApiError: GROUP_ID_NOT_FOUND.
        """
        known = self._groups.get(group_id)
        if isinstance(known, ConsumerGroup):
            return Draft(known, self._setting, effects.now_ms)
        if known is None:
            if not joins:
                raise ApiError(ErrorCode.GROUP_ID_NOT_FOUND, f"Consumer group {group_id} not found.")
            return Draft(ConsumerGroup(group_id), self._setting, effects.now_ms, is_new=True)
        if not joins:
            raise ApiError(ErrorCode.GROUP_ID_NOT_FOUND, f"Group {group_id} is not a consumer group.")
        return migration.take_over(known, self._setting, effects.now_ms)

    # -- members of the classic protocol -------------------------------------------------------------

    def join(self, group: ConsumerGroup, call: JoinCall, token: Token, effects: Effects) -> None:
        """A classic member joins, or takes its next step. Answers with a :class:`JoinReply`."""
        try:
            self._join(group, call, token, effects)
        except ApiError as refused:
            effects.reply(token, JoinReply(call.member_id, refused.code))

    def _join(self, group: ConsumerGroup, call: JoinCall, token: Token, effects: Effects) -> None:
        if self._setting.rules.consumer.migration is MigrationPolicy.DISABLED:
            raise ApiError(ErrorCode.INCONSISTENT_GROUP_PROTOCOL)
        draft = Draft(group, self._setting, effects.now_ms)
        check_room(draft, call.member_id)
        if not classic_members.supports(group, call):
            raise ApiError(ErrorCode.INCONSISTENT_GROUP_PROTOCOL)
        member_id = call.member_id or self._setting.unique_text()
        if call.member_id == UNKNOWN_MEMBER and call.needs_member_id and call.instance_id is None:
            effects.reply(token, JoinReply(member_id, ErrorCode.MEMBER_ID_REQUIRED))
            return
        try:
            subscription = read_subscription(call.protocols[0][1])
        except MalformedBlob:
            raise ApiError(ErrorCode.INCONSISTENT_GROUP_PROTOCOL) from None
        replaced = group.static_member(call.instance_id)
        downgrades = replaced is not None and migration.may_replace(group, replaced, self._setting.rules)
        member = classic_members.find_joining(draft, call, member_id)
        profile = classic_members.joined_profile(member.profile, call, subscription)
        changed = classic_members.tell_profile(draft, member, profile)
        draft.follow_metadata(subscription_changed=changed)
        if downgrades:
            self._downgrade_with(draft, group, draft.group.members[member_id], token, effects)
            return
        draft.update_targets()
        owned = classic_members.owned_partitions(subscription, draft.image)
        joined = draft.group.members[member_id]
        after = reconcile(draft, joined, reported=owned, subscription_changed=changed)
        timers = draft.timers_of(member_id, effects)
        classic_members.renew_session(draft.group, joined, timers)
        timers.stop_timer(draft.group.timer("rejoin", member_id))
        timers.start_timer(draft.group.timer("resync", member_id), call.rebalance_timeout_ms)
        self._keep(draft, effects, JoinStored(token, _joined(member_id, after.epoch, call)))

    def _downgrade_with(
        self, draft: Draft, former: ConsumerGroup, member: ConsumerMember, token: Token, effects: Effects
    ) -> None:
        """A classic member takes the place of the last one of the consumer protocol."""
        group = draft.group
        is_settled = group.target_epoch == group.epoch and all(
            one.current.is_reconciled_to(group.epoch)
            for one in group.members.values()
            if one.member_id != member.member_id
        )
        classic = migration.hand_over(group, draft.image, draft.now_ms)
        reply = JoinReply(
            member.member_id,
            generation=classic.generation,
            protocol_type=CONSUMER,
            protocol_name=classic.protocol_name,
        )
        self._swap(
            former,
            classic,
            effects,
            JoinStored(token, reply),
            reason=None if is_settled else f"{member.member_id} is back in the classic protocol",
        )

    def sync(self, group: ConsumerGroup, call: SyncCall, token: Token, effects: Effects) -> None:
        """A classic member asks for its assignment. Answers with a :class:`SyncReply`."""
        try:
            member = classic_members.find_classic(group, call)
            classic_members.check_sync(group, member, call)
        except ApiError as refused:
            if refused.code is ErrorCode.REBALANCE_IN_PROGRESS:
                self._expect_rejoin(group, group.members[call.member_id], effects)
            effects.reply(token, SyncReply(refused.code))
            return
        assert member.profile.classic is not None
        version = read_subscription(member.profile.classic.protocols[0][1]).version
        partitions = migration.with_names(member.current.assigned, self._setting.image())
        effects.stop_timer(group.timer("resync", member.member_id))
        classic_members.renew_session(group, member, effects)
        reply = SyncReply(
            protocol_type=call.protocol_type,
            protocol_name=call.protocol_name,
            assignment=write_assignment(partitions, version),
        )
        effects.append((), SyncStored(token, reply))

    def classic_heartbeat(self, group: ConsumerGroup, call: HeartbeatCall, effects: Effects) -> ErrorCode:
        """What a classic member's heartbeat is answered."""
        try:
            code = classic_members.heartbeat(group, call, effects)
        except ApiError as refused:
            return refused.code
        if code is ErrorCode.REBALANCE_IN_PROGRESS:
            self._expect_rejoin(group, group.members[call.member_id], effects)
        return code

    def _expect_rejoin(self, group: ConsumerGroup, member: ConsumerMember, effects: Effects) -> None:
        """From the first time that it is told, a member has its rebalance time-out to join again."""
        effects.start_timer_if_absent(
            group.timer("rejoin", member.member_id), member.profile.rebalance_timeout_ms
        )

    def leave(
        self, group: ConsumerGroup, leaving: Sequence[LeavingMember], effects: Effects
    ) -> list[ErrorCode]:
        """One code for each of ``leaving``; members of both protocols may be removed so."""
        found = classic_members.find_leaving(group, leaving)
        if found.members:
            members = {member.member_id: member for member in found.members}
            draft = Draft(group, self._setting, effects.now_ms)
            self._remove(draft, members, effects, f"{len(members)} members leave", None)
        return list(found.codes)

    def rebalance(self, group: ConsumerGroup, effects: Effects) -> None:
        """A new epoch that nothing calls for: every member is reconciled anew."""
        draft = Draft(group, self._setting, effects.now_ms)
        draft.begin_epoch(always=True)
        draft.update_targets()
        self._keep(draft, effects, None)

    # -- time ----------------------------------------------------------------------------------------

    def timer_fired(self, group: ConsumerGroup, key: TimerKey, effects: Effects) -> None:
        """A member did not do in time what it had to: it is out."""
        member = group.members.get(key.member_id)
        if member is None:
            return
        if key.purpose == "revoke" and member.current.state is not MemberState.UNREVOKED_PARTITIONS:
            return
        logger.info("group %s: %s is out: %s", group.group_id, key.member_id, _LATE[key.purpose])
        draft = Draft(group, self._setting, effects.now_ms)
        self._remove(draft, {key.member_id: member}, effects, _LATE[key.purpose], LateMemberRemoved(key))

    def start_sessions(self, group: ConsumerGroup, effects: Effects) -> None:
        """The group was loaded: from now on its members must be heard of again."""
        timeouts = self._setting.rules.consumer.timeouts(self._setting.image(), group.group_id)
        for member_id, member in group.members.items():
            effects.start_timer(group.timer("member", member_id), timeouts.session_timeout_ms)
            if member.current.state is MemberState.UNREVOKED_PARTITIONS:
                effects.start_timer(group.timer("revoke", member_id), member.profile.rebalance_timeout_ms)

    # -- administration ------------------------------------------------------------------------------

    def describe(self, group: ConsumerGroup) -> ConsumerGroupDescription:
        return ConsumerGroupDescription(
            state=group.state.value,
            epoch=group.epoch,
            target_epoch=group.target_epoch,
            assignor=group.preferred_assignor() or self._setting.rules.consumer.assignors[0],
            members=tuple(
                DescribedConsumerMember(member, group.target(member_id))
                for member_id, member in group.members.items()
            ),
        )

    # -- keeping -------------------------------------------------------------------------------------

    def _remove(
        self,
        draft: Draft,
        members: Mapping[str, ConsumerMember],
        effects: Effects,
        reason: str,
        then: "Stored | None",
    ) -> None:
        """Members are gone; if only classic ones are left, so is the consumer group."""
        group = draft.group
        if migration.may_downgrade(group, members, self._setting.rules):
            classic = migration.hand_over(group, draft.image, effects.now_ms, without=members)
            self._swap(group, classic, effects, then, reason=reason)
        else:
            remove(draft, members.values())
            self._keep(draft, effects, then)

    def _keep(self, draft: Draft, effects: Effects, then: "Stored | None") -> None:
        """Write a draft's records; its group counts from the moment they are in the log."""
        group = draft.group

        def put_in_place(later: Effects) -> None:
            former = self._groups.get(group.group_id)
            self._groups[group.group_id] = group
            later.items.extend(draft.timers.items)
            if isinstance(former, ClassicGroup):
                _dissolve(former, group, later)

        effects.append(draft.records, then, appended=put_in_place if draft.records else None)

    def _swap(
        self,
        group: ConsumerGroup,
        classic: ClassicGroup,
        effects: Effects,
        then: "Stored | None",
        *,
        reason: str | None,
    ) -> None:
        """A classic group takes the place; it rebalances if there is a reason."""
        rules = self._setting.rules

        def put_in_place(later: Effects) -> None:
            self._groups[group.group_id] = classic
            for key in group.timers():
                later.stop_timer(key)
            for member in classic.members.values():
                classic.renew_session(member, later)
            if reason is not None:
                prepare(classic, rules, later, f"the consumer group ended: {reason}")

        effects.append(migration.records_of_change(group, classic), then, appended=put_in_place)


def _dissolve(classic: ClassicGroup, group: ConsumerGroup, effects: Effects) -> None:
    """A consumer group has taken the place: whoever waits joins again, and is heard of there."""
    for member in classic.members.values():
        classic.answer_join(member, JoinReply(member.member_id, ErrorCode.REBALANCE_IN_PROGRESS), effects)
        classic.answer_sync(member, SyncReply(ErrorCode.REBALANCE_IN_PROGRESS), effects)
    classic.die(effects)
    for upgraded in group.members.values():
        if upgraded.is_classic:
            classic_members.renew_session(group, upgraded, effects)


def _joined(member_id: str, epoch: int, call: JoinCall) -> JoinReply:
    """Nobody leads in a consumer group, so that everybody waits to be assigned to."""
    return JoinReply(member_id, generation=epoch, protocol_type=CONSUMER, protocol_name=call.protocols[0][0])


class HeartbeatStored(Value):
    """What a heartbeat led to is in the log, or will never be."""

    token: Token
    reply: ConsumerHeartbeatReply

    def settle(self, outcome: Outcome, effects: Effects) -> None:
        failed = outcome.error is not ErrorCode.NONE
        effects.reply(
            self.token,
            ConsumerHeartbeatReply(consumer_group_error(outcome.error)) if failed else self.reply,
        )


class JoinStored(Value):
    """The same for the JoinGroup of a classic member."""

    token: Token
    reply: JoinReply

    def settle(self, outcome: Outcome, effects: Effects) -> None:
        error = consumer_group_error(outcome.error)
        failed = error is not ErrorCode.NONE
        effects.reply(self.token, JoinReply(self.reply.member_id, error) if failed else self.reply)


class SyncStored(Value):
    """What a classic member is told in SyncGroup is committed, or will never be."""

    token: Token
    reply: SyncReply

    def settle(self, outcome: Outcome, effects: Effects) -> None:
        error = consumer_group_error(outcome.error)
        effects.reply(self.token, SyncReply(error) if error is not ErrorCode.NONE else self.reply)


class LateMemberRemoved(Value):
    """A member is out because its time was over; if that could not be stored, the timer comes again."""

    timer: TimerKey

    def settle(self, outcome: Outcome, effects: Effects) -> None:
        if outcome.error is not ErrorCode.NONE:
            effects.start_timer(self.timer, RETRY_MS)


Stored: TypeAlias = HeartbeatStored | JoinStored | SyncStored | LateMemberRemoved

_LATE = {
    "member": "it was not heard of in time",
    "revoke": "it did not give up its partitions in time",
    "rejoin": "it did not join again in time",
    "resync": "it did not ask for its assignment in time",
}
