"""confluent-kafka, the Python binding of librdkafka, behind the client port."""

from collections.abc import Mapping, Sequence

import confluent_kafka
from confluent_kafka import Consumer, ConsumerGroupTopicPartitions, KafkaError, KafkaException, TopicPartition
from confluent_kafka import Message as RawMessage
from confluent_kafka import Producer as RawProducer
from confluent_kafka.admin import AdminClient, NewTopic  # type: ignore[attr-defined]

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
from interop.support.consumer_protocol_journeys import CONSUMER
from interop.support.waiting import Deadline

REQUEST_TIMEOUT_S = 60.0
POLL_S = 0.2
BATCH = 2000
ASSIGNORS = {"range": "range", "roundrobin": "roundrobin", "cooperative": "cooperative-sticky"}
STARTS = {EARLIEST: confluent_kafka.OFFSET_BEGINNING, LATEST: confluent_kafka.OFFSET_END}
RECONNECT = {"reconnect.backoff.max.ms": 500}
REBOOTSTRAPS = confluent_kafka.libversion()[1] >= 0x020A0000
STALE_COORDINATOR = {"metadata.recovery.strategy": "none"} if REBOOTSTRAPS else {}
"""For an administrator that outlives the broker: since 2.10 librdkafka drops what it lost, but still
waits for it as the coordinator of a group (its issue 5511; with Apache Kafka too)."""
RESTART_FAULT = "librdkafka 2.3 can fail with 'Unable to reconstruct MessageSet' after a lost connection"


class Librdkafka:
    """librdkafka as confluent-kafka ships it."""

    name = "confluent-kafka"
    version = f"{confluent_kafka.__version__} (librdkafka {confluent_kafka.libversion()[0]})"
    traits = Traits(restart_fault=RESTART_FAULT if confluent_kafka.libversion()[1] < 0x02040000 else "")
    errors = (KafkaException,)
    strategies = tuple(ASSIGNORS)
    faulty_strategies: Mapping[str, str] = {}

    def __init__(self, bootstrap: str) -> None:
        self._settings: dict[str, str | int | bool] = {"bootstrap.servers": bootstrap, **RECONNECT}
        self._admin = AdminClient({**self._settings, **STALE_COORDINATOR})
        self._asker = Consumer({**self._settings, "group.id": "interop-asker", "enable.auto.commit": False})

    def create_topic(self, topic: str, partitions: int, configs: Mapping[str, str] | None = None) -> None:
        asked = NewTopic(topic, partitions, 1, config=dict(configs or {}))
        for future in self._admin.create_topics([asked]).values():
            future.result(REQUEST_TIMEOUT_S)

    def delete_topic(self, topic: str) -> None:
        for future in self._admin.delete_topics([topic]).values():
            future.result(REQUEST_TIMEOUT_S)

    def topics(self) -> Mapping[str, int]:
        listed = self._admin.list_topics(timeout=REQUEST_TIMEOUT_S).topics
        return {name: len(topic.partitions) for name, topic in listed.items()}

    def producer(self, settings: ProducerSettings) -> Producer:
        return _Producer(self._settings, settings)

    def reader(self, topic: str, partition: int, offset: int) -> Reader:
        return _Reader(self._settings, topic, partition, offset)

    def transactional_producer(self, transactional_id: str) -> TransactionalProducer:
        return _TransactionalProducer(self._settings, transactional_id)

    def committed_reader(self, topic: str, partition: int, offset: int) -> Reader:
        return _Reader(self._settings, topic, partition, offset, "read_committed")

    def offset_at(self, topic: str, partition: int, timestamp_ms: int) -> int | None:
        asked = [TopicPartition(topic, partition, timestamp_ms)]
        found = self._asker.offsets_for_times(asked, timeout=REQUEST_TIMEOUT_S)[0]
        if found.error is not None:
            raise KafkaException(found.error)
        return found.offset if found.offset >= 0 else None

    def end_offset(self, topic: str, partition: int) -> int:
        low_and_high = self._asker.get_watermark_offsets(
            TopicPartition(topic, partition), timeout=REQUEST_TIMEOUT_S, cached=False
        )
        assert low_and_high is not None, "the query for offsets timed out"
        return int(low_and_high[1])

    def member(self, settings: GroupSettings) -> GroupMember:
        return _Member(self._settings, settings)

    def committed(self, group: str, topic: str, partition: int) -> int | None:
        asked = [ConsumerGroupTopicPartitions(group, [TopicPartition(topic, partition)])]
        answer = self._admin.list_consumer_group_offsets(asked)[group].result(REQUEST_TIMEOUT_S)
        offset = int(answer.topic_partitions[0].offset)
        return None if offset < 0 else offset

    def set_committed(self, group: str, topic: str, partition: int, offset: int) -> None:
        asked = [ConsumerGroupTopicPartitions(group, [TopicPartition(topic, partition, offset)])]
        answer = self._admin.alter_consumer_group_offsets(asked)[group].result(REQUEST_TIMEOUT_S)
        if (error := answer.topic_partitions[0].error) is not None:
            raise KafkaException(error)

    def close(self) -> None:
        self._asker.close()


