"""One data directory, two brokers: what is written under one and must be found the same under the other."""

import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from confluent_kafka import (
    OFFSET_BEGINNING,
    Consumer,
    ConsumerGroupTopicPartitions,
    KafkaError,
    Producer,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient, NewTopic
from msgspec import Struct

from interop.support.servers import Server
from interop.support.waiting import wait_until

CODECS = ("none", "gzip", "snappy", "lz4", "zstd")
TIMEOUT_S = 30.0
PLAIN = "handover-plain"
COMPACTED = "handover-compacted"
TRANSACTIONAL = "handover-transactional"
PARTITIONS = {PLAIN: 3, COMPACTED: 1, TRANSACTIONAL: 1}
FIRST_KEPT = 17
"""Records of one partition before this offset are deleted."""

GROUPS = ("first group", "second/group")
_CONFIGS: Mapping[str, dict[str, str]] = {
    PLAIN: {"segment.bytes": "65536", "max.message.bytes": "900000"},
    COMPACTED: {"cleanup.policy": "compact"},
    TRANSACTIONAL: {},
}


class Found(Struct, frozen=True):
    """Everything a client can see of the test's topics and groups."""

    cluster_id: str
    topic_ids: Mapping[str, str]
    configs: Mapping[str, Mapping[str, str]]
    records: Mapping[tuple[str, int], Sequence[tuple[Any, ...]]]
    ends: Mapping[tuple[str, int], tuple[int, int]]
    by_time: Mapping[tuple[str, int], int]
    committed: Mapping[str, Mapping[tuple[str, int], tuple[int, str]]]


def create_topics(server: Server, replicas: int = 1) -> None:
    """The topics of the test, on an empty server."""
    admin = AdminClient({"bootstrap.servers": server.bootstrap})
    topics = [
        NewTopic(name, count, replicas, config=dict(_CONFIGS[name])) for name, count in PARTITIONS.items()
    ]
    for future in admin.create_topics(topics, operation_timeout=TIMEOUT_S).values():
        future.result(TIMEOUT_S)


def write(server: Server, count: int, *, seed: str, transactions: bool) -> None:
    """Records in every codec, keys that repeat, own timestamps, deleted records, committed groups."""
    base_ms = int(time.time() * 1000) - 3_600_000
    for number, codec in enumerate(CODECS):
        producer = Producer(
            {
                "bootstrap.servers": server.bootstrap,
                "compression.type": codec,
                "enable.idempotence": number % 2 == 0,
                "linger.ms": 5,
            }
        )
        for n in range(count):
            key = f"{seed}-{codec}-{n % 50}".encode()
            for topic, partition in ((PLAIN, n % 3), (COMPACTED, 0)):
                producer.produce(
                    topic,
                    None
                    if topic == COMPACTED and n % 9 == 8
                    else f"{seed} {codec} {n} ".encode() * (1 + n % 7),
                    key,
                    partition,
                    timestamp=base_ms + number * 100_000 + (n * 37) % 5000,
                    headers=[("codec", codec.encode()), ("none", None)] if n % 3 == 0 else None,
                )
        assert producer.flush(TIMEOUT_S) == 0
    if transactions:
        _write_transactions(server, seed)
    _commit(server, seed)
    admin = AdminClient({"bootstrap.servers": server.bootstrap})
    (deleted,) = admin.delete_records([TopicPartition(PLAIN, 1, FIRST_KEPT)]).values()
    deleted.result(TIMEOUT_S)


def _write_transactions(server: Server, seed: str) -> None:
    producer = Producer({"bootstrap.servers": server.bootstrap, "transactional.id": f"handover {seed}"})
    producer.init_transactions(TIMEOUT_S)
    for number in range(6):
        producer.begin_transaction()
        for n in range(20):
            producer.produce(TRANSACTIONAL, f"{seed} {number} {n}".encode(), partition=0)
        producer.flush(TIMEOUT_S)
        if number % 2:
            producer.abort_transaction(TIMEOUT_S)
        else:
            producer.commit_transaction(TIMEOUT_S)


def _commit(server: Server, seed: str) -> None:
    for number, group in enumerate(GROUPS):
        consumer = Consumer({"bootstrap.servers": server.bootstrap, "group.id": group})
        offsets = [
            TopicPartition(PLAIN, partition, 20 + number * 5 + partition, metadata=f"{seed}/{partition}")
            for partition in range(3)
        ]
        consumer.commit(offsets=offsets, asynchronous=False)
        consumer.close()


def find(server: Server) -> Found:
    """Read everything there is, as a client that starts anew."""
    admin = AdminClient({"bootstrap.servers": server.bootstrap})
    partitions = [(topic, p) for topic, count in PARTITIONS.items() for p in range(count)]
    wait_until(lambda: _all_are_led(admin, partitions), "a leader for every partition", TIMEOUT_S)
    consumer = Consumer(
        {
            "bootstrap.servers": server.bootstrap,
            "group.id": "reader",
            "isolation.level": "read_committed",
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "check.crcs": True,
        }
    )
    try:
        ends = {tp: consumer.get_watermark_offsets(TopicPartition(*tp), TIMEOUT_S) for tp in partitions}
        records = {tp: _read(consumer, tp) for tp in partitions}
        times = [
            TopicPartition(topic, p, records[topic, p][len(records[topic, p]) // 2][1])
            for topic, p in partitions
            if records[topic, p]
        ]
        by_time = {
            (found.topic, found.partition): found.offset
            for found in consumer.offsets_for_times(times, TIMEOUT_S)
        }
    finally:
        consumer.close()
    return Found(
        cluster_id=str(admin.describe_cluster().result(TIMEOUT_S).cluster_id),
        topic_ids=_topic_ids(admin),
        configs=_configs(admin),
        records=records,
        ends=ends,
        by_time=by_time,
        committed={group: _committed(admin, group) for group in GROUPS},
    )


def _all_are_led(admin: AdminClient, partitions: Sequence[tuple[str, int]]) -> bool:
    topics = admin.list_topics(timeout=TIMEOUT_S).topics
    return all(
        topic in topics and p in topics[topic].partitions and topics[topic].partitions[p].leader >= 0
        for topic, p in partitions
    )


def _read(consumer: Consumer, tp: tuple[str, int]) -> list[tuple[Any, ...]]:
    consumer.assign([TopicPartition(*tp, OFFSET_BEGINNING)])
    records: list[tuple[Any, ...]] = []
    deadline = time.monotonic() + TIMEOUT_S
    while time.monotonic() < deadline:
        for message in consumer.consume(1000, 0.5):
            error = message.error()
            if error is None:
                timestamp_type, timestamp_ms = message.timestamp()
                records.append(
                    (
                        message.offset(),
                        timestamp_ms,
                        timestamp_type,
                        message.key(),
                        message.value(),
                        tuple(message.headers() or ()),
                        message.leader_epoch(),
                    )
                )
            elif error.code() == KafkaError._PARTITION_EOF:
                return records
            else:
                raise AssertionError(f"{tp}: {error}")
    raise AssertionError(f"{tp}: no end after {len(records)} records")


def _topic_ids(admin: AdminClient) -> dict[str, str]:
    from confluent_kafka import TopicCollection

    described = admin.describe_topics(TopicCollection(list(PARTITIONS)))
    return {topic: str(future.result(TIMEOUT_S).topic_id) for topic, future in described.items()}


def _configs(admin: AdminClient) -> dict[str, dict[str, str]]:
    from confluent_kafka.admin import ConfigResource, ResourceType

    resources = [ConfigResource(ResourceType.TOPIC, topic) for topic in PARTITIONS]
    return {
        resource.name: {
            name: str(future.result(TIMEOUT_S)[name].value) for name in sorted(_CONFIGS[resource.name])
        }
        for resource, future in admin.describe_configs(resources).items()
    }


def _committed(admin: AdminClient, group: str) -> dict[tuple[str, int], tuple[int, str]]:
    found: dict[tuple[str, int], tuple[int, str]] = {}

    def answered() -> bool:
        request = [ConsumerGroupTopicPartitions(group)]
        (future,) = admin.list_consumer_group_offsets(request).values()
        found.clear()
        for entry in future.result(TIMEOUT_S).topic_partitions or ():
            found[entry.topic, entry.partition] = (entry.offset, entry.metadata or "")
        return bool(found)

    wait_until(answered, f"the committed offsets of {group}", TIMEOUT_S)
    return found


def copy_metadata(source: str, target: str) -> str:
    """`pybroker metadata copy`; returns what it printed."""
    done = subprocess.run(
        [sys.executable, "-m", "pybroker", "metadata", "copy", "--from", source, "--to", target],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def partition_files(data: Path, topic: str, suffix: str) -> list[Path]:
    """All files with the suffix in the directories of a topic's partitions."""
    return sorted(data.glob(f"{topic}-*/*{suffix}"))
