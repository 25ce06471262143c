"""kafka-python behind the client port."""

from collections.abc import Mapping, Sequence
from typing import Any

import kafka  # type: ignore[import-untyped]
from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import KafkaAdminClient, NewTopic  # type: ignore[import-untyped]
from kafka.coordinator.assignors.range import RangePartitionAssignor  # type: ignore[import-untyped]
from kafka.coordinator.assignors.roundrobin import RoundRobinPartitionAssignor  # type: ignore[import-untyped]
from kafka.errors import KafkaError, NodeNotReadyError  # type: ignore[import-untyped]
from kafka.structs import OffsetAndMetadata  # type: ignore[import-untyped]

from interop.kafka_python.member import PolledMember, received
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
from interop.support.waiting import Deadline, wait_until

Settings = dict[str, Any]
POLL_MS = 200
ASSIGNORS = {
    "range": RangePartitionAssignor,
    "roundrobin": RoundRobinPartitionAssignor,
}
PATIENCE = {"retries": 1000, "max_in_flight_requests_per_connection": 1}
"""2.0 drops records on a lost connection unless it is told to try again, in order."""
MAJOR = int(kafka.__version__.split(".")[0])
MODERN = MAJOR >= 3
NO_EPOCH = (-1,) if MODERN else ()
if MAJOR >= 2:
    from kafka.coordinator.assignors.sticky.sticky_assignor import (  # type: ignore[import-untyped]
        StickyPartitionAssignor,
    )

    ASSIGNORS["sticky"] = StickyPartitionAssignor
STICKY_FAULT = "kafka-python 2.0's sticky assignor raises TypeError in its own encoding"
if MODERN:
    from kafka.coordinator.assignors.cooperative_sticky import (  # type: ignore[import-untyped]
        CooperativeStickyAssignor,
    )

    ASSIGNORS["cooperative"] = CooperativeStickyAssignor

FAULTS: Mapping[str, str] = {"sticky": STICKY_FAULT} if MAJOR == 2 else {}
OLD_FORMATS = Traits(
    codecs=("none", "gzip", "snappy", "lz4"),
    idempotent=False,
    own_timestamps=False,
    headers=False,
    finds_by_time=False,
    manages_topics=False,
    partition_count=1,
)
"""What is left with message sets."""


class KafkaPython:
    """The pure Python client, in its newest line or before 3.0 (no idempotence, no static members)."""

    name = "kafka-python"
    version = kafka.__version__
    traits = Traits(null_header_values=False, idempotent=MODERN, static_members=MODERN)
    errors = (KafkaError,)
    strategies = tuple(ASSIGNORS)
    faulty_strategies: Mapping[str, str] = FAULTS

    def __init__(self, bootstrap: str) -> None:
        self._settings: Settings = {"bootstrap_servers": bootstrap}
        self._admin = KafkaAdminClient(**self._settings)
        self._asker = KafkaConsumer(**self._settings)

    def create_topic(self, topic: str, partitions: int, configs: Mapping[str, str] | None = None) -> None:
        self._admin.create_topics([NewTopic(topic, partitions, 1, topic_configs=dict(configs or {}))])

    def delete_topic(self, topic: str) -> None:
        self._admin.delete_topics([topic])

    def topics(self) -> Mapping[str, int]:
        described = self._admin.describe_topics()
        name = "name" if MODERN else "topic"
        return {topic[name]: len(topic["partitions"]) for topic in described}

    def producer(self, settings: ProducerSettings) -> Producer:
        return _Producer(self._settings, settings)

    def reader(self, topic: str, partition: int, offset: int) -> Reader:
        return _Reader(self._settings, TopicPartition(topic, partition), offset)

    def transactional_producer(self, transactional_id: str) -> TransactionalProducer:
        return _TransactionalProducer(self._settings, transactional_id)

    def committed_reader(self, topic: str, partition: int, offset: int) -> Reader:
        settings = {**self._settings, "isolation_level": "read_committed"}
        return _Reader(settings, TopicPartition(topic, partition), offset)

    def offset_at(self, topic: str, partition: int, timestamp_ms: int) -> int | None:
        where = TopicPartition(topic, partition)
        found = self._asker.offsets_for_times({where: timestamp_ms})[where]
        return None if found is None else int(found.offset)

    def end_offset(self, topic: str, partition: int) -> int:
        where = TopicPartition(topic, partition)
        return int(self._asker.end_offsets([where])[where])

    def member(self, settings: GroupSettings) -> GroupMember:
        return _member(self._settings, settings)

    def committed(self, group: str, topic: str, partition: int) -> int | None:
        where = TopicPartition(topic, partition)
        if MODERN:
            (found,) = wait_until(lambda: self._ask_for_offset(group, where), "a connected administrator")
        else:
            # Before 3.0 an administrator that lost its connection raises until it is made anew.
            self._admin.close()
            self._admin = KafkaAdminClient(**self._settings)
            found = self._admin.list_consumer_group_offsets(group, partitions=[where]).get(where)
        return None if found is None or found.offset < 0 else int(found.offset)

    def _ask_for_offset(self, group: str, where: TopicPartition) -> tuple[Any] | None:
        """None while the administrator may not yet connect again to a broker that was away: it raises then
        instead of waiting, whatever the broker."""
        try:
            return (self._admin.list_group_offsets({group: [where]})[group].get(where),)
        except NodeNotReadyError:
            return None

    def set_committed(self, group: str, topic: str, partition: int, offset: int) -> None:
        """As a consumer that takes its partitions by hand."""
        where = TopicPartition(topic, partition)
        consumer = KafkaConsumer(**self._settings, group_id=group, enable_auto_commit=False)
        try:
            consumer.assign([where])
            consumer.commit({where: OffsetAndMetadata(offset, "", *NO_EPOCH)})
        finally:
            consumer.close()

    def close(self) -> None:
        self._asker.close()
        self._admin.close()


