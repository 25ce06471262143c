"""Kafka's tools move replicas between log directories, and each broker ends a move that the other began."""

import json
import random
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from interop.storage.handover import copy_metadata
from interop.support.servers import ApacheKafkaServer, PybrokerServer, Server
from interop.support.tool_runner import KafkaTools
from interop.support.waiting import wait_until

TOPIC = "moved"
TIMEOUT_S = 30.0
DIRS = ("one", "two")
COUNT = 800
SLOW, FAST = "20000", "1000000000"


def settings(folder: Path) -> dict[str, str]:
    return {
        "log.dirs": ",".join(str(folder / name) for name in DIRS),
        "offsets.topic.replication.factor": "1",
        "transaction.state.log.replication.factor": "1",
    }


@pytest.fixture(params=["pybroker", pytest.param("apache", marks=pytest.mark.whole)])
def moving(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Server]:
    """A broker with two log directories."""
    server: Server
    if request.param == "pybroker":
        server = PybrokerServer(settings(tmp_path), tmp_path)
    else:
        server = ApacheKafkaServer(settings(tmp_path))
    server.start()
    try:
        yield server
    finally:
        server.stop()


def create(server: Server) -> None:
    admin = AdminClient({"bootstrap.servers": server.bootstrap})
    topic = NewTopic(TOPIC, 1, 1, config={"segment.bytes": "200000"})
    admin.create_topics([topic])[TOPIC].result(TIMEOUT_S)


def produce(server: Server, numbers: range) -> None:
    def delivered(error: KafkaError | None, _message: object) -> None:
        assert error is None, error

    settings = {
        "bootstrap.servers": server.bootstrap,
        "batch.size": 50_000,
        "enable.idempotence": True,
    }
    producer = Producer(settings)
    for number in numbers:
        noise = random.Random(number).randbytes(5000)
        producer.produce(TOPIC, number.to_bytes(4, "big") + noise, partition=0, on_delivery=delivered)
        producer.poll(0)
    assert producer.flush(TIMEOUT_S) == 0


def read(server: Server) -> list[int]:
    """The numbers of all records."""
    consumer = Consumer(
        {"bootstrap.servers": server.bootstrap, "group.id": "x", "enable.partition.eof": True}
    )
    consumer.assign([TopicPartition(TOPIC, 0, OFFSET_BEGINNING)])
    numbers: list[int] = []
    while True:
        message = consumer.poll(TIMEOUT_S)
        assert message is not None
        error = message.error()
        if error is not None:
            assert error.code() == KafkaError._PARTITION_EOF, error
            consumer.close()
            return numbers
        assert message.offset() == len(numbers)
        numbers.append(int.from_bytes(message.value()[:4], "big"))


def replicas(tools: KafkaTools) -> list[tuple[str, bool, int]]:
    """Where kafka-log-dirs shows the partition: directory, whether it moves there, lag."""
    result = tools.check("kafka-log-dirs", "--describe", "--topic-list", TOPIC)
    brokers = json.loads(next(line for line in result.lines if line.startswith("{")))["brokers"]
    return [
        (Path(log_dir["logDir"]).name, each["isFuture"], each["offsetLag"])
        for log_dir in brokers[0]["logDirs"]
        for each in log_dir["partitions"]
    ]


def order(tools: KafkaTools, folder: Path, target: str, *options: str) -> Path:
    """kafka-reassign-partitions --execute with a log directory; returns the plan's file."""
    plan = folder / f"to-{target}.json"
    moved = {"topic": TOPIC, "partition": 0, "replicas": [0], "log_dirs": [str(folder / target)]}
    plan.write_text(json.dumps({"version": 1, "partitions": [moved]}))
    result = tools.check(
        "kafka-reassign-partitions", "--reassignment-json-file", str(plan), "--execute", *options
    )
    assert "Successfully started moving log directory" in result.output, str(result)
    return plan


def verify(tools: KafkaTools, plan: Path, *options: str) -> str:
    return tools.check(
        "kafka-reassign-partitions", "--reassignment-json-file", str(plan), "--verify", *options
    ).output


def test_kafka_reassign_partitions_moves_a_replica_while_it_is_written(
    moving: Server, tmp_path: Path
) -> None:
    create(moving)
    produce(moving, range(COUNT))
    tools = KafkaTools(moving.bootstrap, "tools-3.9")
    try:
        ((source, is_future, lag),) = replicas(tools)
        assert (is_future, lag) == (False, 0)
        target = DIRS[1 - DIRS.index(source)]
        plan = order(tools, tmp_path, target, "--replica-alter-log-dirs-throttle", SLOW)
        assert "is still in progress" in verify(tools, plan, "--preserve-throttles")
        shown = {name: (is_future, lag) for name, is_future, lag in replicas(tools)}
        assert shown[source] == (False, 0)
        assert shown[target][0]
        assert 0 < shown[target][1] <= COUNT
        produce(moving, range(COUNT, COUNT + 50))
        order(tools, tmp_path, target, "--replica-alter-log-dirs-throttle", FAST)
        done = f"Reassignment of replica {TOPIC}-0-0 completed successfully"
        wait_until(lambda: done in verify(tools, plan) or None, "the end of the move", TIMEOUT_S)
        assert replicas(tools) == [(target, False, 0)]
        produce(moving, range(COUNT + 50, COUNT + 60))
        assert read(moving) == list(range(COUNT + 60))
        assert [path.name for path in (tmp_path / target).glob(f"{TOPIC}-*")] == [f"{TOPIC}-0"]
    finally:
        tools.close()


@pytest.mark.whole
@pytest.mark.parametrize("begun_by", ["pybroker", "apache"])
def test_a_move_that_one_broker_has_begun_the_other_ends(begun_by: str, tmp_path: Path) -> None:
    embedded = f"embedded:{tmp_path / 'one'}"
    pybroker = PybrokerServer(settings(tmp_path), tmp_path)
    apache = ApacheKafkaServer(settings(tmp_path))
    first: PybrokerServer | ApacheKafkaServer = pybroker if begun_by == "pybroker" else apache
    second = apache if begun_by == "pybroker" else pybroker
    try:
        first.start()
        create(first)
        produce(first, range(COUNT))
        tools = KafkaTools(first.bootstrap, "tools-3.9")
        try:
            ((source, _is_future, _lag),) = replicas(tools)
            target = DIRS[1 - DIRS.index(source)]
            order(tools, tmp_path, target, "--replica-alter-log-dirs-throttle", SLOW)
            assert len(replicas(tools)) == 2
        finally:
            tools.close()
        zookeeper = f"zookeeper:{apache.zookeeper.address}"
        if begun_by == "pybroker":
            pybroker.stop()
            apache.zookeeper.start()
            copy_metadata(embedded, zookeeper)
        else:
            apache.stop_process()
            copy_metadata(zookeeper, embedded)
        assert [path.name[-7:] for path in (tmp_path / target).glob(f"{TOPIC}-*")] == ["-future"]
        second.start()
        tools = KafkaTools(second.bootstrap, "tools-3.9")
        try:
            tools.check(
                "kafka-configs", "--entity-type", "brokers", "--entity-name", "0", "--alter",
                "--add-config", f"replica.alter.log.dirs.io.max.bytes.per.second={FAST}",
            )  # fmt: skip
            deadline = time.monotonic() + 2 * TIMEOUT_S
            while replicas(tools) != [(target, False, 0)]:
                assert time.monotonic() < deadline, second.log_tail()
        finally:
            tools.close()
        assert read(second) == list(range(COUNT))
    finally:
        pybroker.stop()
        apache.stop()
