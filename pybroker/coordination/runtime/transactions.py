"""The transaction coordinator as handlers call it: finds the shard of a transactional id, asks it, waits for
the answer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import trio
from attrs import evolve

from pybroker.coordination.partitioning import coordinator_partition
from pybroker.coordination.runtime.shards import Shards, ShardSettings, Slot, WriteMarkers
from pybroker.model.errors import ApiError, ErrorCode
from pybroker.model.topics import TRANSACTION_STATE

if TYPE_CHECKING:  # app/warming.py says what is late
    from pybroker.config.broker import BrokerConfig
    from pybroker.coordination.producer_ids import ProducerIds
    from pybroker.coordination.runtime.log_port import CoordinatorLog
    from pybroker.coordination.transaction.calls import (
        EndCall,
        EndReply,
        InitCall,
        InitReply,
        ListFilter,
        PartitionsCall,
        TransactionDescription,
        TransactionListing,
    )
    from pybroker.coordination.transaction.shard import TransactionShard
    from pybroker.instruments.clock import TimerQueue
    from pybroker.model.ids import LeaderEpoch, TopicPartition
    from pybroker.replication.replicas import LeadershipChange


class TransactionCoordinator:
    """All transactional ids that this broker coordinates. :meth:`run` is its task.

    Every method may raise the ApiErrors COORDINATOR_NOT_AVAILABLE, COORDINATOR_LOAD_IN_PROGRESS and
    NOT_COORDINATOR, and those with a transactional id INVALID_REQUEST when it is empty.

    Args:
        partition_count: how many partitions the transaction topic has, or will have.
        producer_ids: where new ids come from.
        record_version: see :class:`TransactionRules`.
    """

    def __init__(
        self,
        config: BrokerConfig,
        now_ms: Callable[[], int],
        timers: TimerQueue,
        partition_count: Callable[[], int],
        producer_ids: ProducerIds,
        write_markers: WriteMarkers,
        record_version: Callable[[], int] = lambda: 0,
    ) -> None:
        self._now_ms = now_ms
        self._partition_count = partition_count
        self._producer_ids = producer_ids
        self._shards: Shards[TransactionShard] = Shards(
            TRANSACTION_STATE,
            _maker(config, record_version),
            now_ms,
            timers,
            ShardSettings(append_timeout_ms=config.request_timeout_ms),
            write_markers,
        )

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Coordinates until cancelled."""
        await self._shards.run(task_status=task_status)

    def stop(self) -> None:
        """Refuse everybody from now on: call it first when the broker stops."""
        self._shards.stop()

    # -- leadership ----------------------------------------------------------------------------------

    async def loaded(self) -> None:
        """Waits until the transactions of all partitions led by now are known."""
        await self._shards.loaded()

    def on_leadership(self, change: LeadershipChange) -> None:
        """A partition changed hands; those of other topics are none of our business."""
        partition = change.partition
        if partition.tp.topic != TRANSACTION_STATE:
            return
        if change.is_leader:
            from pybroker.coordination.runtime.partition_log import PartitionLog

            self.lead(partition.tp.partition, PartitionLog(partition, partition.leader_epoch))
        else:
            self.resign(partition.tp.partition, partition.leader_epoch)

    def lead(self, index: int, log: CoordinatorLog) -> None:
        """Load a partition of the transaction topic, and coordinate its ids from then on."""
        self._shards.lead(index, log)

    def resign(self, index: int, leader_epoch: LeaderEpoch) -> None:
        """Forget a partition's ids, unless the news is older than what is known."""
        self._shards.resign(index, leader_epoch)

    # -- producers -----------------------------------------------------------------------------------

    async def init(self, call: InitCall) -> InitReply:
        """Waits until the producer's new epoch is stored."""
        slot = self._slot(call.transactional_id)
        reply: InitReply = await self._shards.ask(slot, slot.shard.init, call)
        if reply.needs_id:
            call = evolve(call, spare_id=await self._producer_ids.next())
            slot = self._slot(call.transactional_id)
            reply = await self._shards.ask(slot, slot.shard.init, call)
        return reply

    async def add(self, call: PartitionsCall) -> ErrorCode:
        """Waits until the partitions are stored."""
        slot = self._slot(call.transactional_id)
        code: ErrorCode = await self._shards.ask(slot, slot.shard.add, call)
        return code

    def verify(self, call: PartitionsCall) -> Mapping[TopicPartition, ErrorCode]:
        """Whether partitions are part of a transaction."""
        return self._slot(call.transactional_id).shard.verify(call)

    async def end(self, call: EndCall) -> EndReply:
        """Waits until the decision is stored, not for the markers."""
        slot = self._slot(call.transactional_id)
        reply: EndReply = await self._shards.ask(slot, slot.shard.end, call)
        if reply.needs_id:
            call = evolve(call, spare_id=await self._producer_ids.next())
            slot = self._slot(call.transactional_id)
            reply = await self._shards.ask(slot, slot.shard.end, call)
        return reply

    # -- administration ------------------------------------------------------------------------------

    def describe(self, transactional_id: str) -> TransactionDescription:
        """
        Raises:
            ApiError: also TRANSACTIONAL_ID_NOT_FOUND.
        """
        found = self._slot(transactional_id).shard.describe(transactional_id)
        if found is None:
            raise ApiError(ErrorCode.TRANSACTIONAL_ID_NOT_FOUND)
        return found

    def time_out(self, transactional_id: str) -> bool:
        """Abort a transaction as if its time were over. False: there is none that could be aborted."""
        slot = self._slot(transactional_id)
        effects = self._shards.effects()
        was_open = slot.shard.time_out(transactional_id, effects)
        self._shards.carry_out(slot, effects)
        return was_open

    def list_transactions(self, wanted: ListFilter) -> list[TransactionListing]:
        """Those of all partitions that this broker coordinates."""
        if not self._shards.is_running:
            raise ApiError(ErrorCode.COORDINATOR_NOT_AVAILABLE)
        if self._shards.is_any_loading:
            raise ApiError(ErrorCode.COORDINATOR_LOAD_IN_PROGRESS)
        now_ms = self._now_ms()
        return [one for slot in self._shards for one in slot.shard.list_transactions(wanted, now_ms)]

    # -- finding -------------------------------------------------------------------------------------

    def partition_of(self, transactional_id: str) -> int:
        """The partition of the transaction topic that an id lives in."""
        return coordinator_partition(transactional_id, self._partition_count())

    def _slot(self, transactional_id: str) -> Slot[TransactionShard]:
        if not transactional_id:
            raise ApiError(ErrorCode.INVALID_REQUEST)
        return self._shards.serving(self.partition_of(transactional_id))


def _maker(config: BrokerConfig, record_version: Callable[[], int]) -> Callable[[], TransactionShard]:
    def make() -> TransactionShard:
        from pybroker.coordination.transaction.rules import TransactionRules
        from pybroker.coordination.transaction.shard import TransactionShard

        return TransactionShard(TransactionRules.of(config, record_version))

    return make
