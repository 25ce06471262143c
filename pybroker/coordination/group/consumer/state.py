"""What a member of a consumer group says, what it has, and what it should have: frozen values."""

from collections.abc import Mapping
from enum import Enum, IntEnum
from typing import NamedTuple, TypeAlias

from msgspec import field

from pybroker.coordination.group.calls import Protocols
from pybroker.model.ids import TopicId
from pybroker.model.values import Value

JOIN_EPOCH = 0
"""The epoch of a member that joins, or joins again."""
LEAVE_EPOCH = -1
"""The epoch of a member that leaves."""
LEAVE_STATIC_EPOCH = -2
"""The epoch of a static member that leaves for a while."""
NO_TIMEOUT = -1


class TopicIdPartition(NamedTuple):
    """One partition of a topic that is known by its id."""

    topic_id: TopicId
    partition: int


Assignment: TypeAlias = frozenset[TopicIdPartition]
"""Partitions that a member should have."""

OwnedPartitions: TypeAlias = Mapping[TopicIdPartition, int]
"""Partitions that a member has, each with the member's epoch when it got it."""


class GroupState(Enum):
    """The values are the words of ListGroups and ConsumerGroupDescribe."""

    EMPTY = "Empty"
    ASSIGNING = "Assigning"
    """The assignment is older than the group's epoch."""
    RECONCILING = "Reconciling"
    """Some members do not have yet what they should have."""
    STABLE = "Stable"


class MemberState(IntEnum):
    """How far a member is on its way to what it should have. The values are those of the records."""

    STABLE = 0
    UNREVOKED_PARTITIONS = 1
    """It must give up partitions first."""
    UNRELEASED_PARTITIONS = 2
    """It waits for partitions that others still have."""
    UNKNOWN = 127
    """Written by a later version."""


class ClassicProfile(Value):
    """What a member of the classic protocol brings along."""

    session_timeout_ms: int
    protocols: Protocols


class Profile(Value):
    """What a member says of itself. ``topic_regex`` is empty for none; ``classic`` is None for members of the
    consumer protocol."""

    instance_id: str | None = None
    rack_id: str | None = None
    rebalance_timeout_ms: int = NO_TIMEOUT
    client_id: str = ""
    client_host: str = ""
    topic_names: frozenset[str] = frozenset()
    topic_regex: str = ""
    server_assignor: str | None = None
    classic: ClassicProfile | None = None


class Current(Value):
    """What a member has.

    Attributes:
        epoch, previous_epoch: of the member; the previous one is still accepted when an answer may be lost.
        assigned: what it may use.
        revoking: what it must give up before it goes on.
    """

    epoch: int = 0
    previous_epoch: int = -1
    state: MemberState = MemberState.STABLE
    assigned: OwnedPartitions = field(default_factory=dict)
    revoking: OwnedPartitions = field(default_factory=dict)

    def is_reconciled_to(self, epoch: int) -> bool:
        return self.state is MemberState.STABLE and self.epoch == epoch


class ConsumerMember(Value):
    """A member: what it says and what it has."""

    member_id: str
    profile: Profile = Profile()
    current: Current = Current()

    @property
    def is_classic(self) -> bool:
        return self.profile.classic is not None


class ResolvedRegex(Value):
    """The topics that a regular expression stood for, at a version of the metadata and a broker time."""

    topics: frozenset[str] = frozenset()
    version: int = 0
    timestamp_ms: int = 0
