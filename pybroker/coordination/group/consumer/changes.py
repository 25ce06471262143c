"""What happens to a consumer group, one change for one record of ``__consumer_offsets``, as Kafka 4.3 writes
them. ``None`` in place of a value is a tombstone."""

from collections.abc import Iterable, Sequence
from typing import TypeAlias, TypeVar

from pybroker.coordination.effects import CoordinatorRecord
from pybroker.coordination.group.consumer.state import (
    Assignment,
    ClassicProfile,
    Current,
    MemberState,
    OwnedPartitions,
    Profile,
    ResolvedRegex,
    TopicIdPartition,
)
from pybroker.coordination.group.wire import PREFIX_BYTES, UnreadableRecord, kind_of, with_kind
from pybroker.model.ids import TopicId
from pybroker.model.values import Value
from pybroker.protocol.codec import decode, encode
from pybroker.protocol.errors import MalformedMessage
from pybroker.protocol.message_classes import Message
from pybroker.protocol.messages import (
    ConsumerGroupCurrentMemberAssignmentKey,
    ConsumerGroupCurrentMemberAssignmentValue,
    ConsumerGroupMemberMetadataKey,
    ConsumerGroupMemberMetadataValue,
    ConsumerGroupMetadataKey,
    ConsumerGroupMetadataValue,
    ConsumerGroupPartitionMetadataKey,
    ConsumerGroupRegularExpressionKey,
    ConsumerGroupRegularExpressionValue,
    ConsumerGroupTargetAssignmentMemberKey,
    ConsumerGroupTargetAssignmentMemberValue,
    ConsumerGroupTargetAssignmentMetadataKey,
    ConsumerGroupTargetAssignmentMetadataValue,
)

_GROUP_EPOCH = 3
_PARTITION_METADATA = 4
_PROFILE = 5
_TARGET_EPOCH = 6
_TARGET = 7
_CURRENT = 8
_REGEX = 16
_VALUE_VERSION = 0

M = TypeVar("M", bound=Message)


class GroupEpochChanged(Value):
    """The group's epoch, and the hash of the metadata of its topics. None ends the group."""

    epoch: int | None
    metadata_hash: int = 0


class PartitionMetadataSeen(Value):
    """The topics' metadata as Kafka kept them before 4.1; only whether there is such a record matters."""

    is_there: bool


class ProfileChanged(Value):
    member_id: str
    profile: Profile | None


class TargetEpochChanged(Value):
    """The epoch for which the assignment was reckoned, and when."""

    epoch: int | None
    timestamp_ms: int = 0


class TargetChanged(Value):
    member_id: str
    assignment: Assignment | None


class CurrentChanged(Value):
    member_id: str
    current: Current | None


class RegexChanged(Value):
    regex: str
    resolved: ResolvedRegex | None


Change: TypeAlias = (
    GroupEpochChanged
    | PartitionMetadataSeen
    | ProfileChanged
    | TargetEpochChanged
    | TargetChanged
    | CurrentChanged
    | RegexChanged
)

KINDS = frozenset((_GROUP_EPOCH, _PARTITION_METADATA, _PROFILE, _TARGET_EPOCH, _TARGET, _CURRENT, _REGEX))
"""The record types that are read here."""


# -- writing -----------------------------------------------------------------------------------------


def record(group_id: str, change: Change) -> CoordinatorRecord:
    """The record of one change."""
    key, kind, value = _parts(group_id, change)
    return (
        with_kind(kind, encode(key, kind)),
        None if value is None else with_kind(_VALUE_VERSION, encode(value, _VALUE_VERSION)),
    )


def _parts(group_id: str, change: Change) -> tuple[Message, int, Message | None]:
    """Key, record type and value; no value is a tombstone."""
    match change:
        case GroupEpochChanged(epoch, metadata_hash):
            value: Message | None = None
            if epoch is not None:
                value = ConsumerGroupMetadataValue(epoch=epoch, metadata_hash=metadata_hash)
            return ConsumerGroupMetadataKey(group_id=group_id), _GROUP_EPOCH, value
        case PartitionMetadataSeen():
            return ConsumerGroupPartitionMetadataKey(group_id=group_id), _PARTITION_METADATA, None
        case ProfileChanged(member_id, profile):
            return (
                ConsumerGroupMemberMetadataKey(group_id=group_id, member_id=member_id),
                _PROFILE,
                None if profile is None else _profile_value(profile),
            )
        case TargetEpochChanged(epoch, timestamp_ms):
            value = None
            if epoch is not None:
                value = ConsumerGroupTargetAssignmentMetadataValue(
                    assignment_epoch=epoch, assignment_timestamp=timestamp_ms
                )
            return ConsumerGroupTargetAssignmentMetadataKey(group_id=group_id), _TARGET_EPOCH, value
        case TargetChanged(member_id, assignment):
            return (
                ConsumerGroupTargetAssignmentMemberKey(group_id=group_id, member_id=member_id),
                _TARGET,
                None if assignment is None else _target_value(assignment),
            )
        case CurrentChanged(member_id, current):
            return (
                ConsumerGroupCurrentMemberAssignmentKey(group_id=group_id, member_id=member_id),
                _CURRENT,
                None if current is None else _current_value(current),
            )
        case RegexChanged(regex, resolved):
            return (
                ConsumerGroupRegularExpressionKey(group_id=group_id, regular_expression=regex),
                _REGEX,
                None if resolved is None else _regex_value(resolved),
            )


