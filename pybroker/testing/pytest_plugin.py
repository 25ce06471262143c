"""Fixtures for pytest: ``kafka_broker``, a fresh broker for each test; ``kafka_cluster`` makes clusters.

A broker is started once a session and reset before each test that asks for it, which takes milliseconds. When
a test fails, the requests that its brokers got are part of the report.
"""

from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest

from pybroker.model.personas import PERSONAS

if TYPE_CHECKING:
    from pybroker.testing.cluster import KafkaCluster

REQUESTS_SHOWN = 50
_IN_USE: pytest.StashKey[list["KafkaCluster"]] = pytest.StashKey()


def pytest_addoption(parser: pytest.Parser) -> None:
    """The options, each also a key of the ini file (``kafka_seed`` for ``--kafka-seed``)."""
    group = parser.getgroup("kafka", "the Kafka brokers of pybroker")
    for name, text in (
        ("persona", "the Kafka version that brokers answer as, for instance 2.8"),
        ("seed", "a YAML file with the topics, records, offsets and faults that every test begins with"),
        ("replication", "how many brokers kafka_broker has, and so the replication factor of its topics"),
        ("security", "reserved: the brokers have no TLS and no SASL yet"),
    ):
        group.addoption(f"--kafka-{name}", help=text)
        parser.addini(f"kafka_{name}", text)
    group.addoption(
        "--kafka-process", action="store_true", default=None, help="run the brokers in a process of their own"
    )
    parser.addini("kafka_process", "run the brokers in a process of their own", type="bool", default=False)


def pytest_configure(config: pytest.Config) -> None:
    """Refuses what cannot be had, before any test runs."""
    if _option(config, "security"):
        raise pytest.UsageError("--kafka-security: the brokers have no TLS and no SASL yet; leave it out")
    count = _option(config, "replication")
    if count and not (str(count).isdigit() and 1 <= int(count) <= 100):
        raise pytest.UsageError(f"--kafka-replication={count}: must be a number of brokers, 1 to 100")
    persona = _option(config, "persona")
    if persona and persona not in PERSONAS:
        raise pytest.UsageError(f"--kafka-persona={persona}: must be one of {', '.join(PERSONAS)}")


def _option(config: pytest.Config, name: str) -> Any:
    given = config.getoption(f"kafka_{name}")
    return config.getini(f"kafka_{name}") if given is None else given


@pytest.fixture(scope="session")
def kafka_clusters(pytestconfig: pytest.Config) -> Iterator[Callable[..., "KafkaCluster"]]:
    """Makes clusters that live as long as the session: the same one for the same arguments."""
    from pybroker.testing.cluster import KafkaCluster

    made: dict[str, KafkaCluster] = {}
    with ExitStack() as stack:

        def make(**arguments: Any) -> KafkaCluster:
            for name in ("persona", "seed"):
                arguments.setdefault(name, _option(pytestconfig, name) or None)
            arguments.setdefault("process", bool(_option(pytestconfig, "process")))
            key = repr(sorted(arguments.items()))
            if key not in made:
                made[key] = stack.enter_context(KafkaCluster(**arguments))
            else:
                made[key].reset()
            return made[key]

        yield make


@pytest.fixture
def kafka_cluster(
    request: pytest.FixtureRequest, kafka_clusters: Callable[..., "KafkaCluster"]
) -> Iterator[Callable[..., "KafkaCluster"]]:
    """Makes the clusters of a test: ``kafka_cluster(brokers=3)``; see
    :class:`pybroker.testing.KafkaCluster` for the arguments. It is in its seed state."""
    in_use: list[KafkaCluster] = []
    request.node.stash[_IN_USE] = in_use

    def make(brokers: int = 1, **arguments: Any) -> "KafkaCluster":
        cluster = kafka_clusters(brokers=brokers, **arguments)
        in_use.append(cluster)
        return cluster

    yield make
    request.node.stash[_IN_USE] = []


@pytest.fixture
def kafka_broker(pytestconfig: pytest.Config, kafka_cluster: Callable[..., "KafkaCluster"]) -> "KafkaCluster":
    """A broker in its seed state; ``bootstrap_servers`` is what clients want to know."""
    return kafka_cluster(brokers=int(_option(pytestconfig, "replication") or 1))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, Any, Any]:
    """Adds the latest requests to the report of a test that failed."""
    report = yield
    if report.when == "call" and report.failed:
        for cluster in item.stash.get(_IN_USE, []):
            report.sections.append((f"requests to {cluster.bootstrap_servers}", cluster.dump(REQUESTS_SHOWN)))
    return report
