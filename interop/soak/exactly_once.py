"""Three workers that consume, and produce the same again, while they and the brokers are killed.

Run ``python -m interop.soak.exactly_once [--seconds 600] [--brokers 3] [--seed 1]``. Workers copy one topic
to another in transactions that carry their positions. At random moments a worker or a broker gets SIGKILL and
is started again; one transaction in twenty is aborted for no reason. In the end a reader of committed records
must find in the copy exactly what is in the source, each record once and in order. Ends with 1 when it does
not, when an acknowledged record is missing, or when a client failed.
"""

import argparse
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from confluent_kafka import Consumer, KafkaError, KafkaException
from confluent_kafka import TopicPartition as Position
from confluent_kafka.admin import AdminClient, NewTopic
from msgspec import Struct, field

from interop.soak.load import Load
from interop.support.cluster import BrokerCluster
from interop.support.process import ChildProcess
from interop.support.servers import CHECKOUT, PybrokerServer
from interop.support.waiting import wait_until
from pybroker.model.ids import TopicPartition
from tests.support.history import Sent, wrong_in_copy, wrong_in_log

TABLE = Path(__file__).parent / "results" / "exactly-once.md"
SOURCE, SINK, GROUP = "eos-source", "eos-sink", "eos"
PARTITIONS = 3
QUIET_S = 120.0
"""How long the workers may need to catch up once nobody is killed any more."""

OVERRIDES: Mapping[str, str] = {
    "transaction.abort.timed.out.transaction.cleanup.interval.ms": "1000",
    "transaction.state.log.num.partitions": "6",
}


class OneBroker:
    replicas = 1

    def __init__(self) -> None:
        self.server = PybrokerServer({**OVERRIDES, "group.initial.rebalance.delay.ms": "0"})

    @property
    def bootstrap(self) -> str:
        return self.server.bootstrap

    def start(self) -> None:
        self.server.start()

    def kill_one(self, rng: random.Random) -> None:
        self.server.kill9()
        time.sleep(rng.uniform(0, 0.5))
        self.server.restart()

    def wait_until_whole(self) -> None:
        """It is when it runs."""

    def stop(self) -> None:
        self.server.stop()


class ThreeBrokers:
    replicas = 3

    def __init__(self) -> None:
        self.cluster = BrokerCluster(
            {
                **OVERRIDES,
                "transaction.state.log.replication.factor": "3",
                "transaction.state.log.min.isr": "2",
            }
        )

    @property
    def bootstrap(self) -> str:
        return self.cluster.bootstrap

    def start(self) -> None:
        self.cluster.start()

    def kill_one(self, rng: random.Random) -> None:
        broker_id = rng.choice(sorted(self.cluster.brokers))
        self.cluster.kill(broker_id)
        wait_until(lambda: broker_id not in self.cluster.registered(), "the end of its session", 30)
        self.cluster.brokers[broker_id].start()
        self.wait_until_whole()

    def wait_until_whole(self) -> None:
        self.cluster.wait_until_whole((SOURCE, SINK, "__consumer_offsets", "__transaction_state"))

    def stop(self) -> None:
        self.cluster.stop()
        self.cluster.remove()


