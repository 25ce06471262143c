"""A log that pybroker has compacted is a compacted log to Apache Kafka 3.9, whose cleaner goes on with it."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from interop.storage.handover import copy_metadata
from interop.storage.test_dump_log import NOW_MS, PARTITION, clean, fill, managed, validated
from interop.support.servers import ApacheKafkaServer, PybrokerServer, Server
from interop.support.waiting import wait_until
from pybroker.records.builder import build_batch
from pybroker.records.control import (
    ControlRecordType,
    EndTransactionMarker,
    build_end_transaction_marker,
)
from pybroker.records.header import Record
from pybroker.records.policy import Origin
from pybroker.storage.cleaning.job import CleanerLimits
from pybroker.storage.log import Log
from pybroker.storage.log_config import LogConfig

TIMEOUT_S = 30.0
TOPIC = PARTITION.topic
CONFIGS = {
    "cleanup.policy": "compact",
    "segment.bytes": "60000",
    "min.cleanable.dirty.ratio": "0.01",
    "delete.retention.ms": "1000",
}
QUIET_CLEANER = {"log.cleaner.backoff.ms": "3600000"}
BUSY_CLEANER = {"log.cleaner.backoff.ms": "500"}


def read(server: Server, isolation: str) -> list[tuple[Any, ...]]:
    """All records that a reader of that isolation gets."""
    consumer = Consumer(
        {
            "bootstrap.servers": server.bootstrap,
            "group.id": "reader",
            "isolation.level": isolation,
            "enable.partition.eof": True,
            "check.crcs": True,
        }
    )
    consumer.assign([TopicPartition(TOPIC, PARTITION.partition, OFFSET_BEGINNING)])
    records = []
    deadline = time.monotonic() + TIMEOUT_S
    while time.monotonic() < deadline:
        message = consumer.poll(TIMEOUT_S)
        if message is None:
            continue
        error = message.error()
        if error is None:
            records.append((message.offset(), message.timestamp(), message.key(), message.value()))
        elif error.code() == KafkaError._PARTITION_EOF:
            consumer.close()
            return records
    raise AssertionError(f"no end after {len(records)} records")


def delivered(error: KafkaError | None, _message: object) -> None:
    assert error is None, error


def latest(records: Sequence[tuple[Any, ...]]) -> dict[bytes, bytes]:
    """The last value of each key that has one."""
    state: dict[bytes, bytes] = {}
    for _offset, _timestamp, key, value in records:
        if value is None:
            state.pop(key, None)
        else:
            state[key] = value
    return state


def checkpoint(data: Path) -> int:
    """How far the topic's log was cleaned."""
    for line in (data / "cleaner-offset-checkpoint").read_text().splitlines():
        if line.startswith(f"{TOPIC} {PARTITION.partition} "):
            return int(line.rpartition(" ")[2])
    return 0


def end_transaction(log: Log, producer_id: int, how: ControlRecordType) -> None:
    marker = EndTransactionMarker(how, 0)
    raw = build_end_transaction_marker(marker, producer_id=producer_id, producer_epoch=0, timestamp_ms=NOW_MS)
    log.append_as_leader(validated(raw), 9, Origin.COORDINATOR)


def fill_and_clean(data: Path) -> None:
    """What :func:`fill` writes, compacted: first with room for a few keys only, then all of it. An aborted
    transaction follows that is not cleaned."""
    manager = managed(data)
    log = manager.create(PARTITION)
    log.update_config(LogConfig(segment_bytes=60_000, compact=True, delete=False, delete_retention_ms=1000))
    fill(log, keyed=True)
    if log.first_unstable_offset is not None:
        end_transaction(log, 8, ControlRecordType.COMMIT)
    log.on_high_watermark(log.log_end_offset)
    log.roll()
    for number in range(2):
        log.cleaned_offset = None
        limits = CleanerLimits() if number else CleanerLimits(map_bytes=24 * 40)
        clean(log, limits, NOW_MS + 2000 * number)
    aborted = [Record(n, NOW_MS, b"key %d" % n, b"never seen") for n in range(20)]
    raw = build_batch(aborted, producer_id=9, producer_epoch=0, base_sequence=0, is_transactional=True)
    log.append_as_leader(validated(raw), 9)
    end_transaction(log, 9, ControlRecordType.ABORT)
    manager.checkpoint_cleaned(str(data))
    manager.checkpoint_high_watermarks({PARTITION: log.log_end_offset})
    manager.close()


@pytest.mark.whole
def test_apache_kafka_serves_and_cleans_on_what_pybroker_compacted(tmp_path: Path) -> None:
    data = tmp_path / "data"
    pybroker = PybrokerServer(QUIET_CLEANER, tmp_path)
    idle = ApacheKafkaServer({"log.cleaner.enable": "false", "log.dirs": str(data)})
    cleaning = ApacheKafkaServer({**BUSY_CLEANER, "log.dirs": str(data)}, zookeeper=idle.zookeeper)
    try:
        pybroker.start()
        admin = AdminClient({"bootstrap.servers": pybroker.bootstrap})
        topic = NewTopic(TOPIC, 1, 1, config=CONFIGS)
        admin.create_topics([topic])[TOPIC].result(TIMEOUT_S)
        pybroker.stop()
        fill_and_clean(data)
        directory = data / str(PARTITION)
        assert any(path.stat().st_size for path in directory.glob("*.txnindex"))
        pybroker.start()
        seen = {isolation: read(pybroker, isolation) for isolation in ("read_committed", "read_uncommitted")}
        assert 100 < len(seen["read_committed"]) < len(seen["read_uncommitted"])
        pybroker.stop()
        cleaned = checkpoint(data)
        assert cleaned > 0

        idle.zookeeper.start()
        copy_metadata(f"embedded:{data}", f"zookeeper:{idle.zookeeper.address}")
        idle.start()
        assert {isolation: read(idle, isolation) for isolation in seen} == seen
        idle.stop_process()
        cleaning.start()
        producer = Producer({"bootstrap.servers": cleaning.bootstrap, "batch.size": 10_000})
        written = [
            (f"key {n % 50}".encode(), None if n % 7 == 6 else b"new %d " % n * 50) for n in range(600)
        ]
        for key, value in written:
            producer.produce(TOPIC, value, key, partition=0, on_delivery=delivered)
            producer.poll(0)
        assert producer.flush(TIMEOUT_S) == 0
        wait_until(lambda: checkpoint(data) > cleaned or None, "Kafka's cleaner", 2 * TIMEOUT_S)
        expected = latest([*seen["read_committed"], *((0, 0, key, value) for key, value in written)])
        assert latest(read(cleaning, "read_committed")) == expected
        cleaning.stop_process()

        pybroker.start()
        assert latest(read(pybroker, "read_committed")) == expected
    finally:
        pybroker.stop()
        cleaning.stop()
        idle.stop()
