"""DeleteRecords (key 21), versions 0 to 2.

- Moves the log start offset of partitions led here up to an offset; -1 means the high watermark. Records
  before it can no longer be read, and their segments go with the next retention run.
- Refused: offsets beyond the high watermark or below -1 (OFFSET_OUT_OF_RANGE), topics that are compacted
  only (POLICY_VIOLATION), internal topics (INVALID_TOPIC_EXCEPTION).
- An offset that has been passed already is no error: the reply has the low watermark as it is.
- Of a partition named twice the last offset counts.
- Answers when the low watermark has reached the offset, or REQUEST_TIMED_OUT after the client's time-out.
"""

from collections.abc import Iterable

import trio

from pybroker.handlers.context import RequestContext
from pybroker.metadata.image import ClusterImage
from pybroker.model.errors import ApiError, ErrorCode
from pybroker.model.ids import UNKNOWN_OFFSET, Offset, TopicPartition
from pybroker.model.topics import is_internal
from pybroker.model.values import State, Value
from pybroker.protocol.messages import DeleteRecordsRequest, DeleteRecordsResponse
from pybroker.replication.partition import Partition
from pybroker.replication.replicas import Replicas
from pybroker.replication.storage_errors import api_error
from pybroker.replication.waiters import waiting_on
from pybroker.storage.errors import StorageError

HIGH_WATERMARK = -1


class _Deletion(State, eq=False):
    """What became of one partition; ``partition`` is None once nothing is left to wait for."""

    reply: DeleteRecordsResponse.DeleteRecordsPartitionResult
    partition: Partition | None = None
    offset: Offset = 0

    def look(self) -> None:
        """Settle it if the low watermark is there, or never will be here."""
        if self.partition is None:
            return
        if not self.partition.is_leader:
            self._settle(ErrorCode.NOT_LEADER_OR_FOLLOWER, UNKNOWN_OFFSET)
            return
        low_watermark = self.partition.low_watermark
        self.reply.low_watermark = low_watermark
        if low_watermark >= self.offset:
            self._settle(ErrorCode.NONE, low_watermark)

    def expire(self) -> None:
        if self.partition is not None:
            self._settle(ErrorCode.REQUEST_TIMED_OUT, self.reply.low_watermark)

    def _settle(self, code: ErrorCode, low_watermark: Offset) -> None:
        self.reply.error_code = code
        self.reply.low_watermark = low_watermark
        self.partition = None


class DeleteRecordsHandler(Value):
    replicas: Replicas

    async def __call__(self, ctx: RequestContext, request: DeleteRecordsRequest) -> DeleteRecordsResponse:
        asked = {
            TopicPartition(topic.name, partition.partition_index): partition.offset
            for topic in request.topics
            for partition in topic.partitions
        }
        topics: dict[str, DeleteRecordsResponse.DeleteRecordsTopicResult] = {}
        deletions: list[_Deletion] = []
        for tp, offset in asked.items():
            deletion = self._start(ctx.image, tp, offset)
            deletions.append(deletion)
            topic = topics.setdefault(tp.topic, DeleteRecordsResponse.DeleteRecordsTopicResult(name=tp.topic))
            topic.partitions.append(deletion.reply)
        await _wait(deletions, request.timeout_ms)
        return DeleteRecordsResponse(topics=list(topics.values()))

    def _start(self, image: ClusterImage, tp: TopicPartition, offset: Offset) -> _Deletion:
        reply = DeleteRecordsResponse.DeleteRecordsPartitionResult(
            partition_index=tp.partition, low_watermark=UNKNOWN_OFFSET
        )
        deletion = _Deletion(reply)
        try:
            if image.partition(tp) is None:
                raise ApiError(ErrorCode.UNKNOWN_TOPIC_OR_PARTITION)
            if is_internal(tp.topic):
                raise ApiError(ErrorCode.INVALID_TOPIC_EXCEPTION)
            partition = self.replicas.leader(image, tp)
            deletion.offset = _delete(partition, offset)
        except StorageError as error:
            reply.error_code = api_error(error).code
        except ApiError as error:
            reply.error_code = error.code
        else:
            deletion.partition = partition
            deletion.look()
        return deletion


def _delete(partition: Partition, asked: Offset) -> Offset:
    """Moves the log start; returns the offset that the low watermark has to reach."""
    if not partition.settings.topic.delete:
        raise ApiError(ErrorCode.POLICY_VIOLATION)
    offset = partition.high_watermark if asked == HIGH_WATERMARK else asked
    if not 0 <= offset <= partition.high_watermark:
        raise ApiError(ErrorCode.OFFSET_OUT_OF_RANGE)
    partition.advance_log_start_offset(offset)
    return offset


async def _wait(deletions: Iterable[_Deletion], timeout_ms: int) -> None:
    pending = [deletion for deletion in deletions if deletion.partition is not None]
    if not pending:
        return
    partitions = [deletion.partition for deletion in pending if deletion.partition is not None]
    with (
        waiting_on(partition.waiters for partition in partitions) as waiter,
        trio.move_on_after(max(0, timeout_ms) / 1000),
    ):
        while any(deletion.partition is not None for deletion in pending):
            await waiter.sleep()
            for deletion in pending:
                deletion.look()
    for deletion in pending:
        deletion.expire()
