"""ConsumerGroupHeartbeat: joining, living and leaving in one request (KIP-848).

Source of the rules and of the sentences: ``GroupMetadataManager`` of Kafka 4.3.
"""

from msgspec.structs import replace

from pybroker.coordination.effects import Effects
from pybroker.coordination.group.consumer.calls import ConsumerHeartbeatCall, ConsumerHeartbeatReply
from pybroker.coordination.group.consumer.changes import CurrentChanged, ProfileChanged
from pybroker.coordination.group.consumer.draft import Draft
from pybroker.coordination.group.consumer.membership import (
    check_epoch,
    check_instance,
    check_room,
    reconcile,
    replace_static,
    unknown_member,
)
from pybroker.coordination.group.consumer.state import (
    JOIN_EPOCH,
    LEAVE_EPOCH,
    LEAVE_STATIC_EPOCH,
    NO_TIMEOUT,
    ConsumerMember,
    Profile,
)
from pybroker.model.errors import ApiError, ErrorCode


def check_request(call: ConsumerHeartbeatCall) -> None:
    """What can be said of a request without its group.

    Raises:
        ApiError: INVALID_REQUEST or UNSUPPORTED_ASSIGNOR.
    """
    if call.makes_own_id or call.member_epoch > 0 or call.member_epoch == LEAVE_EPOCH:
        _refuse_empty(call.member_id, "MemberId")
    _refuse_empty(call.group_id, "GroupId")
    _refuse_empty(call.instance_id, "InstanceId")
    _refuse_empty(call.rack_id, "RackId")
    if call.member_epoch == JOIN_EPOCH:
        _check_join(call)
    elif call.member_epoch == LEAVE_STATIC_EPOCH and call.instance_id is None:
        raise ApiError(ErrorCode.INVALID_REQUEST, "InstanceId can't be null.")
    elif call.member_epoch < LEAVE_STATIC_EPOCH:
        raise ApiError(ErrorCode.INVALID_REQUEST, "MemberEpoch is invalid.")


def check_assignor(call: ConsumerHeartbeatCall, served: tuple[str, ...]) -> None:
    """Raises:
    ApiError: UNSUPPORTED_ASSIGNOR.
    """
    if call.server_assignor is not None and call.server_assignor not in served:
        raise ApiError(
            ErrorCode.UNSUPPORTED_ASSIGNOR,
            f"ServerAssignor {call.server_assignor} is not supported. "
            f"Supported assignors: {', '.join(served)}.",
        )


def _refuse_empty(value: str | None, name: str) -> None:
    if value is not None and not value.strip():
        raise ApiError(ErrorCode.INVALID_REQUEST, f"{name} can't be empty.")


def _check_join(call: ConsumerHeartbeatCall) -> None:
    if call.rebalance_timeout_ms == NO_TIMEOUT:
        raise ApiError(ErrorCode.INVALID_REQUEST, "RebalanceTimeoutMs must be provided in first request.")
    if call.owned is None or call.owned:
        raise ApiError(ErrorCode.INVALID_REQUEST, "TopicPartitions must be empty when (re-)joining.")
    if call.topic_names is None and call.topic_regex is None:
        raise ApiError(
            ErrorCode.INVALID_REQUEST,
            "Either SubscribedTopicNames or SubscribedTopicRegex must be non-null when (re-)joining.",
        )


# -- living ------------------------------------------------------------------------------------------


def heartbeat(draft: Draft, call: ConsumerHeartbeatCall, effects: Effects) -> ConsumerHeartbeatReply:
    """A member joins, or tells that it lives, or that it has done what it was told.

    Raises:
        ApiError: the member is refused or fenced; nothing of the draft is to be kept.
    """
    check_room(draft, call.member_id)
    member_id = call.member_id or draft.setting.unique_text()
    before = _find_member(draft, call, member_id)
    regex_before = before.profile.topic_regex
    profile = _updated(before.profile, call)
    if profile.topic_regex and profile.topic_regex != regex_before:
        draft.setting.regexes.check(profile.topic_regex)
    changed = _tell_profile(draft, before, profile)
    draft.follow_metadata(subscription_changed=changed)
    draft.update_targets()
    member = draft.group.members[member_id]
    after = reconcile(draft, member, reported=call.owned, subscription_changed=changed)
    timeouts = draft.setting.rules.consumer.timeouts(draft.image, call.group_id)
    timers = draft.timers_of(member_id, effects)
    timers.start_timer(draft.group.timer("member", member_id), timeouts.session_timeout_ms)
    tells_all = call.member_epoch == JOIN_EPOCH or call.is_full
    tells = tells_all or after.assigned != before.current.assigned
    return ConsumerHeartbeatReply(
        member_id=member_id,
        member_epoch=after.epoch,
        heartbeat_interval_ms=timeouts.heartbeat_interval_ms,
        assignment=frozenset(after.assigned) if tells else None,
    )


