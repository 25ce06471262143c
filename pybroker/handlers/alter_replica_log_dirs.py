"""AlterReplicaLogDirs (key 34), versions 0 to 2 (KIP-113).

- Moves replicas that this broker has to another of its log directories; answers when the move has begun.
  DescribeLogDirs shows how far it is. Ordered back to where it is, a replica stays there.
- Moved on to a third directory, a replica begins anew there.
- A replica that is not here yet will be made in that directory, and is answered REPLICA_NOT_AVAILABLE; one
  of a partition that does not exist yet too, and is answered UNKNOWN_TOPIC_OR_PARTITION.
- Of a partition named twice the last directory counts.
"""

from pybroker.handlers.context import RequestContext
from pybroker.model.errors import ApiError, ErrorCode
from pybroker.model.ids import TopicPartition
from pybroker.model.values import Value
from pybroker.protocol.messages import AlterReplicaLogDirsRequest, AlterReplicaLogDirsResponse
from pybroker.replication.log_dir_moves import LogDirMoves


class AlterReplicaLogDirsHandler(Value):
    moves: LogDirMoves

    async def __call__(
        self,
        ctx: RequestContext,
        request: AlterReplicaLogDirsRequest,
    ) -> AlterReplicaLogDirsResponse:
        wanted = {
            TopicPartition(topic.name, index): log_dir.path
            for log_dir in request.dirs
            for topic in log_dir.topics
            for index in topic.partitions
        }
        topics: dict[str, AlterReplicaLogDirsResponse.AlterReplicaLogDirTopicResult] = {}
        for tp, path in wanted.items():
            result = topics.setdefault(
                tp.topic,
                AlterReplicaLogDirsResponse.AlterReplicaLogDirTopicResult(topic_name=tp.topic, partitions=[]),
            )
            result.partitions.append(
                AlterReplicaLogDirsResponse.AlterReplicaLogDirPartitionResult(
                    partition_index=tp.partition, error_code=self._order(ctx, tp, path)
                )
            )
        return AlterReplicaLogDirsResponse(results=list(topics.values()))

    def _order(self, ctx: RequestContext, tp: TopicPartition, path: str) -> ErrorCode:
        try:
            self.moves.order(tp, path)
        except ApiError as error:
            if error.code is ErrorCode.REPLICA_NOT_AVAILABLE and ctx.image.partition(tp) is None:
                return ErrorCode.UNKNOWN_TOPIC_OR_PARTITION
            return error.code
        return ErrorCode.NONE
