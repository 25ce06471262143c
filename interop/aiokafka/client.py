"""aiokafka behind the client port: its asyncio loop runs in a thread of its own."""

import asyncio
import threading
from collections.abc import Coroutine, Mapping, Sequence
from typing import Any, TypeVar

import aiokafka  # type: ignore[import-untyped]
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic  # type: ignore[import-untyped]
from aiokafka.coordinator.assignors.range import RangePartitionAssignor  # type: ignore[import-untyped]
from aiokafka.coordinator.assignors.roundrobin import (  # type: ignore[import-untyped]
    RoundRobinPartitionAssignor,
)
from aiokafka.coordinator.assignors.sticky.sticky_assignor import (  # type: ignore[import-untyped]
    StickyPartitionAssignor,
)
from aiokafka.errors import KafkaError  # type: ignore[import-untyped]

from interop.support.client import (
    EARLIEST,
    LATEST,
    GroupMember,
    GroupSettings,
    Message,
    Producer,
    ProducerSettings,
    Reader,
    Received,
    Traits,
    TransactionalProducer,
)
from interop.support.waiting import Deadline

T = TypeVar("T")

CALL_TIMEOUT_S = 90.0
POLL_MS = 200
ASSIGNORS = {
    "range": RangePartitionAssignor,
    "roundrobin": RoundRobinPartitionAssignor,
    "sticky": StickyPartitionAssignor,
}


