"""Java programs that count by key exactly once, through kills of both sides: Kafka Streams with
`processing.guarantee=exactly_once_v2`, and Apache Flink's Kafka source and sink with its checkpoints."""

import json
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec import Struct

from interop.frameworks.test_frameworks import KEYS, PARTITIONS, RECORDS, check_counts
from interop.librdkafka.client import Librdkafka
from interop.support import maven
from interop.support.client import EARLIEST, Message, ProducerSettings
from interop.support.journeys import produce
from interop.support.jvm import compiled
from interop.support.process import ChildProcess
from interop.support.servers import Server
from interop.support.tools import require_tool
from interop.support.waiting import wait_until

pytestmark = pytest.mark.whole

APP_TIMEOUT_S = 120.0


class CountingProgram(Struct, frozen=True):
    """A program of interop/java against one version set; ``name`` is what the matrix shows."""

    set_name: str
    name: str
    program: str
    options: tuple[str, ...]

    @property
    def version(self) -> str:
        return maven.VERSION_SETS[self.set_name][0].rpartition(":")[2]

    def app(self, *arguments: str, log: Path) -> ChildProcess:
        command = [
            require_tool("java", "default-jdk-headless"), *self.options, "-XX:+UseSerialGC",
            "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
            "-cp", compiled(self.program, self.set_name), self.program, *arguments,
        ]  # fmt: skip
        return ChildProcess(command, log)


_FOR_FLINK = (
    "-Xmx512m",
    "--add-opens=java.base/java.util=ALL-UNNAMED",
    "-Dorg.slf4j.simpleLogger.log.org.apache.flink.metrics=error",
)

PROGRAMS = (
    CountingProgram("streams-3.9", "kafka-streams", "StreamsCount", ("-Xmx256m",)),
    CountingProgram("streams-4", "kafka-streams", "StreamsCount", ("-Xmx256m",)),
    CountingProgram("flink-1.20", "flink", "FlinkCount", _FOR_FLINK),
    CountingProgram("flink-2", "flink", "FlinkCount", _FOR_FLINK),
)


@pytest.fixture(params=PROGRAMS, ids=lambda program: program.set_name)
def client(request: pytest.FixtureRequest) -> CountingProgram:
    """The program of this row."""
    program: CountingProgram = request.param
    return program


@pytest.fixture
def kafka(server: Server) -> Iterator[Librdkafka]:
    kafka = Librdkafka(server.bootstrap)
    yield kafka
    kafka.close()


def test_each_record_is_counted_once(
    client: CountingProgram, kafka: Librdkafka, server: Server, tmp_path: Path
) -> None:
    """The program is killed and restored from its changelog or checkpoint, then the broker is killed; a
    reader of committed records finds every record counted once, and each key's counts without a gap."""
    name = f"interop-{client.name}-{uuid.uuid4().hex[:8]}"
    source, sink = f"{name}-source", f"{name}-sink"
    for topic in (source, sink):
        kafka.create_topic(topic, PARTITIONS)
    app = client.app(server.bootstrap, name, source, sink, str(tmp_path / "state"), log=tmp_path / "app.log")
    app.start()
    try:
        third = RECORDS // 4
        send(kafka, source, range(third))
        wait_for(kafka, sink, third, app)
        app.kill9()
        send(kafka, source, range(third, 2 * third))
        app.start()
        wait_for(kafka, sink, 2 * third, app)
        send(kafka, source, range(2 * third, RECORDS - third))
        server.kill9()
        server.restart()
        send(kafka, source, range(RECORDS - third, RECORDS))
        check_counts(wait_for(kafka, sink, RECORDS, app))
    finally:
        app.stop()


def send(kafka: Librdkafka, topic: str, numbers: range) -> None:
    """Records numbered so, keyed by number modulo KEYS; a key stays in its partition."""
    messages = [
        Message(number % KEYS % PARTITIONS, f"key-{number % KEYS}".encode(), f"text-{number}".encode())
        for number in numbers
    ]
    produce(kafka, topic, messages, ProducerSettings())


def wait_for(kafka: Librdkafka, topic: str, count: int, app: ChildProcess) -> list[tuple[str, str, int]]:
    """(key, text, count) of what a reader of committed records finds, once that is ``count`` records."""
    readers = [kafka.committed_reader(topic, at, EARLIEST) for at in range(PARTITIONS)]
    found: list[tuple[str, str, int]] = []

    def is_there() -> bool:
        assert app.is_running, app.log_tail()
        for reader in readers:
            for record in reader.read(1, 0.3):
                assert record.key is not None
                assert record.value is not None
                line = json.loads(record.value)
                found.append((record.key.decode(), line["text"], line["count"]))
        return len(found) >= count

    try:
        wait_until(is_there, f"{count} records in the sink", APP_TIMEOUT_S)
        is_there()
    except AssertionError as error:
        raise AssertionError(f"{error}, but {len(found)}\n{app.log_tail()}") from None
    finally:
        for reader in readers:
            reader.close()
    assert len(found) == count, f"{len(found)} records instead of {count}"
    return found