class OldFormatKafkaPython(KafkaPython):
    """The same, told that the broker is an old one: it sends and takes message sets.

    It has no administration then; topics are auto-created.
    """

    def __init__(self, bootstrap: str, api_version: tuple[int, int]) -> None:
        self.version = f"{kafka.__version__} as of {'.'.join(map(str, api_version))}"
        self.traits = OLD_FORMATS
        self._settings = {"bootstrap_servers": bootstrap, "api_version": api_version}
        self._asker = KafkaConsumer(**self._settings)

    def create_topic(self, topic: str, partitions: int, configs: Mapping[str, str] | None = None) -> None:
        assert configs is None, "auto creation gives none"
        producer = KafkaProducer(**self._settings)
        try:
            found = len(producer.partitions_for(topic))
        finally:
            producer.close()
        assert found == partitions, f"{found} partitions by auto creation"

    def topics(self) -> Mapping[str, int]:
        return {topic: len(self._asker.partitions_for_topic(topic) or ()) for topic in self._asker.topics()}

    def close(self) -> None:
        self._asker.close()


class _Producer(Producer):
    def __init__(self, common: Settings, settings: ProducerSettings, **further: Any) -> None:
        self._producer = KafkaProducer(
            **common,
            **further,
            acks=settings.acks if settings.acks == "all" else int(settings.acks),
            compression_type=None if settings.codec == "none" else settings.codec,
            linger_ms=5,
            **({} if settings.max_bytes is None else {"max_request_size": settings.max_bytes}),
            **({"max_block_ms": 5000} if settings.creates_topics else {}),
            **({"enable_idempotence": settings.idempotent} if MODERN else PATIENCE),
        )
        self._futures: list[Any] = []

    def send(self, topic: str, messages: Sequence[Message]) -> None:
        for message in messages:
            self._futures.append(
                self._producer.send(
                    topic,
                    key=message.key,
                    value=message.value,
                    partition=message.partition,
                    headers=list(message.headers),
                    timestamp_ms=message.timestamp_ms,
                )
            )

    def flush(self, timeout_s: float) -> None:
        self._producer.flush(timeout_s)
        for future in self._futures:
            future.get(timeout_s)
        self._futures.clear()

    def close(self) -> None:
        self._producer.close(timeout=5)


class _TransactionalProducer(_Producer, TransactionalProducer):
    def __init__(self, common: Settings, transactional_id: str) -> None:
        super().__init__(common, ProducerSettings(idempotent=True), transactional_id=transactional_id)
        self._producer.init_transactions()

    def begin(self) -> None:
        self._producer.begin_transaction()

    def send_offsets(self, member: GroupMember, group: str) -> None:  # noqa: ARG002
        assert isinstance(member, PolledMember)
        member.send_positions(self._producer)

    def commit(self) -> None:
        self._producer.commit_transaction()

    def abort(self) -> None:
        self._producer.abort_transaction()
        self._futures.clear()


class _Reader(Reader):
    def __init__(self, common: Settings, where: TopicPartition, offset: int) -> None:
        self._consumer = KafkaConsumer(**common, auto_offset_reset="none")
        self._consumer.assign([where])
        if offset == EARLIEST:
            self._consumer.seek_to_beginning(where)
        elif offset == LATEST:
            self._consumer.seek_to_end(where)
        else:
            self._consumer.seek(where, offset)

    def read(self, count: int, timeout_s: float) -> list[Received]:
        records: list[Received] = []
        deadline = Deadline(timeout_s)
        while len(records) < count and not deadline.passed:
            records += received(self._consumer.poll(POLL_MS))
        return records

    def close(self) -> None:
        self._consumer.close()


def _member(common: Settings, settings: GroupSettings) -> GroupMember:
    consumer = KafkaConsumer(
        **common,
        group_id=settings.group,
        partition_assignment_strategy=[ASSIGNORS[settings.strategy]],
        auto_offset_reset="earliest",
        enable_auto_commit=False,
        session_timeout_ms=6000,
        heartbeat_interval_ms=500,
        metadata_max_age_ms=1000,
        **({"group_instance_id": settings.instance_id} if MODERN else {}),
    )
    pattern = settings.topics[0] if settings.topics[0].startswith("^") else None
    consumer.subscribe(topics=None if pattern else settings.topics, pattern=pattern)
    return PolledMember(consumer)
