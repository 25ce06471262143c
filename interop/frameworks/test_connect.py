"""Kafka Connect in distributed mode: a file into a topic exactly once, the topic into another file."""

import json
import urllib.error
import urllib.request
import uuid
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from msgspec import Struct

from interop.librdkafka.client import Librdkafka
from interop.support import maven
from interop.support.client import EARLIEST
from interop.support.jvm import SOURCES
from interop.support.process import LOCALHOST, ChildProcess, free_port
from interop.support.servers import Server
from interop.support.tools import require_tool
from interop.support.waiting import wait_until

pytestmark = pytest.mark.whole

LINES = 600
TIMEOUT_S = 120.0
_FILE = "org.apache.kafka.connect.file.FileStream{}Connector"


class KafkaConnect(Struct, frozen=True):
    """The framework as the matrix shows it."""

    name: str = "kafka-connect"
    version: str = maven.KAFKA_39


@pytest.fixture
def client() -> KafkaConnect:
    return KafkaConnect()


class Worker:
    """One worker of a cluster of its own, and its REST interface."""

    def __init__(self, bootstrap: str, folder: Path, name: str) -> None:
        self.port = free_port()
        settings = {
            "bootstrap.servers": bootstrap,
            "group.id": name,
            "listeners": f"http://{LOCALHOST}:{self.port}",
            "key.converter": "org.apache.kafka.connect.storage.StringConverter",
            "value.converter": "org.apache.kafka.connect.storage.StringConverter",
            "exactly.once.source.support": "enabled",
            "offset.flush.interval.ms": "500",
            "reconnect.backoff.max.ms": "500",
            "session.timeout.ms": "6000",
            "heartbeat.interval.ms": "500",
            "plugin.discovery": "only_scan",
        }
        for kind in ("offset", "config", "status"):
            settings[f"{kind}.storage.topic"] = f"{name}-{kind}"
            settings[f"{kind}.storage.replication.factor"] = "1"
        properties = folder / "connect.properties"
        properties.write_text("".join(f"{key}={value}\n" for key, value in settings.items()))
        command = [
            require_tool("java", "default-jdk-headless"), "-Xmx256m", "-XX:+UseSerialGC",
            f"-Dlog4j.configuration=file:{SOURCES / 'log4j.properties'}",
            "-cp", maven.class_path("connect-3.9"), "org.apache.kafka.connect.cli.ConnectDistributed",
            str(properties),
        ]  # fmt: skip
        self.process = ChildProcess(command, folder / "connect.log")

    def start(self) -> None:
        self.process.start()
        wait_until(lambda: self.ask("GET", "connectors") == [], "the REST interface", TIMEOUT_S)

    def create(self, name: str, config: Mapping[str, str]) -> None:
        wait_until(lambda: self.ask("PUT", f"connectors/{name}/config", config) is not None, name, TIMEOUT_S)

    def ask(self, method: str, path: str, body: Mapping[str, str] | None = None) -> Any:
        """The answer; None while there is none, or it is an error that passes."""
        assert self.process.is_running, self.process.log_tail()
        request = urllib.request.Request(
            f"http://{LOCALHOST}:{self.port}/{path}",
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Content-Type": "application/json"},
        )
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return json.load(answer)
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            return None


@pytest.fixture
def worker(client: KafkaConnect, server: Server, tmp_path: Path) -> Iterator[Worker]:
    worker = Worker(server.bootstrap, tmp_path, f"interop-{client.name}-{uuid.uuid4().hex[:8]}")
    worker.start()
    yield worker
    worker.process.stop()


def test_a_file_goes_through_a_topic_into_a_file(worker: Worker, server: Server, tmp_path: Path) -> None:
    """The broker is killed meanwhile. A reader of committed records finds each line once and in order; the
    file at the end has every line."""
    topic = f"interop-lines-{uuid.uuid4().hex[:8]}"
    kafka = Librdkafka(server.bootstrap)
    kafka.create_topic(topic, 1)
    source, sink = tmp_path / "source.txt", tmp_path / "sink.txt"
    lines = [f"line {number}" for number in range(LINES)]
    third = LINES // 3
    write(source, lines[:third])
    worker.create(
        "source",
        {"connector.class": _FILE.format("Source"), "file": str(source), "topic": topic, "tasks.max": "1"},
    )
    worker.create(
        "sink",
        {"connector.class": _FILE.format("Sink"), "file": str(sink), "topics": topic, "tasks.max": "1"},
    )
    wait_for_lines(sink, lines[:third], worker)
    write(source, lines[third : 2 * third])
    server.kill9()
    server.restart()
    write(source, lines[2 * third :])
    wait_for_lines(sink, lines, worker)
    reader = kafka.committed_reader(topic, 0, EARLIEST)
    values = [record.value for record in reader.read(LINES, TIMEOUT_S)]
    values += [record.value for record in reader.read(1, 2.0)]
    reader.close()
    kafka.close()
    assert values == [line.encode() for line in lines]


def write(file: Path, lines: list[str]) -> None:
    with file.open("a") as open_file:
        open_file.writelines(line + "\n" for line in lines)


def wait_for_lines(file: Path, lines: list[str], worker: Worker) -> None:
    def are_there() -> bool:
        assert worker.process.is_running, worker.process.log_tail()
        return file.exists() and not Counter(lines).keys() - set(file.read_text().splitlines())

    try:
        wait_until(are_there, f"{len(lines)} lines in the file", TIMEOUT_S)
    except AssertionError as error:
        raise AssertionError(f"{error}\n{worker.process.log_tail()}") from None