def _profile_value(profile: Profile) -> ConsumerGroupMemberMetadataValue:
    classic = None
    if profile.classic is not None:
        classic = ConsumerGroupMemberMetadataValue.ClassicMemberMetadata(
            session_timeout_ms=profile.classic.session_timeout_ms,
            supported_protocols=[
                ConsumerGroupMemberMetadataValue.ClassicProtocol(name=name, metadata=metadata)
                for name, metadata in profile.classic.protocols
            ],
        )
    return ConsumerGroupMemberMetadataValue(
        instance_id=profile.instance_id,
        rack_id=profile.rack_id,
        client_id=profile.client_id,
        client_host=profile.client_host,
        subscribed_topic_names=sorted(profile.topic_names),
        subscribed_topic_regex=profile.topic_regex,
        rebalance_timeout_ms=profile.rebalance_timeout_ms,
        server_assignor=profile.server_assignor,
        classic_member_metadata=classic,
    )


def _target_value(assignment: Assignment) -> ConsumerGroupTargetAssignmentMemberValue:
    return ConsumerGroupTargetAssignmentMemberValue(
        topic_partitions=[
            ConsumerGroupTargetAssignmentMemberValue.TopicPartition(topic_id=topic_id, partitions=partitions)
            for topic_id, partitions in by_topic(assignment).items()
        ]
    )


def _current_value(current: Current) -> ConsumerGroupCurrentMemberAssignmentValue:
    return ConsumerGroupCurrentMemberAssignmentValue(
        member_epoch=current.epoch,
        previous_member_epoch=current.previous_epoch,
        state=current.state,
        assigned_partitions=_owned_topics(current.assigned),
        partitions_pending_revocation=_owned_topics(current.revoking),
    )


def _owned_topics(
    owned: OwnedPartitions,
) -> list[ConsumerGroupCurrentMemberAssignmentValue.TopicPartitions]:
    return [
        ConsumerGroupCurrentMemberAssignmentValue.TopicPartitions(
            topic_id=topic_id,
            partitions=partitions,
            assignment_epochs=[owned[TopicIdPartition(topic_id, partition)] for partition in partitions],
        )
        for topic_id, partitions in by_topic(owned).items()
    ]


def _regex_value(resolved: ResolvedRegex) -> ConsumerGroupRegularExpressionValue:
    return ConsumerGroupRegularExpressionValue(
        topics=sorted(resolved.topics), version=resolved.version, timestamp=resolved.timestamp_ms
    )


def by_topic(partitions: Iterable[TopicIdPartition]) -> dict[TopicId, list[int]]:
    """Partition numbers by topic, both in ascending order."""
    found: dict[TopicId, list[int]] = {}
    for topic_id, partition in sorted(partitions):
        found.setdefault(topic_id, []).append(partition)
    return found


# -- reading -----------------------------------------------------------------------------------------


def read_change(key: bytes, value: bytes | None) -> tuple[str, Change]:
    """The group and what happened to it. The record type must be one of :data:`KINDS`.

    Raises:
        UnreadableRecord: key or value are something else.
    """
    try:
        return _read(kind_of(key), key, value)
    except MalformedMessage as error:
        raise UnreadableRecord(str(error)) from error


