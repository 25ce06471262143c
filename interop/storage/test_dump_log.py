"""Apache Kafka's kafka-dump-log reads every file that a pybroker log leaves, without a complaint."""

import random
import subprocess
from pathlib import Path

import pytest

from interop.support import maven
from interop.support.tools import require_tool
from pybroker.model.ids import TopicPartition, new_topic_id
from pybroker.records.builder import build_batch
from pybroker.records.control import (
    ControlRecordType,
    EndTransactionMarker,
    build_end_transaction_marker,
)
from pybroker.records.header import CompressionType, Record, read_batch_header
from pybroker.records.policy import Origin
from pybroker.records.validation import ValidatedBatch
from pybroker.storage.context import StorageContext
from pybroker.storage.log import Log
from pybroker.storage.log_config import LogConfig
from pybroker.storage.log_manager import LogManager

NOW_MS = 1_700_000_000_000
PARTITION = TopicPartition("dumped", 0)
COMPLAINTS = ("mismatch", "error", "corrupt", "exception", "invalid", "non-consecutive", "found ")


def validated(raw: bytes) -> ValidatedBatch:
    header = read_batch_header(raw)
    return ValidatedBatch(
        header,
        memoryview(bytearray(raw)),
        header.record_count,
        header.max_timestamp,
        header.last_offset_delta,
    )


def fill(log: Log) -> None:
    """All codecs, an idempotent and a transactional producer, markers, wandering timestamps, leader
    epochs."""
    rng = random.Random(1)
    sequences = {7: 0, 8: 0}
    timestamp, is_open = NOW_MS, False
    for n in range(600):
        timestamp += rng.randrange(-500, 1500)
        records = [
            Record(k, timestamp + k, b"key", b"v" * rng.randrange(100)) for k in range(rng.randrange(1, 20))
        ]
        kind = rng.randrange(6)
        if kind < 2:
            raw = build_batch(records, compression=CompressionType(rng.randrange(5)))
        elif kind < 5:
            producer = 7 if kind < 4 else 8
            raw = build_batch(
                records,
                producer_id=producer,
                producer_epoch=0,
                base_sequence=sequences[producer],
                is_transactional=producer == 8,
            )
            sequences[producer] += len(records)
            is_open |= producer == 8
        elif is_open:
            marker = EndTransactionMarker(rng.choice([ControlRecordType.ABORT, ControlRecordType.COMMIT]), 0)
            raw = build_end_transaction_marker(
                marker, producer_id=8, producer_epoch=0, timestamp_ms=timestamp
            )
            log.append_as_leader(validated(raw), n // 100, Origin.COORDINATOR)
            is_open = False
            continue
        else:
            continue
        log.append_as_leader(validated(raw), n // 100)


def managed(path: Path) -> LogManager:
    manager = LogManager([str(path)], StorageContext(now_ms=lambda: NOW_MS))
    manager.lock()
    manager.load()
    return manager


def dump(*arguments: str) -> str:
    command = [
        require_tool("java", "default-jdk-headless"), "-Xmx192m", "-cp", maven.class_path("tools-3.9"),
        "kafka.tools.DumpLogSegments", *arguments,
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(params=["closed", "killed", "recovered", "truncated"])
def directory(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A partition's directory after each kind of stop."""
    manager = managed(tmp_path)
    log = manager.create(PARTITION, new_topic_id(), LogConfig(segment_bytes=60_000))
    fill(log)
    if request.param == "truncated":
        log.truncate_to(log.log_end_offset - 700)
    if request.param in ("closed", "truncated"):
        manager.close()
    else:
        manager.release()
    if request.param == "recovered":
        managed(tmp_path).close()
    return tmp_path / str(PARTITION)


def test_kafka_dump_log_reads_every_file(directory: Path) -> None:
    names = sorted(path for path in directory.iterdir() if path.name[:1] == "0")
    assert {path.suffix for path in names} >= {".log", ".index", ".timeindex", ".txnindex", ".snapshot"}
    output = dump("--files", ",".join(map(str, names)))
    assert not [line for line in output.splitlines() if line.lower().startswith(COMPLAINTS)], output
    logs = [str(path) for path in names if path.suffix == ".log"]
    deep = dump("--deep-iteration", "--print-data-log", "--files", ",".join(logs))
    assert not [line for line in deep.splitlines() if line.lower().startswith(COMPLAINTS)], deep
    assert deep.count("isvalid: true") == deep.count("baseOffset: ")
    indexes = [str(path) for path in names if path.suffix == ".index"]
    checked = dump("--index-sanity-check", "--verify-index-only", "--files", ",".join(indexes))
    assert checked.count("passed sanity check") == len(indexes)
