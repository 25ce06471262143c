"""OffsetForLeaderEpoch (key 23), versions 0 to 4.

- Answers where a leader epoch ended here (KIP-101): the largest epoch at or below the one asked for, and the
  offset after its last record. A consumer finds out with it that records it has read were cut away.
- An epoch that this log never knew is answered with epoch and offset -1.

Versions: 2 brings the fencing by the client's current epoch (KIP-320); 3 the replica id, where -2 may ask a
follower too.
"""

from pybroker.handlers.context import RequestContext
from pybroker.model.errors import ApiError
from pybroker.model.ids import TopicPartition
from pybroker.model.values import Value
from pybroker.protocol.messages import OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse
from pybroker.replication.replicas import Replicas


class OffsetForLeaderEpochHandler(Value):
    replicas: Replicas

    async def __call__(
        self, ctx: RequestContext, request: OffsetForLeaderEpochRequest
    ) -> OffsetForLeaderEpochResponse:
        return OffsetForLeaderEpochResponse(
            topics=[
                OffsetForLeaderEpochResponse.OffsetForLeaderTopicResult(
                    topic=topic.topic,
                    partitions=[self._answer(ctx, topic.topic, asked) for asked in topic.partitions],
                )
                for topic in request.topics
            ]
        )

    def _answer(
        self,
        ctx: RequestContext,
        topic: str,
        asked: OffsetForLeaderEpochRequest.OffsetForLeaderPartition,
    ) -> OffsetForLeaderEpochResponse.EpochEndOffset:
        tp = TopicPartition(topic, asked.partition)
        reply = OffsetForLeaderEpochResponse.EpochEndOffset(partition=tp.partition)
        try:
            partition = self.replicas.leader(ctx.image, tp, asked.current_leader_epoch)
        except ApiError as error:
            reply.error_code = error.code
            return reply
        end = partition.end_offset_for_epoch(asked.leader_epoch)
        reply.leader_epoch = end.epoch
        reply.end_offset = end.end_offset
        return reply
