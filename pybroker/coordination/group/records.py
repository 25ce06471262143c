"""Groups and offsets as records of ``__consumer_offsets``, byte for byte as Kafka 3.9 writes them.

An int16 leads key and value: in the key it is the kind of record, in the value the version.
"""

import struct
from collections.abc import Iterator, Mapping
from functools import cache, partial
from typing import NamedTuple, TypeAlias

from pybroker.coordination.effects import CoordinatorRecord
from pybroker.coordination.group.group import ClassicGroup
from pybroker.coordination.group.member import Member
from pybroker.coordination.group.offsets import CommittedOffset
from pybroker.coordination.group.states import EMPTY, STABLE
from pybroker.coordination.group.wire import PREFIX_BYTES, UnreadableRecord, kind_of, with_kind
from pybroker.model.ids import TopicPartition
from pybroker.protocol.codec import decode, decoder, encode, encoder, import_generators
from pybroker.protocol.errors import MalformedMessage
from pybroker.protocol.messages import (
    GroupMetadataKey,
    GroupMetadataValue,
    OffsetCommitKey,
    OffsetCommitValue,
)

OFFSET_KEY = 1
OFFSET_KEYS = (0, OFFSET_KEY)
GROUP_KEY = 2
OFFSET_VALUE_WITH_EXPIRY = 1
OFFSET_VALUE = 3
GROUP_VALUE = 3
_NO_TIMESTAMP = -1
_PARTITION = struct.Struct(">i")
_OFFSET = struct.Struct(">q")
_OFFSET_END = PREFIX_BYTES + _OFFSET.size
_OFFSET_KEY_PREFIX = with_kind(OFFSET_KEY, b"")
_OFFSET_VALUE_PREFIX = with_kind(OFFSET_VALUE, b"")
_GROUP_KEY_PREFIX = with_kind(GROUP_KEY, b"")


# One million commits are read in one go: even finding the generated function each time would be seen.
_encode_key = cache(partial(encoder, OffsetCommitKey, OFFSET_KEY))
_encode_value = cache(partial(encoder, OffsetCommitValue))
_decode_key = cache(partial(decoder, OffsetCommitKey))
_decode_value = cache(partial(decoder, OffsetCommitValue))


def make_decoders() -> Iterator[None]:
    """Make the decoders of today's committed offsets, in steps of a few milliseconds."""
    yield from import_generators()
    _decode_key(OFFSET_KEY)
    yield
    _decode_value(OFFSET_VALUE)
    yield


class OffsetKey(NamedTuple):
    """The key of a committed offset."""

    group_id: str
    tp: TopicPartition


class GroupKey(NamedTuple):
    """The key of a group."""

    group_id: str


RecordKey: TypeAlias = OffsetKey | GroupKey


def offset_key(group_id: str, tp: TopicPartition) -> bytes:
    return _OFFSET_KEY_PREFIX + _encode_key()(OffsetCommitKey(group=group_id, topic=tp[0], partition=tp[1]))


def offset_value(commit: CommittedOffset) -> bytes:
    """Version 3, or 1 when the commit expires by itself."""
    value = OffsetCommitValue(
        offset=commit.offset,
        leader_epoch=commit.leader_epoch,
        metadata=commit.metadata,
        commit_timestamp=commit.commit_timestamp_ms,
    )
    if commit.expire_timestamp_ms is None:
        return _OFFSET_VALUE_PREFIX + _encode_value(OFFSET_VALUE)(value)
    value.expire_timestamp = commit.expire_timestamp_ms
    return with_kind(OFFSET_VALUE_WITH_EXPIRY, _encode_value(OFFSET_VALUE_WITH_EXPIRY)(value))


def offset_records(
    group_id: str, commits: Mapping[TopicPartition, CommittedOffset]
) -> list[CoordinatorRecord]:
    """A record for each commit of a group, in their order.

    Neighbours have much in common. The partition is the last field of a key, and all before is the same
    throughout a topic; the offset is the first of a value, and most often all behind is the same too.
    """
    records: list[CoordinatorRecord] = []
    topic, key_start = None, b""
    said, version, value_end = None, b"", b""
    for (name, partition), commit in commits.items():
        if name != topic:
            topic = name
            key_start = offset_key(group_id, TopicPartition(topic, 0))[: -_PARTITION.size]
        rest = (
            commit.leader_epoch, commit.metadata, commit.commit_timestamp_ms, commit.expire_timestamp_ms,
        )  # fmt: skip
        if rest != said:
            said = rest
            value = offset_value(commit)
            version, value_end = value[:PREFIX_BYTES], value[_OFFSET_END:]
        records.append(
            (key_start + _PARTITION.pack(partition), version + _OFFSET.pack(commit.offset) + value_end)
        )
    return records


