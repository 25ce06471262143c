"""Apache Kafka's kafka-dump-log reads every file that a pybroker log leaves, without a complaint."""

import random
import re
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
from pybroker.storage.cleaning.cleaner import run_job
from pybroker.storage.cleaning.job import Cleaned, CleanedGroup, CleanerLimits
from pybroker.storage.cleaning.selection import assess
from pybroker.storage.cleaning.view import facts_of, job_of
from pybroker.storage.context import StorageContext
from pybroker.storage.files import system_files
from pybroker.storage.log import Log
from pybroker.storage.log_config import LogConfig
from pybroker.storage.log_manager import LogManager
from pybroker.storage.transaction_index import AbortedTransaction, parse_transaction_index

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


def fill(log: Log, *, keyed: bool = False) -> None:
    """All codecs, an idempotent and a transactional producer, markers, wandering timestamps, leader
    epochs; ``keyed`` has a few hundred keys and tombstones."""
    rng = random.Random(1)
    sequences = {7: 0, 8: 0}
    timestamp, is_open = NOW_MS, False
    for n in range(600):
        timestamp += rng.randrange(-500, 1500)
        records = [
            Record(k, timestamp + k, b"key", b"v" * rng.randrange(100)) for k in range(rng.randrange(1, 20))
        ]
        if keyed:
            records = [
                record._replace(
                    key=b"key %d" % rng.randrange(300), value=record.value if rng.randrange(9) else None
                )
                for record in records
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


def dump(*arguments: str, tools: str = "tools-3.9") -> str:
    """What kafka-dump-log of a version set prints."""
    package = "kafka.tools" if tools == "tools-3.9" else "org.apache.kafka.tools"
    command = [
        require_tool("java", "default-jdk-headless"), "-Xmx192m", "-cp", maven.class_path(tools),
        f"{package}.DumpLogSegments", *arguments,
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(
    params=[
        pytest.param("closed", marks=pytest.mark.whole),
        "killed",
        pytest.param("recovered", marks=pytest.mark.whole),
        "truncated",
    ]
)
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


@pytest.fixture(params=["one clean", pytest.param("tiny map", marks=pytest.mark.whole), "after the horizon"])
def cleaned_directory(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A compacted partition's directory, with several codecs, transactions, tombstones and empty batches."""
    manager = managed(tmp_path)
    config = LogConfig(segment_bytes=60_000, compact=True, delete=False, delete_retention_ms=1000)
    log = manager.create(PARTITION, new_topic_id(), config)
    fill(log, keyed=True)
    log.on_high_watermark(log.log_end_offset)
    log.roll()
    limits = CleanerLimits(map_bytes=24 * 20) if request.param == "tiny map" else CleanerLimits()
    clean(log, limits, NOW_MS)
    if request.param == "after the horizon":
        log.cleaned_offset = None
        clean(log, limits, NOW_MS + 2000)
    manager.close()
    return tmp_path / str(PARTITION)


def clean(log: Log, limits: CleanerLimits, now_ms: int) -> None:
    unstable = log.first_unstable_offset
    chosen = assess(facts_of(log, log.log_end_offset if unstable is None else unstable, now_ms), now_ms)
    segments = {segment.base_offset: segment for segment in log.segments}
    files = system_files()
    for answer in run_job(job_of(log, chosen, now_ms, limits), files):
        match answer:
            case CleanedGroup(bases=bases, size=size, has_txn_index=has_txn_index):
                old = [segments[base] for base in bases]
                for path in log.replace_segments(old, size, has_txn_index=has_txn_index):
                    files.unlink(path)
            case Cleaned(end_offset=end_offset):
                log.cleaned_offset = end_offset
            case _:
                raise AssertionError(answer)


def test_kafka_dump_log_reads_cleaned_segments(cleaned_directory: Path) -> None:
    check_all_files(cleaned_directory)


def test_kafka_dump_log_reads_every_file(directory: Path) -> None:
    suffixes = check_all_files(directory)
    assert suffixes >= {".log", ".index", ".timeindex", ".txnindex", ".snapshot"}


def check_all_files(directory: Path) -> set[str]:
    """Returns the suffixes that there were."""
    names = sorted(path for path in directory.iterdir() if path.name[:1] == "0")
    every_file = ",".join(map(str, names))
    output = without_complaints("--files", every_file)
    assert dumped_aborted(output) == written_aborted(directory)
    deep = without_complaints("--deep-iteration", "--print-data-log", "--files", every_file)
    assert deep.count("isvalid: true") == deep.count("baseOffset: ") > 0
    assert "key: key" in deep
    without_complaints("--verify-index-only", "--files", every_file)
    checked = without_complaints("--index-sanity-check", "--files", every_file)
    indexes = [path for path in names if path.suffix in (".index", ".timeindex")]
    assert checked.count("passed sanity check") + checked.count(" is empty.") == len(indexes)
    return {path.suffix for path in names}


def without_complaints(*arguments: str) -> str:
    """What kafka-dump-log prints, none of which may be a complaint."""
    output = dump(*arguments)
    assert not [line for line in output.splitlines() if line.lower().startswith(COMPLAINTS)], output
    return output


def dumped_aborted(output: str) -> list[AbortedTransaction]:
    """The aborted transactions that kafka-dump-log has found in transaction indexes, in the log's order."""
    found = re.findall(
        r"version: 0 producerId: (\d+) firstOffset: (\d+) lastOffset: (\d+) lastStableOffset: (\d+)", output
    )
    return [AbortedTransaction(*map(int, fields)) for fields in found]


def written_aborted(directory: Path) -> list[AbortedTransaction]:
    """The same as pybroker reads them."""
    return [
        entry
        for path in sorted(directory.glob("*.txnindex"))
        for entry in parse_transaction_index(path.read_bytes())
    ]