def _read(kind: int, key: bytes, value: bytes | None) -> tuple[str, Change]:
    match kind:
        case 3:
            group = _read_key(ConsumerGroupMetadataKey, key)
            epoch = _read_value(ConsumerGroupMetadataValue, value)
            if epoch is None:
                return group.group_id, GroupEpochChanged(None)
            return group.group_id, GroupEpochChanged(epoch.epoch, epoch.metadata_hash)
        case 4:
            return (
                _read_key(ConsumerGroupPartitionMetadataKey, key).group_id,
                PartitionMetadataSeen(value is not None),
            )
        case 5:
            member = _read_key(ConsumerGroupMemberMetadataKey, key)
            profile = _read_value(ConsumerGroupMemberMetadataValue, value)
            return member.group_id, ProfileChanged(
                member.member_id, None if profile is None else _read_profile(profile)
            )
        case 6:
            of_group = _read_key(ConsumerGroupTargetAssignmentMetadataKey, key)
            target_epoch = _read_value(ConsumerGroupTargetAssignmentMetadataValue, value)
            if target_epoch is None:
                return of_group.group_id, TargetEpochChanged(None)
            return of_group.group_id, TargetEpochChanged(
                target_epoch.assignment_epoch, target_epoch.assignment_timestamp
            )
        case 7:
            assignee = _read_key(ConsumerGroupTargetAssignmentMemberKey, key)
            target = _read_value(ConsumerGroupTargetAssignmentMemberValue, value)
            return assignee.group_id, TargetChanged(
                assignee.member_id, None if target is None else _read_target(target)
            )
        case 8:
            owner = _read_key(ConsumerGroupCurrentMemberAssignmentKey, key)
            current = _read_value(ConsumerGroupCurrentMemberAssignmentValue, value)
            return owner.group_id, CurrentChanged(
                owner.member_id, None if current is None else _read_current(current)
            )
        case 16:
            regex = _read_key(ConsumerGroupRegularExpressionKey, key)
            found = _read_value(ConsumerGroupRegularExpressionValue, value)
            resolved = None
            if found is not None:
                resolved = ResolvedRegex(frozenset(found.topics), found.version, found.timestamp)
            return regex.group_id, RegexChanged(regex.regular_expression, resolved)
    raise UnreadableRecord(f"a record of type {kind} does not belong to a consumer group")


def _read_key(message: type[M], key: bytes) -> M:
    return decode(message, kind_of(key), key, PREFIX_BYTES)[0]


def _read_value(message: type[M], value: bytes | None) -> M | None:
    """A value; None for a tombstone. Later versions begin like version 0, with tags that are skipped."""
    if value is None:
        return None
    version = kind_of(value)
    if version != _VALUE_VERSION:
        raise UnreadableRecord(f"{message.__name__} of version {version}")
    return decode(message, version, value, PREFIX_BYTES)[0]


def _read_profile(read: ConsumerGroupMemberMetadataValue) -> Profile:
    classic = None
    if read.classic_member_metadata is not None:
        classic = ClassicProfile(
            read.classic_member_metadata.session_timeout_ms,
            tuple(
                (one.name, bytes(one.metadata)) for one in read.classic_member_metadata.supported_protocols
            ),
        )
    return Profile(
        instance_id=read.instance_id,
        rack_id=read.rack_id,
        rebalance_timeout_ms=read.rebalance_timeout_ms,
        client_id=read.client_id,
        client_host=read.client_host,
        topic_names=frozenset(read.subscribed_topic_names),
        topic_regex=read.subscribed_topic_regex or "",
        server_assignor=read.server_assignor,
        classic=classic,
    )


def _read_target(read: ConsumerGroupTargetAssignmentMemberValue) -> Assignment:
    return frozenset(
        TopicIdPartition(bytes(topic.topic_id), partition)
        for topic in read.topic_partitions
        for partition in topic.partitions
    )


def _read_current(read: ConsumerGroupCurrentMemberAssignmentValue) -> Current:
    states = {int(state): state for state in MemberState}
    return Current(
        epoch=read.member_epoch,
        previous_epoch=read.previous_member_epoch,
        state=states.get(read.state, MemberState.UNKNOWN),
        assigned=_read_owned(read.assigned_partitions, read.member_epoch),
        revoking=_read_owned(read.partitions_pending_revocation, read.member_epoch),
    )


def _read_owned(
    topics: Sequence[ConsumerGroupCurrentMemberAssignmentValue.TopicPartitions], member_epoch: int
) -> OwnedPartitions:
    """Records of Kafka before 4.3 have no epochs of the single partitions: that of the member stands in."""
    owned: dict[TopicIdPartition, int] = {}
    for topic in topics:
        epochs = topic.assignment_epochs
        if epochs is None or len(epochs) != len(topic.partitions):
            epochs = [max(member_epoch, 0)] * len(topic.partitions)
        for partition, epoch in zip(topic.partitions, epochs, strict=True):
            owned[TopicIdPartition(bytes(topic.topic_id), partition)] = epoch
    return owned
