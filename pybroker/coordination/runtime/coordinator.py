"""What the coordinators of groups and of transactions have in common: partitions of their topic come and go,
and a key lives in one of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Generic

import trio

from pybroker.coordination.partitioning import coordinator_partition
from pybroker.coordination.runtime.shards import S, Shards, Slot

if TYPE_CHECKING:  # app/warming.py says what is late
    from pybroker.coordination.runtime.log_port import CoordinatorLog
    from pybroker.model.ids import LeaderEpoch
    from pybroker.replication.replicas import LeadershipChange


class Coordinator(Generic[S]):
    """Of all keys in the partitions of ``topic`` that this broker leads. :meth:`run` is its task.

    Args:
        partition_count: how many partitions the topic has, or will have.
    """

    def __init__(self, topic: str, shards: Shards[S], partition_count: Callable[[], int]) -> None:
        self._topic = topic
        self._shards = shards
        self._partition_count = partition_count

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Coordinates until cancelled."""
        await self._shards.run(task_status=task_status)

    def stop(self) -> None:
        """Send whoever waits to another coordinator, and refuse everybody else: call it first when the broker
        stops, so that no request has to be waited for."""
        self._shards.stop()

    async def loaded(self) -> None:
        """Waits until what is in the partitions led by now is known."""
        await self._shards.loaded()

    # -- leadership ----------------------------------------------------------------------------------

    def on_leadership(self, change: LeadershipChange) -> None:
        """A partition changed hands; those of other topics are none of our business."""
        partition = change.partition
        if partition.tp.topic != self._topic:
            return
        if change.is_leader:
            from pybroker.coordination.runtime.partition_log import PartitionLog

            self.lead(partition.tp.partition, PartitionLog(partition, partition.leader_epoch))
        else:
            self.resign(partition.tp.partition, partition.leader_epoch)

    def lead(self, index: int, log: CoordinatorLog) -> None:
        """Load a partition of the topic, and coordinate its keys from then on."""
        self._shards.lead(index, log)

    def resign(self, index: int, leader_epoch: LeaderEpoch) -> None:
        """Forget a partition's keys, unless the news is older than what is known."""
        self._shards.resign(index, leader_epoch)

    # -- finding -------------------------------------------------------------------------------------

    def partition_of(self, key: str) -> int:
        """The partition of the topic that a key lives in."""
        return coordinator_partition(key, self._partition_count())

    def _serving(self, key: str) -> Slot[S]:
        """The slot that a key lives in; errors as :meth:`Shards.serving`."""
        return self._shards.serving(self.partition_of(key))