class LoopThread:
    """An asyncio event loop in a thread; `run` is a blocking call into it."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="aiokafka", daemon=True)
        self._thread.start()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(CALL_TIMEOUT_S)

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


class Aiokafka:
    """The asyncio client."""

    name = "aiokafka"
    version = aiokafka.__version__
    traits = Traits(null_header_values=False)
    errors = (KafkaError,)
    strategies = tuple(ASSIGNORS)
    faulty_strategies: Mapping[str, str] = {}

    def __init__(self, bootstrap: str) -> None:
        self._bootstrap = bootstrap
        self._loop = LoopThread()
        self._admin, self._asker = self._loop.run(self._connect())

    async def _connect(self) -> tuple[AIOKafkaAdminClient, AIOKafkaConsumer]:
        admin = AIOKafkaAdminClient(bootstrap_servers=self._bootstrap)
        asker = AIOKafkaConsumer(bootstrap_servers=self._bootstrap)
        await admin.start()
        await asker.start()
        return admin, asker

    def create_topic(self, topic: str, partitions: int, configs: Mapping[str, str] | None = None) -> None:
        self._loop.run(self._create(NewTopic(topic, partitions, 1, topic_configs=dict(configs or {}))))

    async def _create(self, topic: NewTopic) -> None:
        answer = await self._admin.create_topics([topic])
        for error in answer.topic_errors:
            assert error[1] == 0, f"{topic.name}: {error}"

    def delete_topic(self, topic: str) -> None:
        self._loop.run(self._delete(topic))

    async def _delete(self, topic: str) -> None:
        answer = await self._admin.delete_topics([topic])
        for name, code in answer.topic_error_codes:
            assert code == 0, f"{name}: error {code}"

    def topics(self) -> Mapping[str, int]:
        described: list[Mapping[str, Any]] = self._loop.run(self._admin.describe_topics())
        return {topic["topic"]: len(topic["partitions"]) for topic in described}

    def producer(self, settings: ProducerSettings) -> Producer:
        return _Producer(self._loop, self._bootstrap, settings)

    def reader(self, topic: str, partition: int, offset: int) -> Reader:
        return _Reader(self._loop, self._bootstrap, TopicPartition(topic, partition), offset)

    def transactional_producer(self, transactional_id: str) -> TransactionalProducer:
        return _TransactionalProducer(self._loop, self._bootstrap, transactional_id)

    def committed_reader(self, topic: str, partition: int, offset: int) -> Reader:
        where = TopicPartition(topic, partition)
        return _Reader(self._loop, self._bootstrap, where, offset, "read_committed")

    def offset_at(self, topic: str, partition: int, timestamp_ms: int) -> int | None:
        where = TopicPartition(topic, partition)
        found = self._loop.run(self._asker.offsets_for_times({where: timestamp_ms}))[where]
        return None if found is None else int(found.offset)

    def end_offset(self, topic: str, partition: int) -> int:
        where = TopicPartition(topic, partition)
        return int(self._loop.run(self._asker.end_offsets([where]))[where])

    def member(self, settings: GroupSettings) -> GroupMember:
        return _Member(self._loop, self._bootstrap, settings)

    def committed(self, group: str, topic: str, partition: int) -> int | None:
        where = TopicPartition(topic, partition)
        offsets = self._loop.run(self._admin.list_consumer_group_offsets(group, partitions=[where]))
        return None if offsets[where].offset < 0 else int(offsets[where].offset)

    def set_committed(self, group: str, topic: str, partition: int, offset: int) -> None:
        """As a consumer that takes its partitions by hand."""
        self._loop.run(self._set_committed(group, TopicPartition(topic, partition), offset))

    async def _set_committed(self, group: str, where: TopicPartition, offset: int) -> None:
        consumer = AIOKafkaConsumer(
            bootstrap_servers=self._bootstrap, group_id=group, enable_auto_commit=False
        )
        await consumer.start()
        try:
            consumer.assign([where])
            await consumer.commit({where: offset})
        finally:
            await consumer.stop()

    def close(self) -> None:
        self._loop.run(self._disconnect())
        self._loop.close()

    async def _disconnect(self) -> None:
        await self._asker.stop()
        await self._admin.close()


class _Producer(Producer):
    def __init__(
        self,
        loop: LoopThread,
        bootstrap: str,
        settings: ProducerSettings,
        transactional_id: str | None = None,
    ) -> None:
        self._loop = loop
        self._futures: list[asyncio.Future[Any]] = []
        self._producer = loop.run(self._start(bootstrap, settings, transactional_id))

    @staticmethod
    async def _start(
        bootstrap: str, settings: ProducerSettings, transactional_id: str | None
    ) -> AIOKafkaProducer:
        producer = AIOKafkaProducer(
            bootstrap_servers=bootstrap,
            acks=settings.acks if settings.acks == "all" else int(settings.acks),
            compression_type=None if settings.codec == "none" else settings.codec,
            enable_idempotence=settings.idempotent,
            transactional_id=transactional_id,
            max_batch_size=1 << 20,
            linger_ms=5,
            **({} if settings.max_bytes is None else {"max_request_size": settings.max_bytes}),
        )
        await producer.start()
        return producer

    def send(self, topic: str, messages: Sequence[Message]) -> None:
        self._loop.run(self._send(topic, messages))

    async def _send(self, topic: str, messages: Sequence[Message]) -> None:
        for message in messages:
            future = await self._producer.send(
                topic, value=message.value, key=message.key, partition=message.partition,
                timestamp_ms=message.timestamp_ms, headers=list(message.headers),
            )  # fmt: skip
            self._futures.append(future)

    def flush(self, timeout_s: float) -> None:
        self._loop.run(asyncio.wait_for(self._flush(), timeout_s))

    async def _flush(self) -> None:
        await self._producer.flush()
        await asyncio.gather(*self._futures)
        self._futures.clear()

    def close(self) -> None:
        self._loop.run(self._producer.stop())


class _TransactionalProducer(_Producer, TransactionalProducer):
    def __init__(self, loop: LoopThread, bootstrap: str, transactional_id: str) -> None:
        super().__init__(loop, bootstrap, ProducerSettings(idempotent=True), transactional_id)

    def begin(self) -> None:
        self._loop.run(self._producer.begin_transaction())

    def send_offsets(self, member: GroupMember, group: str) -> None:
        assert isinstance(member, _Member)
        self._loop.run(self._send_offsets(member.consumer, group))

    async def _send_offsets(self, consumer: AIOKafkaConsumer, group: str) -> None:
        positions = {one: await consumer.position(one) for one in consumer.assignment()}
        await self._producer.send_offsets_to_transaction(positions, group)

    def commit(self) -> None:
        self._loop.run(self._producer.commit_transaction())

    def abort(self) -> None:
        self._loop.run(self._producer.abort_transaction())
        self._futures.clear()


class _Reader(Reader):
    def __init__(
        self,
        loop: LoopThread,
        bootstrap: str,
        where: TopicPartition,
        offset: int,
        isolation: str = "read_uncommitted",
    ) -> None:
        self._loop = loop
        self._consumer = loop.run(self._start(bootstrap, where, offset, isolation))

    @staticmethod
    async def _start(bootstrap: str, where: TopicPartition, offset: int, isolation: str) -> AIOKafkaConsumer:
        consumer = AIOKafkaConsumer(
            bootstrap_servers=bootstrap, auto_offset_reset="none", isolation_level=isolation
        )
        await consumer.start()
        consumer.assign([where])
        if offset == EARLIEST:
            await consumer.seek_to_beginning(where)
        elif offset == LATEST:
            await consumer.seek_to_end(where)
        else:
            consumer.seek(where, offset)
        return consumer

    def read(self, count: int, timeout_s: float) -> list[Received]:
        return self._loop.run(self._read(count, timeout_s))

    async def _read(self, count: int, timeout_s: float) -> list[Received]:
        records: list[Received] = []
        deadline = Deadline(timeout_s)
        while len(records) < count and not deadline.passed:
            records += received(await self._consumer.getmany(timeout_ms=POLL_MS))
        return records

    def close(self) -> None:
        self._loop.run(self._consumer.stop())


class _Member(GroupMember):
    def __init__(self, loop: LoopThread, bootstrap: str, settings: GroupSettings) -> None:
        self._loop = loop
        self.consumer = self._consumer = loop.run(self._start(bootstrap, settings))

    @staticmethod
    async def _start(bootstrap: str, settings: GroupSettings) -> AIOKafkaConsumer:
        consumer = AIOKafkaConsumer(
            bootstrap_servers=bootstrap,
            group_id=settings.group,
            group_instance_id=settings.instance_id,
            partition_assignment_strategy=[ASSIGNORS[settings.strategy]],
            auto_offset_reset="earliest",
            enable_auto_commit=False,
            session_timeout_ms=6000,
            heartbeat_interval_ms=500,
            metadata_max_age_ms=1000,
        )
        pattern = settings.topics[0] if settings.topics[0].startswith("^") else None
        consumer.subscribe(topics=() if pattern else settings.topics, pattern=pattern)
        await consumer.start()
        return consumer

    def poll(self, timeout_s: float) -> list[Received]:
        return received(self._loop.run(self._consumer.getmany(timeout_ms=int(timeout_s * 1000))))

    def assignment(self) -> frozenset[tuple[str, int]]:
        return frozenset((each.topic, each.partition) for each in self._consumer.assignment())

    def commit(self) -> None:
        self._loop.run(self._consumer.commit())

    def close(self) -> None:
        self._loop.run(self._consumer.stop())


def received(polled: Mapping[TopicPartition, Sequence[Any]]) -> list[Received]:
    """The records of one poll, in the order of each partition."""
    return [
        Received(
            record.partition, record.offset, record.timestamp, record.key, record.value, tuple(record.headers)
        )
        for records in polled.values()
        for record in records
    ]