class _Producer(Producer):
    def __init__(self, common: Mapping[str, str | int | bool], settings: ProducerSettings) -> None:
        self._producer = RawProducer(
            {
                "acks": settings.acks,
                "compression.type": settings.codec,
                "enable.idempotence": settings.idempotent,
                "linger.ms": 5,
                **({} if settings.max_bytes is None else {"message.max.bytes": settings.max_bytes}),
                **common,
            }
        )
        self._errors: list[KafkaError] = []

    def send(self, topic: str, messages: Sequence[Message]) -> None:
        for message in messages:
            # Zero is librdkafka's own word for "now".
            timestamp_ms = message.timestamp_ms or 0
            self._producer.produce(
                topic, key=message.key, value=message.value, partition=message.partition,
                headers=list(message.headers), on_delivery=self._delivered, timestamp=timestamp_ms,
            )  # fmt: skip
            self._producer.poll(0)

    def flush(self, timeout_s: float) -> None:
        left = self._producer.flush(timeout_s)
        assert left == 0, f"{left} messages are not acknowledged after {timeout_s:g} s"
        if self._errors:
            raise KafkaException(self._errors[0])

    def close(self) -> None:
        self._producer.flush(1)

    def _delivered(self, error: KafkaError | None, _message: RawMessage) -> None:
        if error is not None:
            self._errors.append(error)


class _TransactionalProducer(_Producer, TransactionalProducer):
    def __init__(self, common: Mapping[str, str | int | bool], transactional_id: str) -> None:
        super().__init__({**common, "transactional.id": transactional_id}, ProducerSettings(idempotent=True))
        self._producer.init_transactions(REQUEST_TIMEOUT_S)

    def begin(self) -> None:
        self._producer.begin_transaction()

    def send_offsets(self, member: GroupMember, group: str) -> None:  # noqa: ARG002
        assert isinstance(member, _Member)
        consumer = member.consumer
        positions = [one for one in consumer.position(consumer.assignment()) if one.offset >= 0]
        self._producer.send_offsets_to_transaction(positions, consumer.consumer_group_metadata())

    def commit(self) -> None:
        self._producer.commit_transaction(REQUEST_TIMEOUT_S)

    def abort(self) -> None:
        self._producer.abort_transaction(REQUEST_TIMEOUT_S)
        self._errors.clear()


class _Reader(Reader):
    def __init__(
        self,
        common: Mapping[str, str | int | bool],
        topic: str,
        partition: int,
        offset: int,
        isolation: str = "read_uncommitted",
    ) -> None:
        self._consumer = Consumer(
            {
                **common,
                "group.id": "interop-reader",
                "isolation.level": isolation,
                "enable.auto.commit": False,
                "auto.offset.reset": "error",
            }
        )
        self._consumer.assign([TopicPartition(topic, partition, STARTS.get(offset, offset))])

    def read(self, count: int, timeout_s: float) -> list[Received]:
        records: list[Received] = []
        deadline = Deadline(timeout_s)
        while len(records) < count and not deadline.passed:
            for message in self._consumer.consume(BATCH, POLL_S):
                records.extend(received(message))
        return records

    def close(self) -> None:
        self._consumer.close()


class _Member(GroupMember):
    def __init__(self, common: Mapping[str, str | int | bool], settings: GroupSettings) -> None:
        config: dict[str, str | int | bool] = {
            **common,
            "group.id": settings.group,
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
            "topic.metadata.refresh.interval.ms": 1000,
        }
        if settings.strategy == CONSUMER:
            config["group.protocol"] = "consumer"
        else:
            config |= {
                "partition.assignment.strategy": ASSIGNORS[settings.strategy],
                "session.timeout.ms": 6000,
                "heartbeat.interval.ms": 500,
            }
        if settings.instance_id is not None:
            config["group.instance.id"] = settings.instance_id
        self.consumer = self._consumer = Consumer(config)
        self._consumer.subscribe(list(settings.topics))

    def poll(self, timeout_s: float) -> list[Received]:
        return [
            record for message in self._consumer.consume(BATCH, timeout_s) for record in received(message)
        ]

    def assignment(self) -> frozenset[tuple[str, int]]:
        return frozenset((each.topic, each.partition) for each in self._consumer.assignment())

    def commit(self) -> None:
        try:
            self._consumer.commit(asynchronous=False)
        except KafkaException as error:
            # Nothing consumed since the last commit is no failure.
            if error.args[0].code() != KafkaError._NO_OFFSET:
                raise

    def close(self) -> None:
        self._consumer.close()


def received(message: RawMessage) -> list[Received]:
    """The record of a polled message; none for an event that librdkafka retries by itself."""
    error = message.error()
    if error is not None:
        if error.retriable() or error.code() in (KafkaError._TRANSPORT, KafkaError._ALL_BROKERS_DOWN):
            return []
        raise KafkaException(error)
    partition, offset = message.partition(), message.offset()
    assert partition is not None
    assert offset is not None
    raw_headers: list[tuple[str, bytes | None]] = list(message.headers() or ())  # type: ignore[arg-type]
    headers = tuple((name, _bytes(value)) for name, value in raw_headers)
    return [
        Received(
            partition, offset, message.timestamp()[1], _bytes(message.key()), _bytes(message.value()), headers
        )
    ]


def _bytes(value: str | bytes | None) -> bytes | None:
    return value.encode() if isinstance(value, str) else value
