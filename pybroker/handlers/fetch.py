"""Fetch (key 1), versions 0 to 18.

- Reads from the batch that holds the asked offset, for consumers up to the high watermark, or to the last
  stable offset with ``read_committed``, together with the transactions aborted in that range.
- Long poll: while fewer than ``min_bytes`` are there and nothing failed, the request sleeps on its partitions
  up to ``max_wait_ms``.
- Byte limits: a partition gives at most ``partition_max_bytes``, a reply ``max_bytes`` (and the broker's
  ``fetch.max.bytes``). The first batch of the first partition with data is given whole in any case (KIP-74).
- Followers read up to the log end; what they ask for tells the leader how far they have come.
- Followers that are not in sync get nothing of throttled replicas while those take more than
  ``leader.replication.throttled.rate`` (KIP-73).
- A consumer that names its rack is sent to an in-sync replica there, if ``replica.selector.class`` says so.
- Incremental sessions (KIP-227) live in :mod:`pybroker.coordination.fetch_sessions`.

Versions: up to 2 have no reply limit and cut strictly; 4 read_committed; 7 sessions; 9 fencing by epoch
(KIP-320); 10 zstd; 11 consumers may read from followers (KIP-392); 12 diverging epochs (KIP-595); 13 topic
ids (KIP-516); 16 the current leader in refusals (KIP-951).

Left out: tiered storage.
"""

from collections.abc import Callable

import trio
from msgspec import field

from pybroker.coordination.fetch_sessions import (
    FetchContext,
    FetchRequestView,
    FetchSessionCache,
    FetchTarget,
    PartitionKey,
    PartitionReply,
    open_context,
)
from pybroker.handlers.context import RequestContext
from pybroker.handlers.fetch_conversion import adapt_to_version, refusal
from pybroker.handlers.leader_hints import current_leader
from pybroker.handlers.preferred_replica import PreferredReplica
from pybroker.model.errors import ApiError, ErrorCode
from pybroker.model.ids import NO_LEADER_EPOCH, BrokerId, TopicPartition
from pybroker.model.values import State, Value
from pybroker.protocol.messages import FetchRequest, FetchResponse
from pybroker.replication.fetched import FetchedData, Isolation
from pybroker.replication.isr import FetchTimes
from pybroker.replication.partition import Partition
from pybroker.replication.replicas import Replicas
from pybroker.replication.throttle import ReplicationThrottle, names_replica
from pybroker.replication.waiters import Wakers, waiting_on
from pybroker.storage.handles import FileSlice

FIRST_VERSION_WITH_REPLY_LIMIT = 3
FIRST_VERSION_FROM_FOLLOWERS = 11
FIRST_VERSION_WITH_TOPIC_IDS = 13
FIRST_VERSION_WITH_LEADER_HINTS = 16
NO_REPLICA = -1
_NOT_LOOKED_FOR = (ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, ErrorCode.UNKNOWN_TOPIC_ID)
"""Refusals from the image, whose aborted transactions are an empty list; those of a log have null."""

_LEADER_MOVED = (ErrorCode.NOT_LEADER_OR_FOLLOWER, ErrorCode.FENCED_LEADER_EPOCH)


class _Harvest(State):
    """What one pass over the targets brought."""

    replies: list[PartitionReply] = field(default_factory=list)
    slices: list[FileSlice] = field(default_factory=list)
    size: int = 0
    is_urgent: bool = False
    """Something that the client must hear of now, such as an error."""

    def release(self) -> None:
        for part in self.slices:
            part.release()


