"""Which replica a consumer should read from (KIP-392): the leader, or one in the consumer's rack. Pure."""

from collections.abc import Callable, Mapping, Sequence
from typing import Final, TypeAlias

from pybroker.config.consistency import REPLICA_SELECTORS
from pybroker.model.ids import BrokerId, Offset
from pybroker.model.values import Value


class ReplicaView(Value):
    """A replica that has what the consumer asks for. ``behind_ms``: since when its leader has had more."""

    broker_id: BrokerId
    rack: str | None
    log_end_offset: Offset
    behind_ms: int


ReplicaSelector: TypeAlias = Callable[[str, ReplicaView, Sequence[ReplicaView]], ReplicaView]
"""From the consumer's rack, the leader, and the followers: the replica to read from."""


def rack_aware(rack: str, leader: ReplicaView, followers: Sequence[ReplicaView]) -> ReplicaView:
    """The one of the consumer's rack that is furthest. The leader, if it is there, or if nobody is."""
    if not rack or leader.rack == rack:
        return leader
    near = [follower for follower in followers if follower.rack == rack]
    return max(near, key=_progress, default=leader)


def _progress(replica: ReplicaView) -> tuple[Offset, int, BrokerId]:
    return (replica.log_end_offset, -replica.behind_ms, replica.broker_id)


SELECTORS: Final[Mapping[str, ReplicaSelector | None]] = dict(
    zip(REPLICA_SELECTORS, (None, rack_aware), strict=True)
)
"""By the value of ``replica.selector.class``; None never looks for another replica than the leader."""
