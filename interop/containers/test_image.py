"""The image itself: what is in it, how it is configured, how it starts, answers, stops and keeps its data."""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from interop.containers.container import Container
from interop.librdkafka.client import Librdkafka
from interop.support.client import ProducerSettings
from interop.support.docker import Docker
from interop.support.journeys import check_topic, new_topic, produce
from interop.support.process import free_port
from interop.support.waiting import wait_until
from interop.support.workload import make_messages

pytestmark = pytest.mark.whole

KRAFT_NODE = {
    "KAFKA_NODE_ID": "7",
    "KAFKA_PROCESS_ROLES": "broker,controller",
    "KAFKA_LISTENERS": "PLAINTEXT://:9092,CONTROLLER://:9093",
    "KAFKA_CONTROLLER_LISTENER_NAMES": "CONTROLLER",
    "KAFKA_CONTROLLER_QUORUM_VOTERS": "7@localhost:9093",
    "KAFKA_LISTENER_SECURITY_PROTOCOL_MAP": "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT",
    "KAFKA_OFFSETS_TOPIC_REPLICATION_FACTOR": "1",
}
"""What examples of the apache/kafka image set."""

FIND_BROKER = "grep -lx pybroker /proc/[0-9]*/comm | cut -d / -f 3 | sort -n | head -n 1"

FLUSH_S = 30.0

Run = Callable[..., Container]


@pytest.fixture
def run(docker: Docker, image: str) -> Iterator[Run]:
    """Starts containers that are gone after the test."""
    started: list[Container] = []

    def start(*arguments: object, **options: object) -> Container:
        started.append(Container(docker, image, *arguments, **options))  # type: ignore[arg-type]
        return started[-1]

    yield start
    for container in started:
        container.remove()


def advertised(port: int) -> dict[str, str]:
    return {"KAFKA_ADVERTISED_LISTENERS": f"PLAINTEXT://localhost:{port}"}


@contextmanager
def connected(container: Container) -> Iterator[Librdkafka]:
    """A client of its own: when its broker was restarted, librdkafka may say "unknown partition" at first."""
    client = Librdkafka(container.bootstrap)
    try:
        yield client
    finally:
        client.close()


def partitions_of_a_new_topic(container: Container) -> int:
    """Of one that appears because somebody produces to it."""
    with connected(container) as client:
        producer = client.producer(ProducerSettings())
        producer.send("new", make_messages(1, client.traits))
        producer.flush(FLUSH_S)
        producer.close()
        return client.topics()["new"]


def test_what_the_image_declares(docker: Docker, image: str) -> None:
    """The user, the volumes, the port, the command and a health check, as its models have them."""
    config = docker.inspect(image)["Config"]
    assert config["User"] == "appuser"
    assert set(config["Volumes"]) == {"/etc/kafka/secrets", "/var/lib/kafka/data", "/mnt/shared/config"}
    assert set(config["ExposedPorts"]) == {"9092/tcp"}
    assert config["Cmd"] == ["/etc/kafka/docker/run"]
    assert config["Healthcheck"]["Test"] == ["CMD", "pybroker", "health"]


def test_no_build_tools_are_left(run: Run) -> None:
    container = run().wait_until_ready()
    tools = "for tool in gcc cc make pip pip3 git curl wget; do command -v $tool; done; true"
    assert container.execute("sh", "-c", tools) == ""
    assert container.execute("id", "-u") == "1000"


def test_told_nothing_it_is_one_broker_at_localhost(run: Run) -> None:
    container = run().wait_until_ready()
    log = container.log()
    assert "broker 1 of cluster 5L6g3nShT-eMCtK--X86sw" in log
    for line in (
        r"\[KafkaServer id=1\] started",
        "Kafka Server started",
        "Transitioning from RECOVERY to RUNNING",
    ):
        assert re.search(line, log), f"{line} is not in the log"


def test_it_becomes_healthy_and_notices_when_it_is_not(run: Run) -> None:
    container = run(options=["--health-interval=1s", "--health-retries=2"])
    wait_until(lambda: container.state["Health"]["Status"] == "healthy", "a healthy container")
    container.execute("sh", "-c", f"kill -STOP $({FIND_BROKER})")
    wait_until(lambda: container.state["Health"]["Status"] == "unhealthy", "an unhealthy container")


