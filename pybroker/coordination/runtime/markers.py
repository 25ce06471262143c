"""Transaction markers: written to the partitions led here, sent to the brokers that lead the others."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import trio

from pybroker.model.errors import ApiError, ErrorCode
from pybroker.model.ids import BrokerId, LeaderEpoch, ProducerId, TopicPartition
from pybroker.model.topics import CONSUMER_OFFSETS

if TYPE_CHECKING:  # app/warming.py says what is late
    from pybroker.coordination.effects import SendMarkers, TransactionMarker
    from pybroker.coordination.runtime.partition_log import PartitionLog
    from pybroker.metadata.image import ClusterImage
    from pybroker.protocol.messages import WriteTxnMarkersRequest
    from pybroker.replication.replicas import Replicas

logger = logging.getLogger(__name__)


class OtherBrokers(Protocol):
    """How other brokers are asked."""

    async def ask(self, broker_id: BrokerId, request: Any) -> Any:
        """The response to a request between brokers.

        Raises:
            ApiError: NETWORK_EXCEPTION, there was none.
        """


class TransactionMarkers:
    """Writes markers. Both the coordinator and other brokers' coordinators end transactions through it.

    Args:
        on_offsets_marker: told when a partition of ``__consumer_offsets`` has got a marker: partition,
            producer id, and whether it was a commit.
        timeout_s: the longest wait for replicas, in real time.
    """

    def __init__(
        self,
        broker_id: BrokerId,
        replicas: Replicas,
        image: Callable[[], ClusterImage],
        others: OtherBrokers,
        now_ms: Callable[[], int],
        on_offsets_marker: Callable[[int, ProducerId, bool], None],
        timeout_s: float,
    ) -> None:
        self._broker_id = broker_id
        self._replicas = replicas
        self._image = image
        self._others = others
        self._now_ms = now_ms
        self._on_offsets_marker = on_offsets_marker
        self._timeout_s = timeout_s

    async def write(
        self, item: SendMarkers, coordinator_epoch: LeaderEpoch
    ) -> Mapping[TopicPartition, ErrorCode]:
        """Write a marker wherever its partitions are led. A partition that does not exist any more needs
        none."""
        codes: dict[TopicPartition, ErrorCode] = {}
        by_leader: dict[BrokerId, list[TopicPartition]] = {}
        image = self._image()
        for tp in item.partitions:
            known = image.partition(tp)
            if known is None:
                codes[tp] = ErrorCode.NONE
            elif known.leader < 0:
                codes[tp] = ErrorCode.NOT_LEADER_OR_FOLLOWER
            else:
                by_leader.setdefault(known.leader, []).append(tp)

        async def to(leader: BrokerId, partitions: Sequence[TopicPartition]) -> None:
            if leader == self._broker_id:
                codes.update(await self.append(item.marker, coordinator_epoch, partitions))
            else:
                codes.update(await self._send(leader, item.marker, coordinator_epoch, partitions))

        if len(by_leader) == 1:
            await to(*by_leader.popitem())
        else:
            async with trio.open_nursery() as nursery:
                for leader, partitions in by_leader.items():
                    nursery.start_soon(to, leader, partitions)
        return codes

    async def append(
        self,
        marker: TransactionMarker,
        coordinator_epoch: LeaderEpoch,
        partitions: Iterable[TopicPartition],
    ) -> dict[TopicPartition, ErrorCode]:
        """Write a marker into partitions that this broker leads; one code for each, when it is committed."""
        from pybroker.coordination.runtime.partition_log import PartitionLog
        from pybroker.records.control import (
            ControlRecordType,
            EndTransactionMarker,
            build_end_transaction_marker,
        )

        kind = ControlRecordType.COMMIT if marker.is_commit else ControlRecordType.ABORT
        batch = build_end_transaction_marker(
            EndTransactionMarker(kind, coordinator_epoch),
            producer_id=marker.producer_id,
            producer_epoch=marker.producer_epoch,
            timestamp_ms=self._now_ms(),
        )
        codes: dict[TopicPartition, ErrorCode] = {}
        appended: list[tuple[TopicPartition, PartitionLog, int]] = []
        image = self._image()
        for tp in partitions:
            try:
                partition = self._replicas.leader(image, tp)
                log = PartitionLog(partition, partition.leader_epoch)
                log.check_marker(marker)
                appended.append((tp, log, log.append(batch, all_replicas=True)[1]))
            except ApiError as error:
                codes[tp] = error.code
        for tp, log, end in appended:
            codes[tp] = await self._committed(log, end)
            if codes[tp] is ErrorCode.NONE and tp.topic == CONSUMER_OFFSETS:
                self._on_offsets_marker(tp.partition, marker.producer_id, marker.is_commit)
        return codes

    async def _committed(self, log: PartitionLog, end: int) -> ErrorCode:
        if not log.is_committed(end):
            try:
                await log.committed(end, self._timeout_s)
            except ApiError as error:
                return error.code
        return ErrorCode.NONE

    async def _send(
        self,
        leader: BrokerId,
        marker: TransactionMarker,
        coordinator_epoch: LeaderEpoch,
        partitions: Sequence[TopicPartition],
    ) -> dict[TopicPartition, ErrorCode]:
        try:
            response = await self._others.ask(leader, _request(marker, coordinator_epoch, partitions))
        except ApiError as error:
            logger.info(
                "markers for %d partitions do not reach broker %d: %s", len(partitions), leader, error
            )
            return dict.fromkeys(partitions, error.code)
        codes = dict.fromkeys(partitions, ErrorCode.UNKNOWN_SERVER_ERROR)
        for answered in response.markers:
            for topic in answered.topics:
                for one in topic.partitions:
                    codes[TopicPartition(topic.name, one.partition_index)] = ErrorCode(one.error_code)
        return codes


def _request(
    marker: TransactionMarker, coordinator_epoch: LeaderEpoch, partitions: Sequence[TopicPartition]
) -> WriteTxnMarkersRequest:
    from pybroker.protocol.messages import WriteTxnMarkersRequest

    topics: dict[str, list[int]] = {}
    for tp in partitions:
        topics.setdefault(tp.topic, []).append(tp.partition)
    writable = WriteTxnMarkersRequest.WritableTxnMarker(
        producer_id=marker.producer_id,
        producer_epoch=marker.producer_epoch,
        transaction_result=marker.is_commit,
        topics=[
            WriteTxnMarkersRequest.WritableTxnMarkerTopic(name=name, partition_indexes=indexes)
            for name, indexes in topics.items()
        ],
        coordinator_epoch=coordinator_epoch,
        transaction_version=marker.transaction_version,
    )
    return WriteTxnMarkersRequest(markers=[writable])
