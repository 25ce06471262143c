"""A disk that is really full: producers are refused, nothing is damaged, and it recovers with the room."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from interop.support.servers import PybrokerServer
from interop.support.tools import ToolMissing

TOPIC = "disk-filler"
TIMEOUT_S = 30.0
DISK_BYTES = 16 << 20
VALUE = bytes(range(256)) * 64


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 16 MiB of its own."""
    if os.geteuid() != 0:
        raise ToolMissing("only root may mount the small file system of this test")
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "none", str(disk)], check=True)
    try:
        yield disk
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def produce(server: PybrokerServer, values: range) -> tuple[list[int], set[int]]:
    """The offsets acknowledged, and the codes of those refused."""
    acknowledged: list[int] = []
    refused: set[int] = set()

    def delivered(error: KafkaError | None, message: object) -> None:
        if error is None:
            acknowledged.append(message.offset())  # type: ignore[attr-defined]
        else:
            refused.add(error.code())

    producer = Producer({"bootstrap.servers": server.bootstrap, "retries": 0, "linger.ms": 1})
    for number in values:
        producer.produce(TOPIC, number.to_bytes(4, "big") + VALUE, partition=0, on_delivery=delivered)
        producer.poll(0)
    assert producer.flush(TIMEOUT_S) == 0
    return acknowledged, refused


def read(server: PybrokerServer) -> list[int]:
    """The offsets of all records."""
    consumer = Consumer(
        {
            "bootstrap.servers": server.bootstrap,
            "group.id": "x",
            "enable.partition.eof": True,
            "check.crcs": True,
        }
    )
    consumer.assign([TopicPartition(TOPIC, 0, OFFSET_BEGINNING)])
    offsets: list[int] = []
    while True:
        message = consumer.poll(TIMEOUT_S)
        assert message is not None
        error = message.error()
        if error is not None:
            assert error.code() == KafkaError._PARTITION_EOF, error
            consumer.close()
            return offsets
        offsets.append(message.offset())


def test_a_full_disk_refuses_and_recovers(disk: Path, tmp_path: Path) -> None:
    ballast = disk / "ballast"
    ballast.write_bytes(bytes(DISK_BYTES // 2))
    server = PybrokerServer({"log.dirs": f"{tmp_path / 'metadata'},{disk / 'data'}"}, tmp_path)
    server.start()
    try:
        # The second partition goes to the second directory.
        admin = AdminClient({"bootstrap.servers": server.bootstrap})
        for name in ("first", TOPIC):
            admin.create_topics([NewTopic(name, 1, 1)])[name].result(TIMEOUT_S)
        assert (disk / "data" / f"{TOPIC}-0").is_dir()
        kept, refused = produce(server, range(1000))
        assert refused == {KafkaError.KAFKA_STORAGE_ERROR}
        assert read(server) == kept == list(range(len(kept)))

        ballast.unlink()
        more, refused = produce(server, range(300))
        assert (len(more), refused) == (300, set())
        server.kill9()
        server.restart()
        assert read(server) == kept + more == list(range(len(kept) + 300))
    finally:
        server.stop()