class FetchHandler(Value):
    replicas: Replicas
    sessions: FetchSessionCache
    max_bytes: int
    now_ms: Callable[[], int]
    preferred_replica: PreferredReplica
    throttle: ReplicationThrottle
    """Of what throttled replicas copy from here."""

    async def __call__(self, ctx: RequestContext, request: FetchRequest) -> FetchResponse:
        view = _view(ctx, request)
        context = open_context(self.sessions, view, ctx.image.topic_names_by_id.get, self.now_ms())
        harvest = await self._harvest(ctx, request, context)
        outcome = context.finish(harvest.replies, self.now_ms())
        if outcome.error is not ErrorCode.NONE:
            harvest.release()
        elif _replica_id(request) >= 0:
            self._note_throttled(outcome.replies)
        replies = await adapt_to_version(ctx.api_version, outcome.replies, self.replicas)
        return FetchResponse(
            error_code=outcome.error,
            session_id=outcome.session_id,
            responses=_by_topic(replies),
            node_endpoints=_node_endpoints(ctx, replies),
        )

    async def _harvest(self, ctx: RequestContext, request: FetchRequest, context: FetchContext) -> _Harvest:
        harvest = self._read(ctx, request, context, is_first_look=True)
        if self._is_enough(harvest, request) or not (waiters := self._waiters(request, context)):
            return harvest
        with waiting_on(waiters) as waiter, trio.move_on_after(request.max_wait_ms / 1000):
            while not self._is_enough(harvest, request):
                harvest.release()
                harvest = _Harvest()
                await waiter.sleep()
                harvest = self._read(ctx, request, context)
            return harvest
        return self._read(ctx, request, context)

    def _waiters(self, request: FetchRequest, context: FetchContext) -> list[Wakers]:
        """What has to change for this request to find more."""
        is_follower = _replica_id(request) >= 0
        sleepers = context.sleepers()
        found: list[Wakers] = [] if sleepers is None else [sleepers]
        for target in context.targets():
            partition = self.replicas.find(TopicPartition(target.topic or "", target.partition))
            if partition is not None:
                found.append(partition.append_waiters if is_follower else partition.waiters)
        return found

    def _is_enough(self, harvest: _Harvest, request: FetchRequest) -> bool:
        return (
            harvest.is_urgent
            or request.max_wait_ms <= 0
            or harvest.size >= request.min_bytes
            or self.replicas.is_stopping
        )

    def _read(
        self,
        ctx: RequestContext,
        request: FetchRequest,
        context: FetchContext,
        *,
        is_first_look: bool = False,
    ) -> _Harvest:
        harvest = _Harvest()
        isolation = Isolation.of(request.isolation_level)  # a strange one fails the request, not a partition
        room = min(request.max_bytes, self.max_bytes)
        whole_batch = ctx.api_version >= FIRST_VERSION_WITH_REPLY_LIMIT
        failed = []
        for target in context.targets():
            try:
                fetched = self._read_partition(
                    ctx,
                    request,
                    target,
                    min(room, target.max_bytes),
                    isolation,
                    whole_batch,
                    is_first_look,
                    context.times,
                )
            except ApiError as error:
                failed.append(PartitionReply(target, _refusal(ctx, target, error)))
                room = max(0, room)
                harvest.is_urgent = True
                continue
            if fetched.diverging is not None or fetched.preferred_replica is not None:
                harvest.is_urgent = True
            if fetched.read.slice is not None:
                whole_batch = False
                harvest.slices.append(fetched.read.slice)
                harvest.size += fetched.read.size_in_bytes
                room = max(0, room - fetched.read.size_in_bytes)
            harvest.replies.append(PartitionReply(target, _found(target, fetched), fetched.observers))
        harvest.replies.extend(failed)
        return harvest

    def _read_partition(
        self,
        ctx: RequestContext,
        request: FetchRequest,
        target: FetchTarget,
        max_bytes: int,
        isolation: Isolation,
        whole_batch: bool,
        is_first_look: bool,
        times: FetchTimes,
    ) -> FetchedData:
        partition = self._partition(ctx, request, target)
        if max_bytes < 0:
            raise ApiError(ErrorCode.INVALID_REQUEST, f"{max_bytes} bytes are asked for")
        replica_id = _replica_id(request)
        if replica_id < 0:
            preferred = self.preferred_replica(ctx, partition, request.rack_id, target.fetch_offset)
            if preferred is not None:
                return partition.read_elsewhere(target.fetch_offset, preferred)
            return partition.read(
                target.fetch_offset,
                max_bytes,
                isolation,
                min_one_batch=whole_batch,
                last_fetched_epoch=target.last_fetched_epoch,
            )
        is_held_back = self._is_held_back(partition, replica_id)
        return partition.read_as_replica(
            replica_id,
            target.fetch_offset,
            0 if is_held_back else max_bytes,
            min_one_batch=whole_batch and not is_held_back,
            last_fetched_epoch=target.last_fetched_epoch,
            current_leader_epoch=target.current_leader_epoch,
            log_start_offset=target.log_start_offset,
            is_first_look=is_first_look,
            times=times,
        )

    def _is_held_back(self, partition: Partition, replica_id: BrokerId) -> bool:
        return replica_id not in partition.isr and _is_throttled(partition) and self.throttle.is_exceeded

    def _note_throttled(self, replies: list[PartitionReply]) -> None:
        for reply in replies:
            if reply.data.records:
                target = reply.target
                partition = self.replicas.find(TopicPartition(target.topic or "", target.partition))
                if partition is not None and _is_throttled(partition):
                    self.throttle.record(len(reply.data.records))

    def _partition(self, ctx: RequestContext, request: FetchRequest, target: FetchTarget) -> Partition:
        """The replica here. Consumers may read from a follower as well (KIP-392); followers may not."""
        if target.topic is None:
            raise ApiError(ErrorCode.UNKNOWN_TOPIC_ID)
        tp = TopicPartition(target.topic, target.partition)
        epoch = max(NO_LEADER_EPOCH, target.current_leader_epoch)
        if _replica_id(request) >= 0 or ctx.api_version < FIRST_VERSION_FROM_FOLLOWERS:
            partition = self.replicas.leader(ctx.image, tp, epoch)
        else:
            partition = self.replicas.hosted(ctx.image, tp, epoch)
        if ctx.api_version >= FIRST_VERSION_WITH_TOPIC_IDS and partition.topic_id != target.topic_id:
            raise ApiError(ErrorCode.INCONSISTENT_TOPIC_ID)
        return partition