class Soak(Struct):
    """One run."""

    seed: int
    brokers: OneBroker | ThreeBrokers
    workers: list[ChildProcess] = field(default_factory=list)
    killed: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    copied: int = 0
    per_second: int = 100
    folder: Path = field(default_factory=lambda: Path(tempfile.mkdtemp(prefix="interop-eos-")))
    rng: random.Random = None  # made below
    load: Load = None  # made below

    def __post_init__(self) -> None:
        self.rng = random.Random(self.seed)
        self.load = Load(
            self.brokers.bootstrap, SOURCE, PARTITIONS, producers=1, consumers=0, per_second=self.per_second
        )

    def run(
        self, *, rounds: int = 0, seconds: float = 0.0, pause_s: tuple[float, float] = (2.0, 8.0)
    ) -> None:
        """Kill something every ``pause_s`` seconds, for so many rounds and as long as that, then let
        everything settle, and check."""
        self.brokers.start()
        self._create_topics()
        self.load.start()
        self.workers = [self._worker(number) for number in range(3)]
        for worker in self.workers:
            worker.start()
        wait_until(lambda: self.load.acknowledged > 50, "a first load", 60)
        wait_until(self._has_begun, "a first copy", 60)
        ends = time.monotonic() + seconds
        number = 0
        while number < rounds or time.monotonic() < ends:
            number += 1
            self._sleep(self.rng.uniform(*pause_s))
            self._kill()
            left_s = max(0, ends - time.monotonic())
            self._say(f"{dict(self.killed)}, {left_s:.0f} s left")
        self.load.stop()
        self.brokers.wait_until_whole()
        self._check()

    def _say(self, what: str) -> None:
        known = self.load.acknowledged
        said = f"{known} acknowledged, {known - self._read()} of them not yet read, {what}"
        print(time.strftime("%H:%M:%S"), said, file=sys.stderr, flush=True)

    def _read(self) -> int:
        """How far the workers have come, by what they committed; 0 when nobody says so at the moment."""
        settings = {"bootstrap.servers": self.brokers.bootstrap, "group.id": GROUP, "log_level": 0}
        consumer = Consumer(settings)
        partitions = [Position(SOURCE, index) for index in range(PARTITIONS)]
        try:
            return sum(max(0, place.offset) for place in consumer.committed(partitions, timeout=5))
        except KafkaException:
            return 0
        finally:
            consumer.close()

    def _has_begun(self) -> bool:
        consumer = Consumer({"bootstrap.servers": self.brokers.bootstrap, "group.id": "eos-reader"})
        try:
            return bool(consumer.get_watermark_offsets(Position(SINK, 0), timeout=10)[1] > 0)
        finally:
            consumer.close()

    def _create_topics(self) -> None:
        admin = AdminClient({"bootstrap.servers": self.brokers.bootstrap})
        topics = [NewTopic(name, PARTITIONS, self.brokers.replicas) for name in (SOURCE, SINK)]
        for made in admin.create_topics(topics).values():
            made.result(30)

    def _worker(self, number: int) -> ChildProcess:
        command = [sys.executable, "-m", "interop.soak.exactly_once_worker"]
        command += [self.brokers.bootstrap, f"eos-{number}", GROUP, SOURCE, SINK]
        log = self.folder / f"worker-{number}.log"
        return ChildProcess(command, log, {"PYTHONPATH": str(CHECKOUT)})

    def _sleep(self, seconds: float) -> None:
        """Workers that ended by themselves, as a fenced one must, are started again meanwhile."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            self._revive()
            time.sleep(min(0.2, seconds))

    def _revive(self) -> None:
        for worker in self.workers:
            if not worker.is_running:
                self.killed["a worker ended by itself"] += 1
                worker.start()

    def _kill(self) -> None:
        if self.rng.randrange(2):
            worker = self.rng.choice(self.workers)
            if worker.is_running:
                worker.kill9()
            worker.start()
            self.killed["kill -9 of a worker"] += 1
        else:
            self.brokers.kill_one(self.rng)
            self.killed["kill -9 of a broker"] += 1

    # -- what must hold --------------------------------------------------------------------------------

    def _check(self) -> None:
        self.wrong += self.load.errors
        sources = {index: whole_log(self.brokers.bootstrap, SOURCE, index) for index in range(PARTITIONS)}
        copies: dict[int, list[Sent]] = {}
        ends = time.monotonic() + QUIET_S
        while time.monotonic() < ends:
            self._revive()
            copies = {index: whole_log(self.brokers.bootstrap, SINK, index) for index in sources}
            if all(len(copies[index]) >= len(sources[index]) for index in sources):
                break
            self._say("waiting for the rest")
            time.sleep(1)
        for index, source in sources.items():
            self.wrong += wrong_in_log(self.load.history, TopicPartition(SOURCE, index), source)
            self.wrong += wrong_in_copy(TopicPartition(SINK, index), source, copies[index])
            self.copied += len(copies[index])

    def stop(self) -> None:
        self.load.stop()
        for worker in self.workers:
            if worker.is_running:
                worker.kill9()
        self.brokers.stop()

    def table(self, seconds: float) -> str:
        """What happened, and what came of it."""
        rows = "\n".join(f"| {kind} | {count} |" for kind, count in sorted(self.killed.items()))
        verdict = "Everything held." if not self.wrong else "\n".join(f"- {one}" for one in self.wrong)
        return (
            f"Seed {self.seed}, {self.brokers.replicas} broker(s), 3 workers, {seconds:.0f} s of trouble; "
            f"{self.load.acknowledged:,} records acknowledged, {self.copied:,} in the copy.\n\n"
            f"| trouble | times |\n|--|--|\n{rows}\n\n{verdict}\n"
        )


def whole_log(bootstrap: str, topic: str, partition: int) -> list[Sent]:
    """What a reader of committed records sees, once nothing is written any more: it is told of an end only
    when it waits there in vain."""
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": "eos-reader",
            "log_level": 0,
            "enable.auto.commit": False,
            "isolation.level": "read_committed",
            "enable.partition.eof": True,
        }
    )
    found: list[Sent] = []
    try:
        consumer.assign([Position(topic, partition, 0)])
        while True:
            message = consumer.poll(5.0)
            error = None if message is None else message.error()
            if message is not None and error is None:
                producer, _, number = message.value().decode().partition(":")
                found.append(Sent(producer, int(number)))
            elif error is not None and error.code() == KafkaError._PARTITION_EOF:
                return found
            elif error is not None and not error.retriable():
                raise KafkaException(error)
    finally:
        consumer.close()


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m interop.soak.exactly_once", description=__doc__)
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--brokers", type=int, choices=(1, 3), default=3)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    # Whoever ends the run ends the workers and the brokers too.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    soak = Soak(options.seed, OneBroker() if options.brokers == 1 else ThreeBrokers())
    try:
        soak.run(seconds=options.seconds)
    except AssertionError as error:
        soak.wrong.append(str(error))
    finally:
        soak.stop()
    for worker in soak.workers if soak.wrong else ():
        print(f"--- {worker.log_file}\n{worker.log_tail()}", file=sys.stderr)
    print(soak.table(options.seconds))
    if options.seconds >= parser.get_default("seconds"):
        earlier = TABLE.read_text() if TABLE.exists() else "# Exactly once\n"
        TABLE.write_text(f"{earlier}\n{soak.table(options.seconds)}")
    return 1 if soak.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
