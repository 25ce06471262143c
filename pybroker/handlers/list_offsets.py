"""ListOffsets (key 2), versions 0 to 11.

- Answers the offset that belongs to a timestamp: the first record at or after it, or one of the special
  positions earliest (-2), latest (-1), largest timestamp (-3, KIP-734), earliest local (-4, KIP-405),
  latest tiered (-5, KIP-1005).
- Consumers never see past the high watermark, or past the last stable offset with ``read_committed``.
- A new leader does not answer before its high watermark has reached the start of its epoch.
- A partition named twice in one request is refused; a timestamp that the version does not know too.

Versions: 0 answers a list of segment start offsets instead of one offset; 1 brings one offset with its
timestamp; 2 isolation level; 4 leader epochs (KIP-320); 5 OFFSET_NOT_AVAILABLE (KIP-207); 7 -3; 8 -4; 9 -5;
10 the request's own time-out.

Left out: tiered storage. -4 is the log start and -5 finds nothing, as in Kafka without it.
"""

from collections import Counter

from pybroker.handlers.context import RequestContext
from pybroker.model.errors import ApiError, ErrorCode
from pybroker.model.ids import NO_LEADER_EPOCH, UNKNOWN_OFFSET, Offset, TopicPartition
from pybroker.model.values import Value
from pybroker.protocol.messages import ListOffsetsRequest, ListOffsetsResponse
from pybroker.replication.fetched import Isolation
from pybroker.replication.partition import Partition
from pybroker.replication.replicas import Replicas
from pybroker.storage.lookup import TimestampOffset

LATEST = -1
EARLIEST = -2
MAX_TIMESTAMP = -3
EARLIEST_LOCAL = -4
LATEST_TIERED = -5
_FIRST_VERSION_OF = {EARLIEST: 1, LATEST: 1, MAX_TIMESTAMP: 7, EARLIEST_LOCAL: 8, LATEST_TIERED: 9}

FIRST_VERSION_WITH_LEADER_EPOCHS = 4
FIRST_VERSION_WITH_OFFSET_NOT_AVAILABLE = 5
CONSUMER_REPLICA = -1
DEBUGGING_REPLICA = -2
NO_TIMESTAMP = -1


class ListOffsetsHandler(Value):
    replicas: Replicas

    async def __call__(self, ctx: RequestContext, request: ListOffsetsRequest) -> ListOffsetsResponse:
        asked = Counter(
            TopicPartition(topic.name, partition.partition_index)
            for topic in request.topics
            for partition in topic.partitions
        )
        twice = {tp for tp, count in asked.items() if count > 1}
        return ListOffsetsResponse(
            topics=[
                ListOffsetsResponse.ListOffsetsTopicResponse(
                    name=topic.name,
                    partitions=[
                        self._answer(ctx, request, topic.name, partition, twice)
                        for partition in topic.partitions
                    ],
                )
                for topic in request.topics
            ]
        )

    def _answer(
        self,
        ctx: RequestContext,
        request: ListOffsetsRequest,
        topic: str,
        asked: ListOffsetsRequest.ListOffsetsPartition,
        twice: set[TopicPartition],
    ) -> ListOffsetsResponse.ListOffsetsPartitionResponse:
        tp = TopicPartition(topic, asked.partition_index)
        reply = ListOffsetsResponse.ListOffsetsPartitionResponse(partition_index=tp.partition)
        try:
            if ctx.api_version == 0:
                reply.old_style_offsets = self._segment_starts(ctx, request, tp, asked)
                return reply
            if tp in twice:
                raise ApiError(ErrorCode.INVALID_REQUEST)
            if asked.timestamp < 0 and ctx.api_version < _FIRST_VERSION_OF.get(asked.timestamp, 1 << 15):
                raise ApiError(ErrorCode.UNSUPPORTED_VERSION)
            found = self._find(ctx, request, tp, asked)
        except ApiError as error:
            reply.error_code = error.code
            return reply
        if found is not None:
            reply.timestamp = found.timestamp
            reply.offset = found.offset
            if ctx.api_version >= FIRST_VERSION_WITH_LEADER_EPOCHS:
                reply.leader_epoch = found.leader_epoch
        return reply

    def _partition(self, ctx: RequestContext, replica_id: int, tp: TopicPartition, epoch: int) -> Partition:
        if replica_id == DEBUGGING_REPLICA:
            return self.replicas.hosted(ctx.image, tp, epoch)
        return self.replicas.leader(ctx.image, tp, epoch)

    def _find(
        self,
        ctx: RequestContext,
        request: ListOffsetsRequest,
        tp: TopicPartition,
        asked: ListOffsetsRequest.ListOffsetsPartition,
    ) -> TimestampOffset | None:
        partition = self._partition(ctx, request.replica_id, tp, asked.current_leader_epoch)
        end = _visible_end(partition, request)
        match asked.timestamp:
            case -1:
                self._refuse_old_end(ctx, request, partition)
                return TimestampOffset(
                    offset=end, timestamp=NO_TIMESTAMP, leader_epoch=partition.leader_epoch
                )
            case -2 | -4:
                return _log_start(partition)
            case -5:
                return TimestampOffset(
                    offset=UNKNOWN_OFFSET, timestamp=NO_TIMESTAMP, leader_epoch=NO_LEADER_EPOCH
                )
            case -3:
                found = partition.log.max_timestamp_offset()
            case timestamp:
                found = partition.log.find_offset_by_timestamp(timestamp)
        if found is not None and found.offset < end:
            return found
        self._refuse_old_end(ctx, request, partition)
        return None

    def _refuse_old_end(self, ctx: RequestContext, request: ListOffsetsRequest, partition: Partition) -> None:
        """A new leader does not know yet where the committed records end (KIP-207): ask again."""
        if request.replica_id == CONSUMER_REPLICA and partition.has_old_high_watermark:
            raise ApiError(
                ErrorCode.OFFSET_NOT_AVAILABLE
                if ctx.api_version >= FIRST_VERSION_WITH_OFFSET_NOT_AVAILABLE
                else ErrorCode.LEADER_NOT_AVAILABLE
            )

    def _segment_starts(
        self,
        ctx: RequestContext,
        request: ListOffsetsRequest,
        tp: TopicPartition,
        asked: ListOffsetsRequest.ListOffsetsPartition,
    ) -> list[Offset]:
        """Version 0: at most ``max_num_offsets`` positions at or before the timestamp, newest first."""
        if asked.timestamp < EARLIEST:
            raise ApiError(ErrorCode.UNSUPPORTED_VERSION)
        partition = self._partition(ctx, request.replica_id, tp, NO_LEADER_EPOCH)
        if asked.max_num_offsets < 0:
            raise ApiError(ErrorCode.INVALID_REQUEST, f"{asked.max_num_offsets} offsets are asked for")
        offsets = partition.log.segment_starts_before(asked.timestamp, asked.max_num_offsets)
        if request.replica_id != CONSUMER_REPLICA:
            return offsets
        end = partition.high_watermark
        if any(offset > end for offset in offsets):
            return [end, *(offset for offset in offsets if offset <= end and offset != end)]
        return offsets


def _visible_end(partition: Partition, request: ListOffsetsRequest) -> Offset:
    if request.replica_id != CONSUMER_REPLICA:
        return partition.log.log_end_offset
    return partition.readable_end(Isolation.of(request.isolation_level))


def _log_start(partition: Partition) -> TimestampOffset:
    start = partition.log.log_start_offset
    return TimestampOffset(
        offset=start, timestamp=NO_TIMESTAMP, leader_epoch=partition.log.epoch_for_offset(start)
    )
