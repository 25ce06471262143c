"""What a test sets up or looks up in a running cluster: the brokers' handlers do it, without a connection."""

import itertools
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any, TypeVar

import trio

from pybroker.app.broker import Broker
from pybroker.control.operations import NoSuchThing, OperationFailed
from pybroker.coordination.partitioning import coordinator_partition
from pybroker.coordination.runtime.transactions import TransactionCoordinator
from pybroker.instruments.plain import plain_record
from pybroker.metadata.image import ClusterImage
from pybroker.model.errors import ApiError, ErrorCode
from pybroker.model.ids import BrokerId, TopicPartition
from pybroker.model.topics import CONSUMER_OFFSETS
from pybroker.protocol.messages import (
    CreateTopicsRequest,
    FetchRequest,
    FindCoordinatorRequest,
    OffsetCommitRequest,
    ProduceRequest,
)
from pybroker.records.batch import iter_records
from pybroker.records.builder import RecordBatchBuilder
from pybroker.records.header import Record, iter_batch_headers
from pybroker.testing.host import Host
from pybroker.testing.seeds import Seed, SeedOffset, SeedRecord, SeedTopic

T = TypeVar("T")

LOOK_AGAIN_S = 0.002
"""How often it looks whether something has come true that no event tells of."""

COORDINATOR_GROUP = 0
COORDINATOR_TRANSACTION = 1