def _replica_id(request: FetchRequest) -> BrokerId:
    """The follower that asks, -1 for a consumer. Version 15 moved it into a tagged struct."""
    return max(request.replica_id, request.replica_state.replica_id)


def _is_throttled(partition: Partition) -> bool:
    throttled = partition.settings.topic.leader_replication_throttled_replicas
    return names_replica(throttled, partition.tp.partition, partition.broker_id)


def _view(ctx: RequestContext, request: FetchRequest) -> FetchRequestView:
    by_id = ctx.api_version >= FIRST_VERSION_WITH_TOPIC_IDS
    targets: list[FetchTarget] = []
    for topic in request.topics:
        name = ctx.image.topic_names_by_id.get(topic.topic_id) if by_id else topic.topic
        targets.extend(
            FetchTarget(
                topic=name,
                topic_id=topic.topic_id,
                partition=asked.partition,
                fetch_offset=asked.fetch_offset,
                max_bytes=asked.partition_max_bytes,
                current_leader_epoch=asked.current_leader_epoch,
                last_fetched_epoch=asked.last_fetched_epoch,
                log_start_offset=asked.log_start_offset,
            )
            for asked in topic.partitions
        )
    forgotten: list[PartitionKey] = [
        (topic.topic_id if by_id else topic.topic, partition)
        for topic in request.forgotten_topics_data
        for partition in topic.partitions
    ]
    return FetchRequestView(
        session_id=request.session_id,
        session_epoch=request.session_epoch,
        targets=list({target.key: target for target in targets}.values()),
        forgotten=forgotten,
        uses_topic_ids=by_id,
        privileged=_replica_id(request) >= 0,
    )


def _found(target: FetchTarget, fetched: FetchedData) -> FetchResponse.PartitionData:
    return FetchResponse.PartitionData(
        partition_index=target.partition,
        high_watermark=fetched.high_watermark,
        last_stable_offset=fetched.last_stable_offset,
        log_start_offset=fetched.log_start_offset,
        diverging_epoch=FetchResponse.EpochEndOffset()
        if fetched.diverging is None
        else FetchResponse.EpochEndOffset(
            epoch=fetched.diverging.epoch, end_offset=fetched.diverging.end_offset
        ),
        aborted_transactions=None
        if fetched.aborted is None
        else [
            FetchResponse.AbortedTransaction(producer_id=txn.producer_id, first_offset=txn.first_offset)
            for txn in fetched.aborted
        ],
        preferred_read_replica=NO_REPLICA if fetched.preferred_replica is None else fetched.preferred_replica,
        records=b"" if fetched.read.slice is None else fetched.read.slice,
    )


def _refusal(ctx: RequestContext, target: FetchTarget, error: ApiError) -> FetchResponse.PartitionData:
    data = refusal(target, error.code)
    if error.code not in _NOT_LOOKED_FOR:
        data.aborted_transactions = None
    if error.code in _LEADER_MOVED and ctx.api_version >= FIRST_VERSION_WITH_LEADER_HINTS and target.topic:
        hint = current_leader(ctx.image, TopicPartition(target.topic, target.partition), ctx.listener)
        data.current_leader = FetchResponse.LeaderIdAndEpoch(
            leader_id=hint.leader_id, leader_epoch=hint.leader_epoch
        )
    return data


def _by_topic(replies: list[PartitionReply]) -> list[FetchResponse.FetchableTopicResponse]:
    topics: list[FetchResponse.FetchableTopicResponse] = []
    last_key: tuple[str | None, bytes] | None = None
    for reply in replies:
        key = (reply.target.topic, reply.target.topic_id)
        if key != last_key:
            last_key = key
            topics.append(
                FetchResponse.FetchableTopicResponse(
                    topic=reply.target.topic or "", topic_id=reply.target.topic_id, partitions=[]
                )
            )
        topics[-1].partitions.append(reply.data)
    return topics


def _node_endpoints(ctx: RequestContext, replies: list[PartitionReply]) -> list[FetchResponse.NodeEndpoint]:
    if ctx.api_version < FIRST_VERSION_WITH_LEADER_HINTS:
        return []
    nodes: dict[BrokerId, FetchResponse.NodeEndpoint] = {}
    for reply in replies:
        broker = ctx.image.brokers.get(reply.data.current_leader.leader_id)
        endpoint = broker.endpoint(ctx.listener) if broker is not None else None
        if broker is not None and endpoint is not None:
            nodes[broker.broker_id] = FetchResponse.NodeEndpoint(
                node_id=broker.broker_id, host=endpoint.host, port=endpoint.port, rack=broker.rack
            )
    return list(nodes.values())
