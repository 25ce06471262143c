"""Groups that change their protocol while they have members (``group.consumer.migration.policy``)."""

import logging
from collections.abc import Iterable, Mapping

from pybroker.coordination.effects import CoordinatorRecord
from pybroker.coordination.group.consumer.changes import (
    CurrentChanged,
    GroupEpochChanged,
    PartitionMetadataSeen,
    ProfileChanged,
    RegexChanged,
    TargetChanged,
    TargetEpochChanged,
    record,
)
from pybroker.coordination.group.consumer.draft import Draft, Setting
from pybroker.coordination.group.consumer.group import CONSUMER, ConsumerGroup
from pybroker.coordination.group.consumer.rules import ConsumerRules
from pybroker.coordination.group.consumer.state import (
    Assignment,
    ClassicProfile,
    ConsumerMember,
    Current,
    Profile,
    TopicIdPartition,
)
from pybroker.coordination.group.consumer.topics import metadata_hash
from pybroker.coordination.group.group import ClassicGroup
from pybroker.coordination.group.member import Member
from pybroker.coordination.group.records import group_key, group_value
from pybroker.coordination.group.rules import GroupRules
from pybroker.coordination.group.states import EMPTY, STABLE
from pybroker.coordination.group.subscriptions import (
    MalformedBlob,
    read_assignment,
    read_subscription,
    write_assignment,
)
from pybroker.metadata.image import ClusterImage
from pybroker.model.errors import ApiError, ErrorCode
from pybroker.model.ids import TopicPartition

logger = logging.getLogger(__name__)


# -- from classic to consumer ------------------------------------------------------------------------


def take_over(classic: ClassicGroup, setting: Setting, now_ms: int) -> Draft:
    """A classic group as a consumer group with the same members and offsets, before anything else happens.

    Raises:
        ApiError: GROUP_ID_NOT_FOUND, which is what Kafka says when a group cannot be taken over.
    """
    group = ConsumerGroup(classic.group_id, classic.offsets)
    gone: list[CoordinatorRecord] = []
    if classic.generation > 0 or classic.state is not EMPTY:
        gone.append((group_key(classic.group_id), None))
    if classic.state is EMPTY:
        return Draft(group, setting, now_ms, before=gone, is_new=True)
    _check_upgrade(classic, setting.rules.consumer)
    draft = Draft(group, setting, now_ms, before=gone, is_new=True)
    try:
        members = [_upgraded(classic, member, draft.image) for member in classic.members.values()]
    except MalformedBlob as error:
        raise _cannot_upgrade(classic, "because the embedded consumer protocol is malformed") from error
    generation = classic.generation
    for member in members:
        draft.emit(ProfileChanged(member.member_id, member.profile))
    topics = frozenset().union(*(member.profile.topic_names for member in members))
    # Amid a rebalance no assignment is in force; one that the log tells of may be what was left when members
    # went. That no topic counts as seen makes what comes now begin an epoch, also the successor of a static
    # member, who changes nothing else.
    is_assigned = classic.state is STABLE and _covers(members, topics, draft.image)
    seen = metadata_hash(draft.image, topics) if is_assigned else 0
    draft.emit(GroupEpochChanged(generation, seen))
    for member in members:
        draft.emit(TargetChanged(member.member_id, frozenset(member.current.assigned)))
    draft.emit(TargetEpochChanged(generation))
    for member in members:
        draft.emit(CurrentChanged(member.member_id, member.current))
    logger.info("group %s goes on as a consumer group, from epoch %d", classic.group_id, generation)
    return draft


def _covers(members: Iterable[ConsumerMember], topics: Iterable[str], image: ClusterImage) -> bool:
    """Whether the members have all partitions of the topics."""
    owned = {partition for member in members for partition in member.current.assigned}
    return all(
        TopicIdPartition(image.topics[topic].topic_id, index) in owned
        for topic in topics
        if topic in image.topics
        for index in image.topics[topic].partitions
    )


def _check_upgrade(classic: ClassicGroup, rules: ConsumerRules) -> None:
    if not rules.migration.may_upgrade:
        raise _cannot_upgrade(classic, "because online upgrade is disabled")
    if not classic.is_consumer_group:
        raise _cannot_upgrade(classic, "because the group does not use the consumer embedded protocol")
    if len(classic.members) > rules.max_size:
        raise _cannot_upgrade(classic, "because the group size exceeds the consumer group maximum size")


def _cannot_upgrade(classic: ClassicGroup, reason: str) -> ApiError:
    sentence = f"Cannot upgrade classic group {classic.group_id} to consumer group {reason}."
    logger.info(sentence)
    return ApiError(ErrorCode.GROUP_ID_NOT_FOUND, sentence)


