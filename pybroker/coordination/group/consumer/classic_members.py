"""Members of the classic protocol in a consumer group: to them its epochs look like generations, and the
coordinator like a leader that assigns."""

from collections.abc import Sequence

from msgspec.structs import replace

from pybroker.coordination.effects import Effects
from pybroker.coordination.group.calls import UNKNOWN_MEMBER, HeartbeatCall, JoinCall, LeavingMember, SyncCall
from pybroker.coordination.group.consumer.changes import ProfileChanged
from pybroker.coordination.group.consumer.draft import Draft
from pybroker.coordination.group.consumer.group import CONSUMER, ConsumerGroup
from pybroker.coordination.group.consumer.membership import check_instance, replace_static, unknown_member
from pybroker.coordination.group.consumer.state import (
    ClassicProfile,
    ConsumerMember,
    MemberState,
    Profile,
    TopicIdPartition,
)
from pybroker.coordination.group.subscriptions import Subscription
from pybroker.metadata.image import ClusterImage
from pybroker.model.errors import ApiError, ErrorCode
from pybroker.model.values import Value


def supports(group: ConsumerGroup, call: JoinCall) -> bool:
    """Whether somebody with these protocols can be a member: with one in common with all classic members."""
    if call.protocol_type != CONSUMER or not call.protocols:
        return False
    common: set[str] | None = None
    for member in group.members.values():
        if member.profile.classic is not None:
            names = {name for name, _ in member.profile.classic.protocols}
            common = names if common is None else common & names
    return common is None or any(name in common for name, _ in call.protocols)


def find_joining(draft: Draft, call: JoinCall, member_id: str) -> ConsumerMember:
    """The member that joins as it was, a new one, or a static one under its new id.

    Raises:
        ApiError: UNKNOWN_MEMBER_ID or FENCED_INSTANCE_ID.
    """
    group = draft.group
    if call.instance_id is None:
        return group.members.get(member_id) or ConsumerMember(member_id)
    static = group.static_member(call.instance_id)
    if call.member_id != UNKNOWN_MEMBER:
        return check_instance(group, static, call.instance_id, member_id)
    if static is None:
        return ConsumerMember(member_id)
    return replace_static(draft, static, member_id)


def joined_profile(former: Profile, call: JoinCall, subscription: Subscription) -> Profile:
    """What a JoinGroup says of a member; it cannot subscribe by regular expression."""
    return replace(
        former,
        instance_id=former.instance_id if call.instance_id is None else call.instance_id,
        rack_id=subscription.rack_id or former.rack_id,
        rebalance_timeout_ms=call.rebalance_timeout_ms,
        topic_names=subscription.topics,
        topic_regex="",
        client_id=call.client_id,
        client_host=call.client_host,
        classic=ClassicProfile(call.session_timeout_ms, call.protocols),
    )


def tell_profile(draft: Draft, member: ConsumerMember, profile: Profile) -> bool:
    """Whether the member subscribes to something else than before."""
    former = member.profile
    if profile != former or member.member_id not in draft.group.members:
        draft.emit(ProfileChanged(member.member_id, profile))
    return (profile.topic_names, profile.topic_regex) != (former.topic_names, former.topic_regex)


def owned_partitions(subscription: Subscription, image: ClusterImage) -> frozenset[TopicIdPartition]:
    """The partitions that a member says it still has, as far as their topics exist."""
    return frozenset(
        TopicIdPartition(image.topics[tp.topic].topic_id, tp.partition)
        for tp in subscription.owned
        if tp.topic in image.topics
    )


def find_member(group: ConsumerGroup, member_id: str, instance_id: str | None) -> ConsumerMember:
    """Raises:
    ApiError: UNKNOWN_MEMBER_ID or FENCED_INSTANCE_ID.
    """
    if instance_id is not None:
        return check_instance(group, group.static_member(instance_id), instance_id, member_id)
    member = group.members.get(member_id)
    if member is None:
        raise unknown_member(group, member_id)
    return member


def find_classic(group: ConsumerGroup, call: HeartbeatCall | SyncCall) -> ConsumerMember:
    """The classic member that speaks, in its present generation.

    Raises:
        ApiError: UNKNOWN_MEMBER_ID, FENCED_INSTANCE_ID or ILLEGAL_GENERATION.
    """
    member = find_member(group, call.member_id, call.instance_id)
    if not member.is_classic:
        raise ApiError(
            ErrorCode.UNKNOWN_MEMBER_ID, f"Member {call.member_id} does not use the classic protocol."
        )
    if member.current.epoch != call.generation:
        raise ApiError(ErrorCode.ILLEGAL_GENERATION)
    return member


def heartbeat(group: ConsumerGroup, call: HeartbeatCall, effects: Effects) -> ErrorCode:
    """REBALANCE_IN_PROGRESS tells a member to join again, which is how it takes its next step.

    Raises:
        ApiError: see :func:`find_classic`.
    """
    member = find_classic(group, call)
    renew_session(group, member, effects)
    current = member.current
    should_join = (
        current.epoch < group.target_epoch
        or current.state is MemberState.UNREVOKED_PARTITIONS
        or (current.state is MemberState.UNRELEASED_PARTITIONS and not group.awaits_others(member))
    )
    return ErrorCode.REBALANCE_IN_PROGRESS if should_join else ErrorCode.NONE


def check_sync(group: ConsumerGroup, member: ConsumerMember, call: SyncCall) -> None:
    """Raises:
    ApiError: INCONSISTENT_GROUP_PROTOCOL or REBALANCE_IN_PROGRESS.
    """
    assert member.profile.classic is not None
    name = member.profile.classic.protocols[0][0]
    if call.protocol_type not in (None, CONSUMER) or call.protocol_name not in (None, name):
        raise ApiError(ErrorCode.INCONSISTENT_GROUP_PROTOCOL)
    current = member.current
    if group.target_epoch > current.epoch and current.state is not MemberState.UNREVOKED_PARTITIONS:
        raise ApiError(ErrorCode.REBALANCE_IN_PROGRESS)


def renew_session(group: ConsumerGroup, member: ConsumerMember, effects: Effects) -> None:
    """A classic member lives; it chose its session time-out itself."""
    assert member.profile.classic is not None
    effects.start_timer(group.timer("member", member.member_id), member.profile.classic.session_timeout_ms)


class Leaving(Value):
    """The members of a LeaveGroup that can go, and the answer for each that was named."""

    members: tuple[ConsumerMember, ...]
    codes: tuple[ErrorCode, ...]


def find_leaving(group: ConsumerGroup, leaving: Sequence[LeavingMember]) -> Leaving:
    """An administrator knows only the instance id, and names no member."""
    members: dict[str, ConsumerMember] = {}
    codes = []
    for one in leaving:
        try:
            member_id = one.member_id
            if one.instance_id is not None and member_id == UNKNOWN_MEMBER:
                static = group.static_member(one.instance_id)
                member_id = "" if static is None else static.member_id
            member = find_member(group, member_id, one.instance_id)
        except ApiError as error:
            codes.append(error.code)
        else:
            members[member.member_id] = member
            codes.append(ErrorCode.NONE)
    return Leaving(tuple(members.values()), tuple(codes))