class Administration:
    """Topics, records, offsets and leaders of the cluster that a host runs."""

    def __init__(self, host: Host) -> None:
        self._host = host

    @property
    def image(self) -> ClusterImage:
        """The cluster as its controller knows it."""
        return self._controller().image

    # -- topics and records --------------------------------------------------------------------------

    async def plant(self, seed: Seed) -> None:
        """Creates what a seed describes, and returns when clients would see it.

        Raises:
            OperationFailed: the cluster refuses a part of it.
        """
        if seed.topics:
            await self.create_topics(seed.topics)
        for topic in seed.topics:
            await self.produce(topic.name, topic.records, topic.partitions or 1)
        for offset in seed.offsets:
            await self.commit(offset)

    async def create_topics(self, topics: Sequence[SeedTopic]) -> None:
        wanted = [
            CreateTopicsRequest.CreatableTopic(
                name=topic.name,
                num_partitions=-1 if topic.partitions is None else topic.partitions,
                replication_factor=-1 if topic.replication_factor is None else topic.replication_factor,
                configs=[
                    CreateTopicsRequest.CreatableTopicConfig(name=name, value=value)
                    for name, value in topic.configs.items()
                ],
            )
            for topic in topics
        ]
        request = CreateTopicsRequest(topics=wanted, timeout_ms=30_000)
        response = await self._controller().local_client().ask(request)
        for result in response.topics:
            if result.error_code:
                raise _failed(f"topic {result.name}", result.error_code, result.error_message)
        for topic in topics:
            await self.until_led(topic.name)

    async def produce(self, topic: str, records: Sequence[SeedRecord], partition_count: int) -> None:
        """Appends records; those that name no partition go to one after the other."""
        by_partition: dict[int, list[SeedRecord]] = {}
        turns = itertools.cycle(range(partition_count))
        for record in records:
            target = next(turns) if record.partition is None else record.partition
            by_partition.setdefault(target, []).append(record)
        for partition, chosen in by_partition.items():
            await self._append(TopicPartition(topic, partition), chosen)

    async def _append(self, tp: TopicPartition, records: Iterable[SeedRecord]) -> None:
        builder = RecordBatchBuilder()
        for record in records:
            timestamp = self._host.clock.now_ms() if record.timestamp_ms is None else record.timestamp_ms
            headers = [(name, value.encode()) for name, value in record.headers.items()]
            builder.append(_bytes(record.key), _bytes(record.value), timestamp, headers)
        part = ProduceRequest.PartitionProduceData(
            index=tp.partition, records=memoryview(bytearray(builder.build()))
        )
        data = ProduceRequest.TopicProduceData(name=tp.topic, partition_data=[part])
        request = ProduceRequest(acks=-1, timeout_ms=30_000, topic_data=[data])
        response = await self._leader(tp).local_client().ask(request, 9)
        answer = response.responses[0].partition_responses[0]
        if answer.error_code:
            raise _failed(f"records for {tp}", answer.error_code, answer.error_message)

    async def commit(self, offset: SeedOffset) -> None:
        """Commits an offset as somebody without a membership does."""
        part = OffsetCommitRequest.OffsetCommitRequestPartition(
            partition_index=offset.partition,
            committed_offset=offset.offset,
            committed_metadata=offset.metadata,
        )
        topic = OffsetCommitRequest.OffsetCommitRequestTopic(name=offset.topic, partitions=[part])
        request = OffsetCommitRequest(group_id=offset.group, topics=[topic])
        coordinator = await self.coordinator(offset.group)
        response = await self._asked_until_loaded(
            lambda: coordinator.local_client().ask(request, 8),
            lambda found: found.topics[0].partitions[0].error_code,
        )
        code = response.topics[0].partitions[0].error_code
        if code:
            raise _failed(f"the offset of group {offset.group}", code, None)

    async def records(
        self, topic: str, partition: int | None, offset: int, limit: int
    ) -> list[dict[str, Any]]:
        """Records of one or all partitions, up to their high watermarks, as plain data. Those before the log
        start offset are gone.

        Raises:
            NoSuchThing: there is no such topic or partition.
        """
        found: list[dict[str, Any]] = []
        for index in self._partitions(topic, partition):
            tp = TopicPartition(topic, index)
            for record in await self._read(tp, offset):
                if len(found) == limit:
                    return found
                found.append({"partition": index, **plain_record(record)})
        return found

    async def _read(self, tp: TopicPartition, offset: int) -> list[Record]:
        leader = self._leader(tp)
        hosted = leader.replicas.find(tp)
        offset = max(offset, 0 if hosted is None else hosted.log.log_start_offset)
        wanted = FetchRequest.FetchPartition(
            partition=tp.partition, fetch_offset=offset, partition_max_bytes=1 << 30
        )
        topic = FetchRequest.FetchTopic(topic=tp.topic, partitions=[wanted])
        request = FetchRequest(replica_id=-1, max_bytes=1 << 30, topics=[topic])
        response = await leader.local_client().ask(request, 12)
        (part,) = response.responses[0].partitions
        if part.error_code:
            raise _failed(f"{tp} at offset {offset}", part.error_code, None)
        data = part.records
        raw = memoryview(data.read() if hasattr(data, "read") else bytes(data or b""))
        if hasattr(data, "release"):
            data.release()
        found = []
        for position, header in iter_batch_headers(raw):
            end = position + header.size_in_bytes
            if end <= len(raw) and not header.is_control:
                found += [
                    record for record in iter_records(raw[position:end], header) if record.offset >= offset
                ]
        return found

    def end_offsets(self, topic: str, partition: int | None) -> dict[int, int]:
        """The high watermarks by partition.

        Raises:
            NoSuchThing: there is no such topic or partition, or a leader does not run.
        """
        ends = {}
        for index in self._partitions(topic, partition):
            tp = TopicPartition(topic, index)
            hosted = self._leader(tp).replicas.find(tp)
            ends[index] = 0 if hosted is None else hosted.high_watermark
        return ends

    # -- leaders -------------------------------------------------------------------------------------

    async def set_leadership(
        self, tp: TopicPartition, leader: BrokerId | None = None, isr: Sequence[BrokerId] | None = None
    ) -> None:
        """Moves a leader, changes an ISR, or (with neither) bumps the leader epoch; returns when all running
        brokers know. Who is paused learns of it when it goes on.

        Raises:
            OperationFailed: there is no such partition, or a broker cannot be what it shall be.
        """
        before = self.image.partition(tp)
        try:
            await self._controller().controller_api.dictate(tp, leader, isr)
        except ApiError as error:
            raise OperationFailed(str(error)) from None
        epoch = -1 if before is None else before.leader_epoch
        await self.until(lambda: all(self._epoch(broker, tp) > epoch for broker in self._answering()))

    def coordinator_partition(self, key: str, topic: str = CONSUMER_OFFSETS) -> TopicPartition:
        """The partition whose leader coordinates a group, or a transactional id.

        Raises:
            NoSuchThing: nobody has asked for a coordinator yet, so the topic is not there.
        """
        return TopicPartition(topic, coordinator_partition(key, len(self._partitions(topic, None))))

    async def transactions(self, transactional_id: str) -> TransactionCoordinator:
        """Who coordinates a transactional id, once it knows its transactions."""
        broker = await self.coordinator(transactional_id, COORDINATOR_TRANSACTION)
        await broker.transactions.loaded()
        return broker.transactions

    async def coordinator(self, key: str, key_type: int = COORDINATOR_GROUP) -> Broker:
        """The broker that coordinates a group or a transactional id; the internal topic is created if it must
        be."""
        request = FindCoordinatorRequest(key_type=key_type, coordinator_keys=[key])
        response = await self._asked_until_loaded(
            lambda: self._host.any_running().local_client().ask(request, 4),
            lambda found: found.coordinators[0].error_code,
        )
        return self._host.running(response.coordinators[0].node_id)

    # -- waiting -------------------------------------------------------------------------------------

    async def until(self, is_so: Callable[[], bool]) -> None:
        """Returns when something is so."""
        while not is_so():
            await trio.sleep(LOOK_AGAIN_S)

    async def until_led(self, topic: str, partition_count: int = 1) -> None:
        """Returns when a topic has at least so many partitions and every running broker knows all leaders;
        who is paused learns of them when it goes on."""

        def is_led(broker: Broker) -> bool:
            found = broker.image.topics.get(topic)
            return (
                found is not None
                and len(found.partitions) >= partition_count
                and all(partition.leader >= 0 for partition in found.partitions.values())
            )

        await self.until(lambda: all(is_led(broker) for broker in self._answering()))

    async def _asked_until_loaded(self, ask: Callable[[], Awaitable[T]], code_of: Callable[[T], int]) -> T:
        while True:
            response = await ask()
            if code_of(response) not in _NOT_YET:
                return response
            await trio.sleep(LOOK_AGAIN_S)

    # -- finding -------------------------------------------------------------------------------------

    def _running(self) -> list[Broker]:
        return [hosted.broker for hosted in self._host.brokers.values() if hosted.broker is not None]

    def _answering(self) -> list[Broker]:
        brokers = self._host.brokers.values()
        return [each.broker for each in brokers if each.broker is not None and each.gate.is_open]

    def _controller(self) -> Broker:
        for broker in self._running():
            if broker.controller_api.is_active:
                return broker
        raise NoSuchThing("no running broker is the controller")

    def _epoch(self, broker: Broker, tp: TopicPartition) -> int:
        found = broker.image.partition(tp)
        return -1 if found is None else found.leader_epoch

    def _leader(self, tp: TopicPartition) -> Broker:
        found = self.image.partition(tp)
        if found is None:
            raise NoSuchThing(f"there is no partition {tp}")
        return self._host.running(found.leader)

    def _partitions(self, topic: str, partition: int | None) -> list[int]:
        found = self.image.topics.get(topic)
        if found is None:
            known = ", ".join(sorted(self.image.topics)) or "none"
            raise NoSuchThing(f"there is no topic {topic!r}; there are: {known}")
        if partition is None:
            return sorted(found.partitions)
        if partition not in found.partitions:
            raise NoSuchThing(
                f"topic {topic} has no partition {partition}, only 0 to {len(found.partitions) - 1}"
            )
        return [partition]


_NOT_YET = (
    ErrorCode.COORDINATOR_NOT_AVAILABLE,
    ErrorCode.COORDINATOR_LOAD_IN_PROGRESS,
    ErrorCode.NOT_COORDINATOR,
)


def _failed(what: str, code: int, message: str | None) -> OperationFailed:
    name = ErrorCode(code).name
    return OperationFailed(f"{what}: {name}" + (f": {message}" if message else ""))


def _bytes(text: str | None) -> bytes | None:
    return None if text is None else text.encode()
