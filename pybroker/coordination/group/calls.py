"""What the handlers ask of a group and what they are told, free of wire formats. Bytes here are copies."""

from collections.abc import Collection, Mapping
from typing import TypeAlias

from msgspec import field

from pybroker.coordination.effects import Writer
from pybroker.coordination.group.offsets import CommittedOffset
from pybroker.model.errors import ErrorCode
from pybroker.model.ids import TopicPartition
from pybroker.model.values import Value

UNKNOWN_MEMBER = ""
"""The member id of who has none yet."""

NO_GENERATION = -1

Protocols: TypeAlias = tuple[tuple[str, bytes], ...]
"""What a member can do, the preferred one first: (name of the protocol, the member's metadata for it)."""


class JoinCall(Value):
    """A JoinGroup request.

    Attributes:
        needs_member_id: a dynamic member without an id is sent back with one first (KIP-394).
        can_skip_assignment: the client understands ``skip_assignment`` (KIP-814).
    """

    group_id: str
    member_id: str
    protocol_type: str
    protocols: Protocols
    session_timeout_ms: int
    rebalance_timeout_ms: int
    client_id: str = ""
    client_host: str = ""
    instance_id: str | None = None
    needs_member_id: bool = False
    can_skip_assignment: bool = False
    reason: str | None = None


class JoinedMember(Value):
    """A member as the leader is told of it."""

    member_id: str
    instance_id: str | None
    metadata: bytes


class JoinReply(Value):
    """The answer to a JoinGroup; only the leader is told of the members."""

    member_id: str
    error: ErrorCode = ErrorCode.NONE
    generation: int = NO_GENERATION
    protocol_type: str | None = None
    protocol_name: str | None = None
    leader: str = UNKNOWN_MEMBER
    members: tuple[JoinedMember, ...] = ()
    skip_assignment: bool = False


class SyncCall(Value):
    """A SyncGroup request; ``assignments`` is empty unless it comes from the leader."""

    group_id: str
    generation: int
    member_id: str
    protocol_type: str | None = None
    protocol_name: str | None = None
    instance_id: str | None = None
    assignments: Mapping[str, bytes] = field(default_factory=dict)


class SyncReply(Value):
    """The answer to a SyncGroup."""

    error: ErrorCode = ErrorCode.NONE
    protocol_type: str | None = None
    protocol_name: str | None = None
    assignment: bytes = b""


class HeartbeatCall(Value):
    group_id: str
    generation: int
    member_id: str
    instance_id: str | None = None


class LeavingMember(Value):
    """Who leaves, or is removed by an administrator who knows only the instance id."""

    member_id: str
    instance_id: str | None = None
    reason: str | None = None


class CommitCall(Value):
    """An OffsetCommit or TxnOffsetCommit request. Generation -1 and no member: from somebody outside of the
    group.

    Attributes:
        generation: or the member's epoch, in a group of the consumer protocol.
        writer: the producer in whose transaction it is.
        knows_member_epochs: the client understands what groups of the consumer protocol answer (KIP-848).
    """

    group_id: str
    offsets: Mapping[TopicPartition, CommittedOffset]
    generation: int = NO_GENERATION
    member_id: str = UNKNOWN_MEMBER
    instance_id: str | None = None
    writer: Writer | None = None
    knows_member_epochs: bool = True


CommitReply: TypeAlias = Mapping[TopicPartition, ErrorCode]


class MemberEpoch(Value):
    """Who asks for offsets, in which epoch; a group of the consumer protocol looks at it."""

    member_id: str | None = None
    epoch: int = -1


ANYBODY = MemberEpoch()
"""Whoever is no member, and may ask all the same."""


class FetchCall(Value):
    """What OffsetFetch asks of one group.

    Attributes:
        partitions: None for all that have an offset.
        require_stable: an offset that another one is about to replace is refused (KIP-447).
    """

    group_id: str
    partitions: Collection[TopicPartition] | None = None
    require_stable: bool = False
    asking: MemberEpoch = ANYBODY


class FetchedOffset(Value):
    """What OffsetFetch tells of one partition; without a commit the offset is -1."""

    offset: int = -1
    leader_epoch: int = -1
    metadata: str = ""
    error: ErrorCode = ErrorCode.NONE


class DescribedMember(Value):
    member_id: str
    instance_id: str | None
    client_id: str
    client_host: str
    metadata: bytes = b""
    assignment: bytes = b""


class GroupDescription(Value):
    """What DescribeGroups tells; protocol, metadata and assignments only of a stable group."""

    state: str
    protocol_type: str = ""
    protocol: str = ""
    members: tuple[DescribedMember, ...] = ()


class GroupListing(Value):
    """One line of ListGroups."""

    group_id: str
    protocol_type: str
    state: str
    group_type: str
