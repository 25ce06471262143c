"""How fast a test gets a broker: from the call to the first Metadata answer, and back to the beginning.

Run ``python -m interop.benchmarks.loop [--quick] [--rounds N] [--systems a,b] [--json FILE]``. pybroker is
in a thread of this process, with all imports done, and a process of its own (the time to the answer includes
its interpreter); Apache Kafka and librdkafka's mock as processes, since a fresh one is what their tests get.
``import trio`` in a fresh interpreter is what part of pybroker's process is not its own. At last, whole runs
of pytest: 30 tests, each with a fresh broker, that ask it for its Metadata, or in which a producer and the
consumer of a group of librdkafka pass a message on.
"""

import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

from interop.benchmarks.client import parse_options
from interop.benchmarks.figures import Figures, Target, progress, report
from interop.benchmarks.probe import await_metadata
from interop.benchmarks.startup import run_python, start
from interop.benchmarks.systems import SYSTEMS
from interop.support.servers import CHECKOUT
from pybroker.testing import KafkaCluster

ROUNDS = 9
ANSWER_TIMEOUT_S = 30.0
IN_PROCESS, AS_PROCESS = "pybroker in process", "pybroker"
SEEDED = "pybroker in process, seeded"
START, RESET = "call to first metadata, ms", "reset to first metadata, ms"
RESET_CALL = "reset, ms"
ASKING, PASSING_ON = "30 tests with a fresh broker, s", "30 tests with a message, s"
PAIRS = ((IN_PROCESS, "mock"), (IN_PROCESS, "kafka"), (AS_PROCESS, "import trio"))
TARGETS = [
    Target(START, IN_PROCESS, 60, at_least=False),
    Target(START, AS_PROCESS, 2.2, "import trio", at_least=False),
    Target(RESET_CALL, IN_PROCESS, 20, at_least=False),
    Target(RESET_CALL, SEEDED, 20, at_least=False),
    Target(ASKING, IN_PROCESS, 10, at_least=False),
    Target(PASSING_ON, IN_PROCESS, 10, at_least=False),
]
SEED = {"topics": [{"name": "orders", "records": [{"value": "one"}]}]}


THIRTY = """
import pytest
from confluent_kafka import Consumer, Producer
from interop.benchmarks.probe import await_metadata

@pytest.mark.parametrize("number", range(30))
def test_asking(kafka_broker, number):
    await_metadata(int(kafka_broker.bootstrap_servers.rpartition(":")[2]), 10, lambda: None)

@pytest.mark.parametrize("number", range(30))
def test_passing_on(kafka_broker, number):
    servers = {"bootstrap.servers": kafka_broker.bootstrap_servers}
    producer = Producer(servers)
    producer.produce("orders", b"one")
    producer.flush(10)
    consumer = Consumer({**servers, "group.id": "readers", "auto.offset.reset": "earliest"})
    consumer.subscribe(["orders"])
    message = consumer.poll(10)
    assert message is not None and message.value() == b"one"
    consumer.close()
"""


def main() -> int:
    options = parse_options(__doc__, ROUNDS)
    figures = Figures("the loop of a test", options.rounds, PAIRS)
    with ExitStack() as stack:
        others = [SYSTEMS[name]() for name in ("pybroker", "mock", "kafka") if name in options.systems]
        for system in others:
            stack.callback(system.close)
            system.prepare()
            start(system)
            system.halt()
        with KafkaCluster() as cluster:
            await_cluster(cluster)  # what is imported on demand is imported
        for number in range(options.rounds):
            progress(f"round {number + 1} of {options.rounds}")
            began = time.perf_counter()
            with KafkaCluster() as cluster:
                await_cluster(cluster)
                figures.add(START, IN_PROCESS, since_ms(began))
                figures.add(RESET_CALL, IN_PROCESS, timed_ms(cluster.reset))
            with KafkaCluster(seed=SEED) as cluster:
                figures.add(RESET_CALL, SEEDED, timed_ms(cluster.reset))
                figures.add(RESET, IN_PROCESS, timed_ms(lambda: reset_and_ask(cluster)))
            for system in others:
                figures.add(START, system.name, start(system))
                system.halt()
            figures.add(START, "import trio", run_python("import trio"))
            for figure, test in ((ASKING, "test_asking"), (PASSING_ON, "test_passing_on")):
                figures.add(figure, IN_PROCESS, timed_ms(lambda test=test: run_thirty(test)) / 1000)
    return 0 if report(figures, TARGETS, options.json, add=options.add) else 1


def run_thirty(test: str) -> None:
    """A run of pytest, its interpreter included."""
    with TemporaryDirectory() as folder:
        module = Path(folder) / "test_thirty.py"
        module.write_text(THIRTY)
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", folder]
        done = subprocess.run(
            [*command, str(module), "-k", test], capture_output=True, text=True, cwd=CHECKOUT, check=False
        )
        assert "30 passed" in done.stdout, f"{done.stdout}{done.stderr}"


def reset_and_ask(cluster: KafkaCluster) -> None:
    cluster.reset()
    await_cluster(cluster)


def await_cluster(cluster: KafkaCluster) -> None:
    await_metadata(int(cluster.bootstrap_servers.rpartition(":")[2]), ANSWER_TIMEOUT_S, lambda: None)


def timed_ms(do: Callable[[], object]) -> float:
    began = time.perf_counter()
    do()
    return since_ms(began)


def since_ms(began: float) -> float:
    return (time.perf_counter() - began) * 1000


if __name__ == "__main__":
    sys.exit(main())
