"""The transaction coordinator as handlers call it: finds the shard of a transactional id, asks it, waits for
the answer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from msgspec.structs import replace

from pybroker.coordination.runtime.coordinator import Coordinator
from pybroker.coordination.runtime.shards import Shards, ShardSettings, Slot, WriteMarkers
from pybroker.model.errors import ApiError, ErrorCode
from pybroker.model.topics import TRANSACTION_STATE

if TYPE_CHECKING:  # app/warming.py says what is late
    from pybroker.config.broker import BrokerConfig
    from pybroker.coordination.producer_ids import ProducerIds
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
    from pybroker.model.ids import TopicPartition


class TransactionCoordinator(Coordinator["TransactionShard"]):
    """All transactional ids that this broker coordinates. :meth:`run` is its task.

    Every method may raise the ApiErrors COORDINATOR_NOT_AVAILABLE, COORDINATOR_LOAD_IN_PROGRESS and
    NOT_COORDINATOR, and those with a transactional id INVALID_REQUEST when it is empty.

    Args:
        partition_count: see :class:`Coordinator`.
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
        shards: Shards[TransactionShard] = Shards(
            TRANSACTION_STATE,
            _maker(config, record_version),
            now_ms,
            timers,
            ShardSettings(append_timeout_ms=config.request_timeout_ms),
            write_markers,
        )
        super().__init__(TRANSACTION_STATE, shards, partition_count)
        self._now_ms = now_ms
        self._producer_ids = producer_ids

    # -- producers -----------------------------------------------------------------------------------

    async def init(self, call: InitCall) -> InitReply:
        """Waits until the producer's new epoch is stored."""
        slot = self._slot(call.transactional_id)
        reply: InitReply = await self._shards.ask(slot, slot.shard.init, call)
        if reply.needs_id:
            call = replace(call, spare_id=await self._producer_ids.next())
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
            call = replace(call, spare_id=await self._producer_ids.next())
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
        return self._shards.decide(slot, slot.shard.time_out, transactional_id)

    def list_transactions(self, wanted: ListFilter) -> list[TransactionListing]:
        """Those of all partitions that this broker coordinates."""
        if not self._shards.is_running:
            raise ApiError(ErrorCode.COORDINATOR_NOT_AVAILABLE)
        if self._shards.is_any_loading:
            raise ApiError(ErrorCode.COORDINATOR_LOAD_IN_PROGRESS)
        now_ms = self._now_ms()
        return [one for slot in self._shards for one in slot.shard.list_transactions(wanted, now_ms)]

    # -- finding -------------------------------------------------------------------------------------

    def _slot(self, transactional_id: str) -> Slot[TransactionShard]:
        if not transactional_id:
            raise ApiError(ErrorCode.INVALID_REQUEST)
        return self._serving(transactional_id)


def _maker(config: BrokerConfig, record_version: Callable[[], int]) -> Callable[[], TransactionShard]:
    def make() -> TransactionShard:
        from pybroker.coordination.transaction.rules import TransactionRules
        from pybroker.coordination.transaction.shard import TransactionShard

        return TransactionShard(TransactionRules.of(config, record_version))

    return make