def _upgraded(classic: ClassicGroup, member: Member, image: ClusterImage) -> ConsumerMember:
    """A member with what the leader assigned to it last; the coming rebalance goes on from there.

    What an assignor has left in an assignment beside the partitions would be lost: such a group is refused
    (``ConsumerGroup.fromClassicGroup``). librdkafka's ``cooperative-sticky`` leaves something there, Java's
    nothing.

    Raises:
        ApiError: as :func:`take_over`.
        MalformedBlob: it is not a consumer after all.
    """
    assignment = read_assignment(member.assignment)
    if assignment.user_data:
        raise _cannot_upgrade(
            classic,
            "because an unsupported custom assignor is in use. Please refer to the documentation or switch "
            "to a default assignor before re-attempting the upgrade",
        )
    protocol = classic.protocol_name
    metadata = member.protocols[0][1] if protocol is None else member.metadata(protocol)
    subscription = read_subscription(metadata)
    return ConsumerMember(
        member.member_id,
        Profile(
            instance_id=member.instance_id,
            rack_id=subscription.rack_id,
            rebalance_timeout_ms=member.rebalance_timeout_ms,
            client_id=member.client_id,
            client_host=member.client_host,
            topic_names=subscription.topics,
            classic=ClassicProfile(member.session_timeout_ms, member.protocols),
        ),
        Current(
            classic.generation,
            classic.generation,
            assigned=dict.fromkeys(with_ids(assignment.partitions, image), classic.generation),
        ),
    )


def with_ids(partitions: Iterable[TopicPartition], image: ClusterImage) -> Assignment:
    """Partitions by the ids of their topics; those of topics that do not exist are left out."""
    topics = image.topics
    return frozenset(
        TopicIdPartition(topics[topic].topic_id, index) for topic, index in partitions if topic in topics
    )


def with_names(partitions: Iterable[TopicIdPartition], image: ClusterImage) -> frozenset[TopicPartition]:
    """Partitions by the names of their topics; those of topics that do not exist are left out."""
    names = image.topic_names_by_id
    return frozenset(
        TopicPartition(names[topic_id], index) for topic_id, index in partitions if topic_id in names
    )


# -- from consumer to classic ------------------------------------------------------------------------


def may_downgrade(group: ConsumerGroup, leaving: Mapping[str, ConsumerMember], rules: GroupRules) -> bool:
    """Whether only classic members are left when some are gone; an empty group stays what it is."""
    left = [member for member_id, member in group.members.items() if member_id not in leaving]
    return bool(left) and all(member.is_classic for member in left) and _is_allowed(len(left), group, rules)


def may_replace(group: ConsumerGroup, static: ConsumerMember, rules: GroupRules) -> bool:
    """Whether only classic members are left when a classic one takes a static member's place."""
    others = (member for member_id, member in group.members.items() if member_id != static.member_id)
    return (
        not static.is_classic
        and all(member.is_classic for member in others)
        and _is_allowed(len(group.members), group, rules)
    )


def _is_allowed(size: int, group: ConsumerGroup, rules: GroupRules) -> bool:
    if not rules.consumer.migration.may_downgrade or size > rules.max_size:
        logger.info("group %s cannot become a classic group", group.group_id)
        return False
    return True


def hand_over(
    group: ConsumerGroup, image: ClusterImage, now_ms: int, *, without: Iterable[str] = ()
) -> ClassicGroup:
    """The classic group that goes on in the place of a consumer group.

    Everybody keeps what it has, even what it was told to give up: it may not have done so yet. All members
    that are not in ``without`` must be classic.
    """
    left_out = frozenset(without)
    classic = ClassicGroup(group.group_id, now_ms, STABLE, group.offsets)
    classic.generation = group.epoch
    classic.protocol_type = CONSUMER
    members = [member for member_id, member in group.members.items() if member_id not in left_out]
    classic.restore(_downgraded(member) for member in members)
    classic.protocol_name = classic.select_protocol()
    classic.note_subscriptions()
    for member in classic.members.values():
        version = read_subscription(member.metadata(classic.protocol_name)).version
        current = group.members[member.member_id].current
        owned = with_names((*current.assigned, *current.revoking), image)
        member.assignment = write_assignment(owned, version)
    logger.info("group %s goes on as a classic group, from generation %d", group.group_id, group.epoch)
    return classic


def records_of_change(former: ConsumerGroup, classic: ClassicGroup) -> list[CoordinatorRecord]:
    """The records that end the consumer group and begin the classic one."""
    assignments = {member.member_id: member.assignment for member in classic.members.values()}
    return [*tombstones(former), (group_key(classic.group_id), group_value(classic, assignments))]


def _downgraded(member: ConsumerMember) -> Member:
    profile = member.profile
    assert profile.classic is not None
    return Member(
        member_id=member.member_id,
        instance_id=profile.instance_id,
        client_id=profile.client_id,
        client_host=profile.client_host,
        rebalance_timeout_ms=profile.rebalance_timeout_ms,
        session_timeout_ms=profile.classic.session_timeout_ms,
        protocol_type=CONSUMER,
        protocols=profile.classic.protocols,
    )


def tombstones(group: ConsumerGroup) -> list[CoordinatorRecord]:
    """The records that end a consumer group."""
    group_id, members = group.group_id, tuple(group.members)
    return [
        *(record(group_id, CurrentChanged(member_id, None)) for member_id in members),
        *(record(group_id, TargetChanged(member_id, None)) for member_id in members),
        record(group_id, TargetEpochChanged(None)),
        *(record(group_id, ProfileChanged(member_id, None)) for member_id in members),
        *(record(group_id, RegexChanged(regex, None)) for regex in group.regexes),
        record(group_id, PartitionMetadataSeen(is_there=False)),
        record(group_id, GroupEpochChanged(None)),
    ]
