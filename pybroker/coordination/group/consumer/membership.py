"""Members of a consumer group: who may speak for whom, how they come to their partitions, how they go."""

import logging
from collections.abc import Collection, Iterable

from msgspec.structs import replace

from pybroker.coordination.group.calls import UNKNOWN_MEMBER
from pybroker.coordination.group.consumer.changes import CurrentChanged, ProfileChanged, TargetChanged
from pybroker.coordination.group.consumer.draft import Draft
from pybroker.coordination.group.consumer.group import TIMEOUTS, ConsumerGroup
from pybroker.coordination.group.consumer.reconciliation import Reconciliation
from pybroker.coordination.group.consumer.state import (
    JOIN_EPOCH,
    ConsumerMember,
    Current,
    MemberState,
    TopicIdPartition,
)
from pybroker.coordination.group.consumer.topics import topic_ids
from pybroker.model.errors import ApiError, ErrorCode

logger = logging.getLogger(__name__)


# -- refusing ----------------------------------------------------------------------------------------


def unknown_member(group: ConsumerGroup, member_id: str) -> ApiError:
    return ApiError(
        ErrorCode.UNKNOWN_MEMBER_ID, f"Member {member_id} is not a member of group {group.group_id}."
    )


def check_room(draft: Draft, member_id: str) -> None:
    """Raises:
    ApiError: GROUP_MAX_SIZE_REACHED, of somebody who is not a member yet.
    """
    group, most = draft.group, draft.setting.rules.consumer.max_size
    if len(group.members) >= most and (member_id == UNKNOWN_MEMBER or member_id not in group.members):
        raise ApiError(
            ErrorCode.GROUP_MAX_SIZE_REACHED,
            f"The consumer group has reached its maximum capacity of {most} members.",
        )


def check_epoch(current: Current, received: int, owned: Collection[TopicIdPartition] | None) -> None:
    """The previous epoch passes when the answer with the present one may have been lost.

    Raises:
        ApiError: FENCED_MEMBER_EPOCH.
    """
    if received in (JOIN_EPOCH, current.epoch):
        return
    if received > current.epoch:
        raise _fenced("greater", received, current.epoch)
    has_nothing_else = owned is not None and all(tp in current.assigned for tp in owned)
    if received != current.previous_epoch or not has_nothing_else:
        raise _fenced("smaller", received, current.epoch)


def _fenced(relation: str, received: int, known: int) -> ApiError:
    return ApiError(
        ErrorCode.FENCED_MEMBER_EPOCH,
        f"The consumer group member has a {relation} member epoch ({received}) than the one known by the "
        f"group coordinator ({known}). The member must abandon all its partitions and rejoin.",
    )


def check_instance(
    group: ConsumerGroup, static: ConsumerMember | None, instance_id: str, member_id: str
) -> ConsumerMember:
    """The static member, if it is this very one.

    Raises:
        ApiError: UNKNOWN_MEMBER_ID or FENCED_INSTANCE_ID.
    """
    if static is None:
        raise ApiError(ErrorCode.UNKNOWN_MEMBER_ID, f"Instance id {instance_id} is unknown.")
    if static.member_id != member_id:
        logger.info("group %s: %s is fenced by %s", group.group_id, member_id, static.member_id)
        raise ApiError(
            ErrorCode.FENCED_INSTANCE_ID,
            f"Static member {member_id} with instance id {instance_id} was fenced by member "
            f"{static.member_id}.",
        )
    return static


# -- partitions --------------------------------------------------------------------------------------


def reconcile(
    draft: Draft,
    member: ConsumerMember,
    *,
    reported: Collection[TopicIdPartition] | None,
    subscription_changed: bool,
) -> Current:
    """Take a member one step further to what it should have; returns what it has then.

    Raises:
        ApiError: FENCED_MEMBER_EPOCH.
    """
    group, current, member_id = draft.group, member.current, member.member_id
    if not subscription_changed and current.is_reconciled_to(group.target_epoch):
        return current
    after = Reconciliation(
        target_epoch=group.target_epoch,
        target=group.target(member_id),
        subscribed=topic_ids(draft.image, group.topics_of(member.profile)),
        subscription_changed=subscription_changed,
        reported=reported,
        is_owned=group.owners.__contains__,
    ).step(current)
    if after == current:
        return current
    draft.emit(CurrentChanged(member_id, after))
    if not member.is_classic:
        timer = group.timer("revoke", member_id)
        if after.state is MemberState.UNREVOKED_PARTITIONS:
            draft.timers.start_timer(timer, member.profile.rebalance_timeout_ms)
        else:
            draft.timers.stop_timer(timer)
    return after


# -- coming and going --------------------------------------------------------------------------------


def replace_static(draft: Draft, former: ConsumerMember, new_id: str) -> ConsumerMember:
    """A static member is back under a new id: it takes over the place and the partitions."""
    target = draft.group.target(former.member_id)
    member = ConsumerMember(
        new_id, former.profile, replace(former.current, epoch=JOIN_EPOCH, previous_epoch=JOIN_EPOCH)
    )
    logger.info(
        "group %s: %s replaces %s as %s",
        draft.group.group_id,
        new_id,
        former.member_id,
        former.profile.instance_id,
    )
    _emit_gone(draft, former.member_id)
    draft.emit(ProfileChanged(new_id, member.profile))
    draft.emit(TargetChanged(new_id, target))
    draft.emit(CurrentChanged(new_id, member.current))
    return member


def remove(draft: Draft, members: Iterable[ConsumerMember]) -> None:
    """Members are gone; the group begins a new epoch."""
    for member in members:
        _emit_gone(draft, member.member_id)
    draft.forget_unused_regexes()
    draft.begin_epoch(always=True)


def _emit_gone(draft: Draft, member_id: str) -> None:
    for timeout in TIMEOUTS:
        draft.timers.stop_timer(draft.group.timer(timeout, member_id))
    draft.emit(CurrentChanged(member_id, None))
    draft.emit(TargetChanged(member_id, None))
    draft.emit(ProfileChanged(member_id, None))