def _find_member(draft: Draft, call: ConsumerHeartbeatCall, member_id: str) -> ConsumerMember:
    """The member as it was, or a new one, or a static one under its new id."""
    group, joins = draft.group, call.member_epoch == JOIN_EPOCH
    if call.instance_id is None:
        known = group.members.get(member_id)
        if known is None and not joins:
            raise unknown_member(group, member_id)
        member = known or ConsumerMember(member_id)
        check_epoch(member.current, call.member_epoch, call.owned)
        return member
    static = group.static_member(call.instance_id)
    if not joins:
        member = check_instance(group, static, call.instance_id, member_id)
        check_epoch(member.current, call.member_epoch, call.owned)
        return member
    if static is None:
        return group.members.get(member_id) or ConsumerMember(member_id)
    if not static.is_classic and static.current.epoch != LEAVE_STATIC_EPOCH:
        raise ApiError(
            ErrorCode.UNRELEASED_INSTANCE_ID,
            f"Static member {member_id} with instance id {call.instance_id} cannot join the group "
            f"because the instance id is owned by {static.member_id} member.",
        )
    return replace_static(draft, static, member_id)


def _updated(profile: Profile, call: ConsumerHeartbeatCall) -> Profile:
    """What is None in the call has not changed."""
    return replace(
        profile,
        instance_id=profile.instance_id if call.instance_id is None else call.instance_id,
        rack_id=profile.rack_id if call.rack_id is None else call.rack_id,
        rebalance_timeout_ms=(
            profile.rebalance_timeout_ms
            if call.rebalance_timeout_ms == NO_TIMEOUT
            else call.rebalance_timeout_ms
        ),
        topic_names=profile.topic_names if call.topic_names is None else call.topic_names,
        topic_regex=profile.topic_regex if call.topic_regex is None else call.topic_regex,
        server_assignor=profile.server_assignor if call.server_assignor is None else call.server_assignor,
        client_id=call.client_id,
        client_host=call.client_host,
        classic=None,
    )


def _tell_profile(draft: Draft, before: ConsumerMember, profile: Profile) -> bool:
    """Whether the member subscribes to something else than before."""
    member_id, former = before.member_id, before.profile
    if profile != former or member_id not in draft.group.members:
        draft.emit(ProfileChanged(member_id, profile))
    return (profile.topic_names, profile.topic_regex) != (former.topic_names, former.topic_regex)


# -- leaving -----------------------------------------------------------------------------------------


def leaving_member(draft: Draft, call: ConsumerHeartbeatCall) -> ConsumerMember:
    """Who leaves.

    Raises:
        ApiError: UNKNOWN_MEMBER_ID or FENCED_INSTANCE_ID.
    """
    group = draft.group
    if call.instance_id is not None:
        return check_instance(group, group.static_member(call.instance_id), call.instance_id, call.member_id)
    member = group.members.get(call.member_id)
    if member is None:
        raise unknown_member(group, call.member_id)
    return member


def leave_for_a_while(draft: Draft, member: ConsumerMember) -> None:
    """A static member goes, and keeps its place and its partitions until its session ends. Whoever comes back
    in its place may commit for them from epoch 0 on."""
    current = member.current
    gone = replace(
        current, epoch=LEAVE_STATIC_EPOCH, assigned=dict.fromkeys(current.assigned, 0), revoking={}
    )
    draft.emit(CurrentChanged(member.member_id, gone))
