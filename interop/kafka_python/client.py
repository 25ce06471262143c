"""kafka-python behind the client port."""

from collections.abc import Mapping, Sequence
from typing import Any

import kafka  # type: ignore[import-untyped]
from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import NewTopic  # type: ignore[import-untyped]
from kafka.coordinator.assignors.range import RangePartitionAssignor  # type: ignore[import-untyped]
from kafka.coordinator.assignors.roundrobin import RoundRobinPartitionAssignor  # type: ignore[import-untyped]
from kafka.coordinator.assignors.sticky.sticky_assignor import (  # type: ignore[import-untyped]
    StickyPartitionAssignor,
)

from interop.support.client import (
    EARLIEST,
    GroupMember,
    GroupSettings,
    Message,
    Producer,
    ProducerSettings,
    Reader,
    Received,
    Traits,
)
from interop.support.waiting import Deadline

POLL_MS = 200
ASSIGNORS = {
    "range": RangePartitionAssignor,
    "roundrobin": RoundRobinPartitionAssignor,
    "sticky": StickyPartitionAssignor,
}
PATIENCE = {"retries": 1000, "max_in_flight_requests_per_connection": 1}
"""2.0 drops records on a lost connection unless it is told to try again, in order."""
MODERN = int(kafka.__version__.split(".")[0]) >= 3
if MODERN:
    from kafka.coordinator.assignors.cooperative_sticky import (  # type: ignore[import-untyped]
        CooperativeStickyAssignor,
    )

    ASSIGNORS["cooperative"] = CooperativeStickyAssignor


class KafkaPython:
    """The pure Python client, in its newest line or in 2.0 (no idempotence, no static members)."""

    name = "kafka-python"
    version = kafka.__version__
    traits = Traits(null_header_values=False, idempotent=MODERN, static_members=MODERN)
    strategies = tuple(ASSIGNORS)
    faulty_strategies: Mapping[str, str] = {
        "cooperative": "kafka-python's assignor leaves a partition of a leaver unassigned"
    }

    def __init__(self, bootstrap: str) -> None:
        self._bootstrap = bootstrap
        self._admin = KafkaAdminClient(bootstrap_servers=bootstrap)
        self._asker = KafkaConsumer(bootstrap_servers=bootstrap)

    def create_topic(self, topic: str, partitions: int) -> None:
        self._admin.create_topics([NewTopic(topic, partitions, 1)])

    def delete_topic(self, topic: str) -> None:
        self._admin.delete_topics([topic])

    def topics(self) -> Mapping[str, int]:
        described = self._admin.describe_topics()
        name = "name" if MODERN else "topic"
        return {topic[name]: len(topic["partitions"]) for topic in described}

    def producer(self, settings: ProducerSettings) -> Producer:
        return _Producer(self._bootstrap, settings)

    def reader(self, topic: str, partition: int, offset: int) -> Reader:
        return _Reader(self._bootstrap, TopicPartition(topic, partition), offset)

    def offset_at(self, topic: str, partition: int, timestamp_ms: int) -> int | None:
        where = TopicPartition(topic, partition)
        found = self._asker.offsets_for_times({where: timestamp_ms})[where]
        return None if found is None else int(found.offset)

    def end_offset(self, topic: str, partition: int) -> int:
        where = TopicPartition(topic, partition)
        return int(self._asker.end_offsets([where])[where])

    def member(self, settings: GroupSettings) -> GroupMember:
        return _Member(self._bootstrap, settings)

    def committed(self, group: str, topic: str, partition: int) -> int | None:
        where = TopicPartition(topic, partition)
        if MODERN:
            found = self._admin.list_group_offsets({group: [where]})[group].get(where)
        else:
            found = self._admin.list_consumer_group_offsets(group, partitions=[where]).get(where)
        return None if found is None or found.offset < 0 else int(found.offset)

    def close(self) -> None:
        self._asker.close()
        self._admin.close()


class _Producer(Producer):
    def __init__(self, bootstrap: str, settings: ProducerSettings) -> None:
        self._producer = KafkaProducer(
            bootstrap_servers=bootstrap,
            acks=settings.acks if settings.acks == "all" else int(settings.acks),
            compression_type=None if settings.codec == "none" else settings.codec,
            linger_ms=5,
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


class _Reader(Reader):
    def __init__(self, bootstrap: str, where: TopicPartition, offset: int) -> None:
        self._consumer = KafkaConsumer(bootstrap_servers=bootstrap, auto_offset_reset="none")
        self._consumer.assign([where])
        if offset == EARLIEST:
            self._consumer.seek_to_beginning(where)
        else:
            self._consumer.seek(where, offset)

    def read(self, count: int, timeout_s: float) -> list[Received]:
        records: list[Received] = []
        deadline = Deadline(timeout_s)
        while len(records) < count and not deadline.passed:
            records += _received(self._consumer.poll(POLL_MS))
        return records

    def close(self) -> None:
        self._consumer.close()


class _Member(GroupMember):
    def __init__(self, bootstrap: str, settings: GroupSettings) -> None:
        self._consumer = KafkaConsumer(
            bootstrap_servers=bootstrap,
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
        self._consumer.subscribe(topics=None if pattern else settings.topics, pattern=pattern)

    def poll(self, timeout_s: float) -> list[Received]:
        return _received(self._consumer.poll(int(timeout_s * 1000)))

    def assignment(self) -> frozenset[tuple[str, int]]:
        return frozenset((each.topic, each.partition) for each in self._consumer.assignment())

    def commit(self) -> None:
        self._consumer.commit()

    def close(self) -> None:
        self._consumer.close()


def _received(polled: Mapping[TopicPartition, Sequence[Any]]) -> list[Received]:
    return [
        Received(
            record.partition, record.offset, record.timestamp, record.key, record.value, tuple(record.headers)
        )
        for records in polled.values()
        for record in records
    ]
