"""Stream frameworks: a count by key with a changelog, stopped and restored, and a broker killed meanwhile."""

import json
import shutil
import uuid
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from msgspec import Struct

from interop.frameworks.framework import FRAMEWORKS, Framework
from interop.librdkafka.client import Librdkafka
from interop.support.client import EARLIEST, Message, ProducerSettings, Received
from interop.support.journeys import produce, read
from interop.support.process import ChildProcess
from interop.support.servers import Server
from interop.support.waiting import wait_until

pytestmark = pytest.mark.whole

PARTITIONS = 3
KEYS = 20
RECORDS = 2000
APP_TIMEOUT_S = 90.0


@pytest.fixture(params=FRAMEWORKS, ids=lambda framework: framework.name)
def client(request: pytest.FixtureRequest) -> Framework:
    """The framework of this row; the matrix shows it as the client."""
    framework: Framework = request.param
    return framework


class Counting(Struct, frozen=True):
    """One counting program between two topics, and what is sent to and read from them."""

    kafka: Librdkafka
    source: str
    sink: str
    app: ChildProcess
    folder: Path

    def send(self, numbers: range) -> None:
        """Records numbered so, keyed by number modulo KEYS; a key stays in its partition."""
        messages = [
            Message(number % KEYS % PARTITIONS, f"key-{number % KEYS}".encode(), f"text-{number}".encode())
            for number in numbers
        ]
        produce(self.kafka, self.source, messages, ProducerSettings(codec="gzip"))

    def wait_for(self, count: int) -> None:
        """Until the sink holds `count` records; the program's log is in the failure."""
        try:
            wait_until(lambda: sum(self.ends()) >= count, f"{count} records in the sink", APP_TIMEOUT_S)
        except AssertionError as error:
            raise AssertionError(f"{error}, but {sum(self.ends())}\n{self.app.log_tail()}") from None

    def ends(self) -> list[int]:
        return [self.kafka.end_offset(self.sink, at) for at in range(PARTITIONS)]

    def results(self) -> list[tuple[str, str, int]]:
        """(key, text, count) of the sink, in the order of each partition."""
        records: list[Received] = []
        for at, end in enumerate(self.ends()):
            records += read(self.kafka, self.sink, at, EARLIEST, end) if end else []
        return [_result(record) for record in records]


@pytest.fixture
def counting(client: Framework, server: Server, tmp_path: Path) -> Iterator[Counting]:
    """Topics of its own and the program, started."""
    kafka = Librdkafka(server.bootstrap)
    name = f"interop-{client.name}-{uuid.uuid4().hex[:8]}"
    source, sink = f"{name}-source", f"{name}-sink"
    for topic in (source, sink):
        kafka.create_topic(topic, PARTITIONS)
        wait_until(lambda topic=topic: kafka.topics().get(topic) == PARTITIONS, f"{topic} in the list")  # type: ignore[misc]
    app = client.count(server.bootstrap, name, source, sink, PARTITIONS, tmp_path)
    app.start()
    yield Counting(kafka, source, sink, app, tmp_path)
    app.stop()
    kafka.close()


def test_count_and_restore(client: Framework, counting: Counting, request: pytest.FixtureRequest) -> None:
    """Every record is counted once; a program without its files goes on from commits and changelog."""
    forgive(client, request)
    half = RECORDS // 2
    counting.send(range(half))
    counting.wait_for(half)
    counting.app.stop()
    shutil.rmtree(counting.folder / "state")
    (counting.folder / "state").mkdir()
    counting.send(range(half, RECORDS))
    counting.app.start()
    counting.wait_for(RECORDS)
    check_counts(counting.results())


def test_broker_killed(
    client: Framework, counting: Counting, server: Server, request: pytest.FixtureRequest
) -> None:
    """The program lives through a kill -9 of the broker; each record is counted at least once."""
    forgive(client, request)
    half = RECORDS // 2
    counting.send(range(half))
    counting.wait_for(half)
    server.kill9()
    server.restart()
    counting.send(range(half, RECORDS))
    counting.wait_for(RECORDS)

    def missing() -> set[str]:
        return {f"text-{number}" for number in range(RECORDS)} - {text for _, text, _ in counting.results()}

    wait_until(lambda: not missing(), "every text in the sink", APP_TIMEOUT_S)


def forgive(client: Framework, request: pytest.FixtureRequest) -> None:
    """What the framework does wrong by itself is shown as its fault."""
    if client.start_fault:
        request.applymarker(pytest.mark.xfail(reason=client.start_fault, strict=False))


def check_counts(results: Sequence[tuple[str, str, int]]) -> None:
    """Each text once, and each key's counts run from 1 without a gap."""
    assert Counter(text for _, text, _ in results) == Counter(f"text-{number}" for number in range(RECORDS))
    by_key: dict[str, list[int]] = defaultdict(list)
    for key, _, count in results:
        by_key[key].append(count)
    assert dict(by_key) == {f"key-{key}": list(range(1, RECORDS // KEYS + 1)) for key in range(KEYS)}


def _result(record: Received) -> tuple[str, str, int]:
    assert record.key is not None
    assert record.value is not None
    line = json.loads(record.value)
    return record.key.decode(), line["text"], line["count"]