def group_key(group_id: str) -> bytes:
    return _GROUP_KEY_PREFIX + encode(GroupMetadataKey(group=group_id), GROUP_KEY)


def group_value(group: ClassicGroup, assignments: Mapping[str, bytes]) -> bytes:
    """Version 3. Every member must have an assignment, and the group a protocol if it has members."""
    protocol = group.protocol_name
    value = GroupMetadataValue(
        protocol_type=group.protocol_type or "",
        generation=group.generation,
        protocol=protocol,
        leader=group.leader_id,
        current_state_timestamp=_NO_TIMESTAMP if group.state_since_ms is None else group.state_since_ms,
        members=[
            GroupMetadataValue.MemberMetadata(
                member_id=member.member_id,
                group_instance_id=member.instance_id,
                client_id=member.client_id,
                client_host=member.client_host,
                rebalance_timeout=member.rebalance_timeout_ms,
                session_timeout=member.session_timeout_ms,
                subscription=member.metadata(protocol or ""),
                assignment=assignments[member.member_id],
            )
            for member in group.members.values()
        ],
    )
    return with_kind(GROUP_VALUE, encode(value, GROUP_VALUE))


def newest_offset_key(key: bytes) -> bytes:
    """An old key of an offset as it is written today: before Kafka 0.9 its version was 0, with the same
    fields."""
    return _OFFSET_KEY_PREFIX + key[PREFIX_BYTES:]


def read_key(key: bytes | None) -> RecordKey | None:
    """What a record is about; None for kinds that are not the classic coordinator's.

    Raises:
        UnreadableRecord: the key is none at all.
    """
    try:
        kind = kind_of(key)
        assert key is not None
        if kind in OFFSET_KEYS:
            offset, _ = _decode_key(kind)(key, PREFIX_BYTES)
            return OffsetKey(offset.group, TopicPartition(offset.topic, offset.partition))
        if kind == GROUP_KEY:
            return GroupKey(decode(GroupMetadataKey, kind, key, PREFIX_BYTES)[0].group)
    except MalformedMessage as error:
        raise UnreadableRecord(str(error)) from error
    return None


def read_offset_value(value: bytes) -> CommittedOffset:
    """The inverse of :func:`offset_value`, for versions 0 to 4.

    Raises:
        UnreadableRecord: it is something else.
    """
    version = kind_of(value)
    if not 0 <= version <= 4:
        raise UnreadableRecord(f"offset commit of version {version}")
    try:
        read, _ = _decode_value(version)(value, PREFIX_BYTES)
    except MalformedMessage as error:
        raise UnreadableRecord(str(error)) from error
    expiry = read.expire_timestamp
    return CommittedOffset(
        read.offset,
        read.leader_epoch,
        read.metadata,
        read.commit_timestamp,
        None if expiry == _NO_TIMESTAMP else expiry,
    )


def read_group_value(group_id: str, value: bytes, now_ms: int) -> ClassicGroup:
    """The group that a record describes: stable, or empty without members. Versions 0 to 4.

    Raises:
        UnreadableRecord: it is something else.
    """
    version = kind_of(value)
    if not 0 <= version <= 4:
        raise UnreadableRecord(f"group of version {version}")
    try:
        read, _ = decode(GroupMetadataValue, version, value, PREFIX_BYTES)
    except MalformedMessage as error:
        raise UnreadableRecord(str(error)) from error
    group = ClassicGroup(group_id, now_ms, STABLE if read.members else EMPTY)
    since = read.current_state_timestamp
    group.state_since_ms = None if since == _NO_TIMESTAMP else since
    group.generation = read.generation
    group.protocol_type = read.protocol_type or None
    group.protocol_name = read.protocol
    group.leader_id = read.leader
    group.restore(_member(member, read.protocol_type, read.protocol, version) for member in read.members)
    return group


def _member(
    read: GroupMetadataValue.MemberMetadata, protocol_type: str, protocol: str | None, version: int
) -> Member:
    return Member(
        member_id=read.member_id,
        instance_id=read.group_instance_id,
        client_id=read.client_id,
        client_host=read.client_host,
        rebalance_timeout_ms=read.session_timeout if version == 0 else read.rebalance_timeout,
        session_timeout_ms=read.session_timeout,
        protocol_type=protocol_type,
        protocols=((protocol or "", bytes(read.subscription)),),
        assignment=bytes(read.assignment),
    )
