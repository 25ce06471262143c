"""DescribeLogDirs (key 35), versions 0 to 4 (KIP-113).

- Every log directory with the replicas in it: their size, how far they lag behind the high watermark, and
  whether they are being moved there. Null asks for all partitions; those that are not here are left out.
- A directory that is offline has KAFKA_STORAGE_ERROR and no replicas.

Versions: 3 an error for the whole request; 4 the size of the file system and what is free (KIP-827).
Left out: version 5, cordoned directories (KIP-1066, Kafka 4.3).
"""

import shutil
from collections.abc import Container, Iterable

from pybroker.handlers.context import RequestContext
from pybroker.model.errors import ErrorCode
from pybroker.model.ids import TopicPartition
from pybroker.model.values import Value
from pybroker.protocol.messages import DescribeLogDirsRequest, DescribeLogDirsResponse
from pybroker.replication.replicas import Replicas
from pybroker.storage.log import Log
from pybroker.storage.log_manager import LogManager

UNKNOWN_LAG = -1
"""Of a log whose partition is not served here."""


class DescribeLogDirsHandler(Value):
    logs: LogManager
    replicas: Replicas

    async def __call__(self, ctx: RequestContext, request: DescribeLogDirsRequest) -> DescribeLogDirsResponse:  # noqa: ARG002
        wanted: Container[TopicPartition] | None = None
        if request.topics is not None:
            wanted = {
                TopicPartition(topic.topic, index) for topic in request.topics for index in topic.partitions
            }
        placed = [
            *((log, False) for log in self.logs.all_logs()),
            *((log, True) for log in self.logs.future_logs()),
        ]
        if wanted is not None:
            placed = [(log, is_future) for log, is_future in placed if log.topic_partition in wanted]
        online = set(self.logs.online_dirs())
        return DescribeLogDirsResponse(
            results=[
                self._describe(path, ((log, is_future) for log, is_future in placed if log.log_dir == path))
                if path in online
                else _offline(path)
                for path in self.logs.dirs
            ]
        )

    def _describe(
        self, path: str, placed: Iterable[tuple[Log, bool]]
    ) -> DescribeLogDirsResponse.DescribeLogDirsResult:
        try:
            usage = shutil.disk_usage(path)
        except OSError:
            return _offline(path)
        topics: dict[str, DescribeLogDirsResponse.DescribeLogDirsTopic] = {}
        for log, is_future in placed:
            tp = log.topic_partition
            topic = topics.setdefault(tp.topic, DescribeLogDirsResponse.DescribeLogDirsTopic(name=tp.topic))
            topic.partitions.append(
                DescribeLogDirsResponse.DescribeLogDirsPartition(
                    partition_index=tp.partition,
                    partition_size=log.size_in_bytes,
                    offset_lag=self._lag(log, is_future=is_future),
                    is_future_key=is_future,
                )
            )
        return DescribeLogDirsResponse.DescribeLogDirsResult(
            log_dir=path, topics=list(topics.values()), total_bytes=usage.total, usable_bytes=usage.free
        )

    def _lag(self, log: Log, *, is_future: bool) -> int:
        partition = self.replicas.find(log.topic_partition)
        if partition is None:
            return UNKNOWN_LAG
        if is_future:
            return partition.log.log_end_offset - log.log_end_offset
        return max(partition.high_watermark - log.log_end_offset, 0)


def _offline(path: str) -> DescribeLogDirsResponse.DescribeLogDirsResult:
    return DescribeLogDirsResponse.DescribeLogDirsResult(
        log_dir=path, error_code=ErrorCode.KAFKA_STORAGE_ERROR
    )
