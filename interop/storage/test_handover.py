"""A data directory and its metadata go from pybroker to Apache Kafka 3.9 and back, and nothing differs."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from interop.storage.handover import (
    FIRST_KEPT,
    GROUPS,
    PLAIN,
    TRANSACTIONAL,
    Found,
    copy_metadata,
    create_topics,
    find,
    partition_files,
    write,
)
from interop.storage.test_dump_log import dump, dumped_aborted, without_complaints, written_aborted
from interop.support.servers import ApacheKafkaServer, PybrokerServer
from interop.support.waiting import wait_until

BOTH = {
    "offsets.topic.num.partitions": "4",
    "offsets.topic.replication.factor": "1",
    "transaction.state.log.num.partitions": "4",
    "group.initial.rebalance.delay.ms": "0",
    "log.flush.start.offset.checkpoint.interval.ms": "500",
    "log.flush.offset.checkpoint.interval.ms": "500",
}


class Pair:
    """Both brokers on one data directory; one of them runs at a time."""

    def __init__(self, folder: Path) -> None:
        self.data = folder / "data"
        self.pybroker = PybrokerServer(BOTH, folder)
        self.apache = ApacheKafkaServer({**BOTH, "log.dirs": str(self.data)})

    def stop(self) -> None:
        self.pybroker.stop()
        self.apache.stop()

    def to_apache(self) -> None:
        """Metadata to ZooKeeper, and Apache Kafka on the directory."""
        self.apache.zookeeper.start()
        copy_metadata(f"embedded:{self.data}", self.zookeeper)
        self.apache.start()

    def to_pybroker(self) -> None:
        """Metadata to the embedded store, and pybroker on the directory."""
        copy_metadata(self.zookeeper, f"embedded:{self.data}")
        self.pybroker.start()

    def wait_for_checkpoint(self) -> None:
        """Until the start of the partition with deleted records is on disk: a kill forgets it before that."""
        checkpoint = self.data / "log-start-offset-checkpoint"
        expected = f"{PLAIN} 1 {FIRST_KEPT}"
        wait_until(lambda: checkpoint.exists() and expected in checkpoint.read_text(), str(checkpoint), 20)

    @property
    def zookeeper(self) -> str:
        return f"zookeeper:{self.apache.zookeeper.address}"


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Pair]:
    pair = Pair(tmp_path)
    try:
        yield pair
    finally:
        pair.stop()


def assert_same(found: Found, before: Found) -> None:
    for name in ("cluster_id", "topic_ids", "configs", "ends", "by_time", "committed"):
        assert getattr(found, name) == getattr(before, name), name
    for tp, records in before.records.items():
        assert list(found.records[tp]) == list(records), tp


@pytest.mark.whole
def test_apache_kafka_serves_what_pybroker_wrote_and_the_other_way_round(pair: Pair, scale: int) -> None:
    pair.pybroker.start()
    create_topics(pair.pybroker)
    write(pair.pybroker, scale // 2, seed="pybroker", transactions=False)
    before = find(pair.pybroker)
    assert sum(map(len, before.records.values())) > scale
    pair.pybroker.stop()

    files = partition_files(pair.data, "__consumer_offsets", "")
    segment_files = ",".join(str(path) for path in files if path.name.startswith("0000"))
    decoded = without_complaints("--offsets-decoder", "--deep-iteration", "--files", segment_files)
    for group in GROUPS:
        assert f'"group":"{group}"' in decoded, decoded[-2000:]
    assert f'"topic":"{PLAIN}"' in decoded

    pair.to_apache()
    assert_same(find(pair.apache), before)
    write(pair.apache, scale // 10, seed="apache", transactions=True)
    between = find(pair.apache)
    pair.apache.stop_process()
    (directory,) = {path.parent for path in partition_files(pair.data, TRANSACTIONAL, ".log")}
    indexes = ",".join(str(path) for path in sorted(directory.glob("*.txnindex")))
    assert dumped_aborted(dump("--files", indexes)) == written_aborted(directory) != []

    pair.to_pybroker()
    assert_same(find(pair.pybroker), between)
    write(pair.pybroker, scale // 10, seed="again", transactions=False)


@pytest.mark.whole
def test_pybroker_serves_what_apache_kafka_wrote_after_a_kill(pair: Pair, scale: int) -> None:
    pair.apache.start()
    create_topics(pair.apache)
    write(pair.apache, scale // 2, seed="apache", transactions=True)
    before = find(pair.apache)
    pair.wait_for_checkpoint()
    pair.apache.kill9()
    pair.apache.wait_until_forgotten()

    pair.to_pybroker()
    assert_same(find(pair.pybroker), before)
    write(pair.pybroker, scale // 10, seed="pybroker", transactions=False)
    after = find(pair.pybroker)
    pair.wait_for_checkpoint()
    pair.pybroker.kill9()

    pair.to_apache()
    assert_same(find(pair.apache), after)


@pytest.mark.whole
def test_a_store_whose_broker_runs_is_not_copied(pair: Pair) -> None:
    pair.apache.start()
    embedded = PybrokerServer(BOTH)
    try:
        embedded.start()
        _refuses_to_copy(pair, embedded.folder / "data")
    finally:
        embedded.stop()


def _refuses_to_copy(pair: Pair, in_use: Path) -> None:
    for source, target, reason in (
        (f"embedded:{in_use}", pair.zookeeper, "in use by another process"),
        (pair.zookeeper, f"embedded:{pair.data.parent / 'other'}", "brokers are registered in the source: 0"),
        ("zookeeper:127.0.0.1:1", f"embedded:{pair.data.parent / 'other'}", "no ZooKeeper answers"),
    ):
        command = [sys.executable, "-m", "pybroker", "metadata", "copy", "--from", source, "--to", target]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert (done.returncode, done.stderr.count("\n")) == (1, 1), done.stderr
        assert reason in done.stderr
