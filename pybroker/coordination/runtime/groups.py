"""The group coordinator as handlers call it: finds the shard of a group, asks it, waits for the answer."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from functools import cache
from typing import TYPE_CHECKING

import trio

from pybroker.coordination.runtime.coordinator import Coordinator
from pybroker.coordination.runtime.shards import Shards, ShardSettings, Slot
from pybroker.model.errors import ApiError, ErrorCode
from pybroker.model.ids import ProducerEpoch, ProducerId, TopicPartition
from pybroker.model.topics import CONSUMER_OFFSETS

if TYPE_CHECKING:  # app/warming.py says what is late
    from pybroker.config.broker import BrokerConfig
    from pybroker.coordination.effects import Effects
    from pybroker.coordination.group.calls import (
        CommitCall,
        CommitReply,
        FetchCall,
        FetchedOffset,
        GroupDescription,
        GroupListing,
        HeartbeatCall,
        JoinCall,
        JoinReply,
        LeavingMember,
        SyncCall,
        SyncReply,
    )
    from pybroker.coordination.group.consumer.calls import (
        ConsumerGroupDescription,
        ConsumerHeartbeatCall,
        ConsumerHeartbeatReply,
    )
    from pybroker.coordination.group.consumer.regexes import TopicRegexes
    from pybroker.coordination.group.rules import GroupRules
    from pybroker.coordination.group.shard import GroupShard
    from pybroker.instruments.clock import TimerQueue
    from pybroker.metadata.image import ClusterImage

logger = logging.getLogger(__name__)

SLICE = 64
"""Groups that are searched for old offsets in one stretch on the trio thread."""


class GroupCoordinator(Coordinator["GroupShard"]):
    """All groups that this broker coordinates. :meth:`run` is its task.

    Every method may raise the ApiErrors INVALID_GROUP_ID, COORDINATOR_NOT_AVAILABLE,
    COORDINATOR_LOAD_IN_PROGRESS and NOT_COORDINATOR.

    Args:
        partition_count: see :class:`Coordinator`.
        unique_text: a new UUID as text, for member ids.
        image: the cluster as it is now.
    """

    def __init__(
        self,
        config: BrokerConfig,
        now_ms: Callable[[], int],
        timers: TimerQueue,
        partition_count: Callable[[], int],
        unique_text: Callable[[], str],
        image: Callable[[], ClusterImage],
    ) -> None:
        shards: Shards[GroupShard] = Shards(
            CONSUMER_OFFSETS,
            _maker(config, unique_text, image),
            now_ms,
            timers,
            ShardSettings(
                compression_codec=config.offsets_topic_compression_codec,
                required_acks=config.offsets_commit_required_acks,
                append_timeout_ms=config.offsets_commit_timeout_ms,
            ),
        )
        super().__init__(CONSUMER_OFFSETS, shards, partition_count)
        self._config = config
        self._now_ms = now_ms
        self._timers = timers

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Coordinates until cancelled."""
        async with trio.open_nursery() as nursery:
            await nursery.start(super().run)
            nursery.start_soon(self._expire_now_and_then)
            task_status.started()

    # -- members -------------------------------------------------------------------------------------

    async def join(self, call: JoinCall) -> JoinReply:
        """Waits until the rebalance is complete."""
        slot = self._slot(call.group_id)
        reply: JoinReply = await self._shards.ask(slot, slot.shard.join, call)
        return reply

    async def sync(self, call: SyncCall) -> SyncReply:
        """Waits until the leader's assignment is stored. While the group is being loaded its members must
        join again, and clients of all ages understand REBALANCE_IN_PROGRESS."""
        try:
            slot = self._slot(call.group_id)
        except ApiError as error:
            if error.code is ErrorCode.COORDINATOR_LOAD_IN_PROGRESS:
                from pybroker.coordination.group.calls import SyncReply

                return SyncReply(ErrorCode.REBALANCE_IN_PROGRESS)
            raise
        reply: SyncReply = await self._shards.ask(slot, slot.shard.sync, call)
        return reply

    def heartbeat(self, call: HeartbeatCall) -> ErrorCode:
        """While the group is being loaded every heartbeat is welcome."""
        try:
            slot = self._slot(call.group_id)
        except ApiError as error:
            if error.code is ErrorCode.COORDINATOR_LOAD_IN_PROGRESS:
                return ErrorCode.NONE
            raise
        return self._shards.decide(slot, slot.shard.heartbeat, call)

    async def consumer_heartbeat(self, call: ConsumerHeartbeatCall) -> ConsumerHeartbeatReply:
        """Waits until what it led to is committed to the log."""
        slot = self._slot(call.group_id)
        reply: ConsumerHeartbeatReply = await self._shards.ask(slot, slot.shard.consumer_heartbeat, call)
        return reply

    def leave(self, group_id: str, leaving: Sequence[LeavingMember]) -> list[ErrorCode]:
        """One code for each of ``leaving``."""
        slot = self._slot(group_id)
        return self._shards.decide(slot, slot.shard.leave, group_id, leaving)

    def rebalance(self, group_id: str) -> bool:
        """Begin a rebalance that nothing calls for; False when there is no group with members."""
        slot = self._slot(group_id)
        return self._shards.decide(slot, slot.shard.rebalance, group_id)

    def expire_members(self, group_id: str, member_id: str | None = None) -> tuple[str, ...]:
        """Remove one member, or all, as if their sessions were over. Returns the ids of those removed."""
        from pybroker.coordination.group.calls import LeavingMember

        found = self.describe(group_id) or self.describe_consumer_group(group_id)
        members = [] if found is None else [each.member_id for each in found.members]
        ids = tuple(each for each in members if member_id in (None, each))
        self.leave(group_id, [LeavingMember(each, reason="its session was ended") for each in ids])
        return ids

    # -- offsets -------------------------------------------------------------------------------------

    async def commit(self, call: CommitCall) -> CommitReply:
        """Waits until the offsets are committed to the log."""
        slot = self._slot(call.group_id, may_be_empty=True)
        reply: CommitReply = await self._shards.ask(slot, slot.shard.commit, call)
        return reply

    def start_transaction(
        self, group_id: str, producer_id: ProducerId, producer_epoch: ProducerEpoch
    ) -> dict[TopicPartition, object]:
        """Before offsets are committed in a transaction: the partition that they go to, with a guard, if the
        transaction's coordinator has to be asked about it first."""
        slot = self._slot(group_id)
        guard = slot.log.start_verification(producer_id, producer_epoch)
        return {} if guard is None else {TopicPartition(CONSUMER_OFFSETS, slot.index): guard}

    def on_marker(self, index: int, producer_id: ProducerId, is_commit: bool) -> None:
        """A partition of the offsets topic has got the marker that ends a transaction. While it is loaded
        that has to wait: it is not known whether the marker was read."""
        try:
            slot = self._shards.serving(index)
        except ApiError:
            self._shards.spawn(self._complete_later, index, producer_id, is_commit)
        else:
            slot.shard.complete_transaction(producer_id, is_commit=is_commit)

    async def _complete_later(self, index: int, producer_id: ProducerId, is_commit: bool) -> None:
        slot = await self._shards.when_loaded(index)
        if slot is not None:
            slot.shard.complete_transaction(producer_id, is_commit=is_commit)

    def fetch(self, call: FetchCall) -> dict[TopicPartition, FetchedOffset]:
        """Committed offsets.

        Raises:
            ApiError: also UNKNOWN_MEMBER_ID, STALE_MEMBER_EPOCH and ILLEGAL_GENERATION.
        """
        return self._slot(call.group_id, may_be_empty=True).shard.fetch(call)

    # -- administration ------------------------------------------------------------------------------

    def describe(self, group_id: str) -> GroupDescription | None:
        """None if there is no such classic group."""
        return self._slot(group_id, may_be_empty=True).shard.describe(group_id)

    def describe_consumer_group(self, group_id: str) -> ConsumerGroupDescription | None:
        """None if there is no such consumer group."""
        return self._slot(group_id).shard.describe_consumer_group(group_id)

    def list_groups(self) -> tuple[ErrorCode, list[GroupListing]]:
        """All groups; with COORDINATOR_LOAD_IN_PROGRESS when there may be more."""
        if not self._shards.is_running:
            raise ApiError(ErrorCode.COORDINATOR_NOT_AVAILABLE)
        loading = self._shards.is_any_loading
        return (
            ErrorCode.COORDINATOR_LOAD_IN_PROGRESS if loading else ErrorCode.NONE,
            [listing for slot in self._shards for listing in slot.shard.list_groups()],
        )

    def delete_group(self, group_id: str) -> ErrorCode:
        slot = self._slot(group_id, may_be_empty=True)
        return self._shards.decide(slot, slot.shard.delete_group, group_id)

    def delete_offsets(
        self, group_id: str, partitions: Sequence[TopicPartition]
    ) -> dict[TopicPartition, ErrorCode]:
        """One code for each partition.

        Raises:
            ApiError: also GROUP_ID_NOT_FOUND and NON_EMPTY_GROUP.
        """
        slot = self._slot(group_id)
        code, codes = self._shards.decide(slot, slot.shard.delete_offsets, group_id, partitions)
        if code is not ErrorCode.NONE:
            raise ApiError(code)
        return codes

    # -- forgetting ----------------------------------------------------------------------------------

    def on_partitions_deleted(self, partitions: Sequence[TopicPartition]) -> None:
        """Topics were deleted: their offsets go too, in slices, soon."""
        if partitions:
            self._shards.spawn(self._forget_partitions, tuple(partitions))

    async def _forget_partitions(self, partitions: Sequence[TopicPartition]) -> None:
        def forget(shard: GroupShard, group_id: str, effects: Effects) -> int:
            return shard.forget_partitions(group_id, partitions, effects)

        count = await self._for_every_group(forget)
        logger.info("%d offsets of %d deleted partitions are gone", count, len(partitions))

    async def _expire_now_and_then(self) -> None:
        interval_ms = self._config.offsets_retention_check_interval_ms
        while True:
            due = trio.Event()
            self._timers.schedule("offset expiry", self._now_ms() + interval_ms, due.set)
            await due.wait()
            self._shards.spawn(self.expire)

    async def expire(self) -> None:
        """Look for offsets that have expired, once, in slices."""
        count = await self._for_every_group(lambda shard, *rest: shard.expire(*rest))
        if count:
            logger.info("%d offsets have expired", count)

    async def _for_every_group(self, change: Callable[[GroupShard, str, Effects], int]) -> int:
        count = 0
        for slot in self._shards:
            group_ids = tuple(slot.shard.groups)
            for start in range(0, len(group_ids), SLICE):
                for group_id in group_ids[start : start + SLICE]:
                    count += self._shards.decide(slot, change, slot.shard, group_id)
                await trio.lowlevel.checkpoint()
        return count

    # -- finding -------------------------------------------------------------------------------------

    def _slot(self, group_id: str, *, may_be_empty: bool = False) -> Slot[GroupShard]:
        """Offsets may be kept under an empty group id, for the sake of old clients."""
        if not group_id and not may_be_empty:
            raise ApiError(ErrorCode.INVALID_GROUP_ID)
        return self._serving(group_id)


def _maker(
    config: BrokerConfig, unique_text: Callable[[], str], image: Callable[[], ClusterImage]
) -> Callable[[], GroupShard]:
    """Makes shards; all of them share the rules and the compiled patterns."""

    @cache
    def shared() -> tuple[GroupRules, TopicRegexes]:
        from pybroker.coordination.group.consumer.regexes import TopicRegexes
        from pybroker.coordination.group.rules import GroupRules

        return GroupRules.of(config), TopicRegexes()

    def make() -> GroupShard:
        from pybroker.coordination.group.shard import GroupShard

        rules, regexes = shared()
        return GroupShard(rules, unique_text, image, regexes)

    return make
