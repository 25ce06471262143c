"""One step of a member from what it has to what it should have (``CurrentAssignmentBuilder`` of Kafka 4.3).

First it gives up what is no longer its own; only then it goes on to the group's epoch and gets what is free.
"""

from collections.abc import Callable, Collection

from msgspec.structs import replace

from pybroker.coordination.group.consumer.state import (
    Assignment,
    Current,
    MemberState,
    OwnedPartitions,
    TopicIdPartition,
)
from pybroker.model.errors import ApiError, ErrorCode
from pybroker.model.ids import TopicId
from pybroker.model.values import Value


class Reconciliation(Value):
    """What a step is made of.

    Attributes:
        target_epoch, target: what the member should have.
        subscribed: the topics that it subscribes to and that exist.
        subscription_changed: with this very request.
        reported: the partitions that the member says it has; None if it does not say.
        is_owned: whether any member has a partition, this one included.
    """

    target_epoch: int
    target: Assignment
    subscribed: Collection[TopicId]
    subscription_changed: bool
    reported: Collection[TopicIdPartition] | None
    is_owned: Callable[[TopicIdPartition], bool]

    def step(self, current: Current) -> Current:
        """What the member has from now on; the same object if nothing can be done.

        Raises:
            ApiError: FENCED_MEMBER_EPOCH, of a member whose state is unknown and that has partitions.
        """
        match current.state:
            case MemberState.STABLE if current.epoch == self.target_epoch:
                return self._without_unsubscribed(current) if self.subscription_changed else current
            case MemberState.UNREVOKED_PARTITIONS if self._still_has(current.revoking):
                return self._without_unsubscribed(current) if self.subscription_changed else current
            case MemberState.UNKNOWN:
                if self.reported is None or self.reported:
                    raise ApiError(
                        ErrorCode.FENCED_MEMBER_EPOCH,
                        "The consumer group member is in a unknown state. "
                        "The member must abandon all its partitions and rejoin.",
                    )
                return self._next(current, self.target_epoch)
        return self._next(current, current.epoch)

    def _still_has(self, partitions: OwnedPartitions) -> bool:
        if self.reported is None:
            return True
        return any(tp in partitions for tp in self.reported)

    def _without_unsubscribed(self, current: Current) -> Current:
        """Topics that the member no longer wants go at once, before anything is assigned anew."""
        dropped = {tp: epoch for tp, epoch in current.assigned.items() if tp.topic_id not in self.subscribed}
        if not dropped:
            return current
        assigned = {tp: epoch for tp, epoch in current.assigned.items() if tp not in dropped}
        revoking = {**current.revoking, **dropped}
        if not self._still_has(revoking):
            return replace(current, assigned=assigned, previous_epoch=current.epoch)
        return Current(current.epoch, current.epoch, MemberState.UNREVOKED_PARTITIONS, assigned, revoking)

    def _next(self, current: Current, epoch: int) -> Current:
        wanted = {tp for tp in self.target if tp.topic_id in self.subscribed}
        assigned = {tp: since for tp, since in current.assigned.items() if tp in wanted}
        revoking = {tp: since for tp, since in current.assigned.items() if tp not in wanted}
        if revoking and self._still_has(revoking):
            return Current(epoch, current.epoch, MemberState.UNREVOKED_PARTITIONS, assigned, revoking)
        state = MemberState.STABLE
        for tp in wanted:
            if tp in assigned:
                continue
            # What the member itself has just given up is not somebody else's.
            if self.is_owned(tp) and tp not in current.revoking:
                state = MemberState.UNRELEASED_PARTITIONS
            else:
                assigned[tp] = self.target_epoch
        return Current(self.target_epoch, current.epoch, state, assigned)
