"""Committed offsets of consumer groups: who may commit, who may ask, and when they are forgotten."""

from collections.abc import Collection, Iterable, Sequence

from pybroker.coordination.effects import CoordinatorRecord, Effects
from pybroker.coordination.group.calls import UNKNOWN_MEMBER, CommitCall, MemberEpoch
from pybroker.coordination.group.consumer.group import ConsumerGroup
from pybroker.coordination.group.consumer.migration import tombstones
from pybroker.coordination.group.consumer.state import ConsumerMember, GroupState, TopicIdPartition
from pybroker.coordination.group.offsets import commit_time
from pybroker.coordination.group.records import offset_key
from pybroker.coordination.group.rules import GroupRules
from pybroker.metadata.image import ClusterImage
from pybroker.model.errors import ErrorCode
from pybroker.model.ids import ZERO_TOPIC_ID, TopicPartition


def refuse_commit(group: ConsumerGroup, call: CommitCall, image: ClusterImage) -> ErrorCode:
    """Why a commit is refused as a whole; NONE lets it pass.

    A member may commit with an older epoch for a partition that it has had since then (KIP-1251). In a
    transaction nobody needs to say who commits, and only the classic errors are known.
    """
    is_outsider = call.generation < 0
    names_nobody = is_outsider and call.member_id == UNKNOWN_MEMBER and call.instance_id is None
    if is_outsider and (not group.members or (names_nobody and call.writer is not None)):
        return ErrorCode.NONE
    member = group.members.get(call.member_id)
    if member is None:
        return ErrorCode.UNKNOWN_MEMBER_ID
    if call.writer is None and not member.is_classic and not call.knows_member_epochs:
        return ErrorCode.UNSUPPORTED_VERSION
    epoch = member.current.epoch
    is_late = call.generation < epoch
    if call.generation == epoch or (
        is_late and all(_has_had(member, tp, call.generation, image) for tp in call.offsets)
    ):
        return ErrorCode.NONE
    return _stale(member) if call.writer is None else ErrorCode.ILLEGAL_GENERATION


def _has_had(member: ConsumerMember, tp: TopicPartition, epoch: int, image: ClusterImage) -> bool:
    key = TopicIdPartition(image.topic_id(tp.topic) or ZERO_TOPIC_ID, tp.partition)
    since = member.current.assigned.get(key, member.current.revoking.get(key))
    return since is not None and epoch >= since


def _stale(member: ConsumerMember) -> ErrorCode:
    return ErrorCode.ILLEGAL_GENERATION if member.is_classic else ErrorCode.STALE_MEMBER_EPOCH


def refuse_fetch(group: ConsumerGroup, asking: MemberEpoch) -> ErrorCode:
    """Why somebody may not see the offsets; NONE lets it pass, as it does whoever is no member."""
    if asking.member_id is None and asking.epoch < 0:
        return ErrorCode.NONE
    member = group.members.get(asking.member_id or UNKNOWN_MEMBER)
    if member is None:
        return ErrorCode.UNKNOWN_MEMBER_ID
    return ErrorCode.NONE if asking.epoch == member.current.epoch else _stale(member)


# -- forgetting --------------------------------------------------------------------------------------


def expire(group: ConsumerGroup, rules: GroupRules, effects: Effects) -> int:
    """Forget offsets of topics that nobody subscribes to, after the last commit; returns how many."""
    subscribed: Collection[str] = group.subscribed_topics()
    expired = group.offsets.remove_expired(
        effects.now_ms, rules.offsets_retention_ms, commit_time, subscribed
    )
    forget(group, expired, effects)
    return len(expired)


def forget(group: ConsumerGroup, removed: Iterable[TopicPartition], effects: Effects) -> None:
    """Write tombstones for removed offsets, and for the group itself when nothing of it is left."""
    records: list[CoordinatorRecord] = [(offset_key(group.group_id, tp), None) for tp in removed]
    if group.state is GroupState.EMPTY and not group.offsets:
        records += tombstones(group)
        group.is_deleted = True
    if records:
        effects.append(records)


def delete_group(group: ConsumerGroup, effects: Effects) -> ErrorCode:
    """Forget an empty group with all its offsets."""
    if group.state is not GroupState.EMPTY:
        return ErrorCode.NON_EMPTY_GROUP
    forget(group, group.offsets.remove_all(), effects)
    return ErrorCode.NONE


def delete_offsets(
    group: ConsumerGroup, partitions: Sequence[TopicPartition], effects: Effects
) -> dict[TopicPartition, ErrorCode]:
    """Forget the offsets of partitions that no member reads; one code for each."""
    subscribed = group.subscribed_topics()
    forget(group, group.offsets.remove(tp for tp in partitions if tp.topic not in subscribed), effects)
    return {
        tp: ErrorCode.GROUP_SUBSCRIBED_TO_TOPIC if tp.topic in subscribed else ErrorCode.NONE
        for tp in partitions
    }