def test_variables_of_kraft_images_are_understood(run: Run) -> None:
    """Three underscores, two, one; what configures the quorum or the JVM changes nothing."""
    port = free_port()
    variables = {
        **KRAFT_NODE,
        **advertised(port),
        "CLUSTER_ID": "4L6g3nShT-eMCtK--X86sw",
        "KAFKA_NUM_PARTITIONS": "4",
        "KAFKA_HEAP_OPTS": "-Xmx512m",
        "KAFKA_OPTS": "-Dwhatever=1",
    }
    container = run(variables, port=port).wait_until_ready()
    assert "broker 7 of cluster 4L6g3nShT-eMCtK--X86sw" in container.log()
    assert partitions_of_a_new_topic(container) == 4


def test_a_mounted_file_replaces_the_defaults_and_variables_win(run: Run, tmp_path: Path) -> None:
    port = free_port()
    tmp_path.chmod(0o755)
    (tmp_path / "server.properties").write_text(
        f"broker.id=3\nlisteners=PLAINTEXT://:9092\nadvertised.listeners=PLAINTEXT://localhost:{port}\n"
        "log.dirs=/var/lib/kafka/data\nnum.partitions=2\noffsets.topic.replication.factor=1\n"
    )
    options = ["-v", f"{tmp_path}:/mnt/shared/config:ro"]
    arguments = ["/etc/kafka/docker/run", "KAFKA_NUM_PARTITIONS=5"]
    container = run({"KAFKA_NUM_PARTITIONS": "4"}, options, arguments, port).wait_until_ready()
    assert "broker 3 of cluster" in container.log()
    assert partitions_of_a_new_topic(container) == 5


@pytest.mark.parametrize("script", ["/etc/kafka/docker/run", "/etc/confluent/docker/run"])
def test_records_outlive_a_stop_and_a_kill(run: Run, scale: int, script: str) -> None:
    """SIGTERM to the first process is a clean stop with exit code 0; a kill is recovered from."""
    port = free_port()
    container = run({**KRAFT_NODE, **advertised(port)}, (), [script], port).wait_until_ready()
    with connected(container) as client:
        topic = new_topic(client)
        messages = make_messages(scale, client.traits, seed=92)
        produce(client, topic, messages, ProducerSettings())
    assert container.stop() == 0
    assert "stopped (pybroker" in container.log().splitlines()[-1]
    container.start()
    with connected(container) as client:
        check_topic(client, topic, messages)
    container.kill()
    container.start()
    with connected(container) as client:
        check_topic(client, topic, messages)


def test_data_on_a_named_volume_outlives_the_container(docker: Docker, run: Run, scale: int) -> None:
    port = free_port()
    volume = docker("volume", "create")
    settings = ({**KRAFT_NODE, **advertised(port)}, ["-v", f"{volume}:/var/lib/kafka/data"], (), port)
    first = run(*settings).wait_until_ready()
    with connected(first) as client:
        topic = new_topic(client)
        messages = make_messages(scale, client.traits, seed=93)
        produce(client, topic, messages, ProducerSettings())
    first.kill()
    first.remove()
    second = run(*settings).wait_until_ready()
    with connected(second) as client:
        check_topic(client, topic, messages)
    second.remove()
    docker("volume", "rm", volume)


@pytest.mark.parametrize(
    ("variables", "arguments", "words"),
    [
        ({"KAFKA_PROCESS_ROLES": "controller"}, [], "only a KRaft controller has no counterpart"),
        ({"KAFKA_NUM_PARTITIONS": "many"}, [], "KAFKA_NUM_PARTITIONS: num.partitions=many"),
        ({"CLUSTER_ID": "mine"}, [], "pybroker.cluster.id=mine"),
        ({"KAFKA_LOG4J_ROOT_LOGLEVEL": "LOUD"}, [], "KAFKA_LOG4J_ROOT_LOGLEVEL=LOUD: allowed: TRACE"),
        ({}, ["/etc/kafka/docker/run", "oops"], "oops: an argument must have the form NAME=value"),
        (
            {"KAFKA_ADVERTISED_LISTENERS": "SSL://localhost:9092"},
            [],
            "KAFKA_SSL_KEYSTORE_FILENAME must be set when KAFKA_ADVERTISED_LISTENERS has a listener with SSL",
        ),
        (
            {"KAFKA_ADVERTISED_LISTENERS": "SASL_PLAINTEXT://localhost:9092"},
            [],
            "KAFKA_OPTS must be set",
        ),
    ],
    ids=["role", "value", "cluster id", "log level", "argument", "ssl", "sasl"],
)
def test_what_cannot_be_ends_with_one_line_that_says_why(
    run: Run, variables: dict[str, str], arguments: list[str], words: str
) -> None:
    container = run(variables, (), arguments)
    wait_until(lambda: not container.state["Running"], "the container's end")
    assert container.state["ExitCode"] != 0
    assert words in container.log()
