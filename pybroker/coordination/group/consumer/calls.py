"""What the handlers ask of a consumer group and what they are told, free of wire formats."""

from msgspec import field

from pybroker.coordination.group.consumer.state import (
    NO_TIMEOUT,
    Assignment,
    ConsumerMember,
    OwnedPartitions,
    TopicIdPartition,
)
from pybroker.model.errors import ErrorCode
from pybroker.model.values import Value


class ConsumerHeartbeatCall(Value):
    """A ConsumerGroupHeartbeat request. None in a field means that nothing has changed.

    Attributes:
        member_epoch: 0 joins, -1 leaves, -2 lets a static member leave for a while.
        owned: the partitions that the member has.
        makes_own_id: the client chooses its member id (KIP-1082).
    """

    group_id: str
    member_id: str
    member_epoch: int
    instance_id: str | None = None
    rack_id: str | None = None
    rebalance_timeout_ms: int = NO_TIMEOUT
    topic_names: frozenset[str] | None = None
    topic_regex: str | None = None
    server_assignor: str | None = None
    owned: frozenset[TopicIdPartition] | None = None
    client_id: str = ""
    client_host: str = ""
    makes_own_id: bool = True

    @property
    def is_full(self) -> bool:
        """Whether the member says everything: it does when it joins, and after an error."""
        return (
            self.rebalance_timeout_ms != NO_TIMEOUT
            and (self.topic_names is not None or self.topic_regex is not None)
            and self.owned is not None
        )


class ConsumerHeartbeatReply(Value):
    """The answer. ``assignment`` is None when it has not changed since the last one."""

    error: ErrorCode = ErrorCode.NONE
    message: str | None = None
    member_id: str | None = None
    member_epoch: int = 0
    heartbeat_interval_ms: int = 0
    assignment: Assignment | None = None


class DescribedConsumerMember(Value):
    """A member, and what it should have."""

    member: ConsumerMember
    target: Assignment

    @property
    def member_id(self) -> str:
        return self.member.member_id

    @property
    def owned(self) -> OwnedPartitions:
        """All it has, with what it must still give up."""
        return {**self.member.current.assigned, **self.member.current.revoking}


class ConsumerGroupDescription(Value):
    """What ConsumerGroupDescribe tells."""

    state: str
    epoch: int
    target_epoch: int
    assignor: str
    members: tuple[DescribedConsumerMember, ...] = field(default=())
