"""Kafka's command-line tools as fixtures: one JVM for each version set, one new topic for each test."""

from collections.abc import Iterator

import pytest

from interop.java.tool_output import PARTITIONS, new_name
from interop.support.servers import Server
from interop.support.tool_runner import KafkaTools

TOOL_SETS = [pytest.param("tools-3.9", id="3.9"), pytest.param("tools-4", id="4", marks=pytest.mark.whole)]


@pytest.fixture(scope="package", params=TOOL_SETS)
def tools(_running_server: Server, request: pytest.FixtureRequest) -> Iterator[KafkaTools]:
    """One JVM for all tools of a version."""
    tools = KafkaTools(_running_server.bootstrap, request.param)
    yield tools
    tools.close()


@pytest.fixture
def client(server: Server, tools: KafkaTools) -> KafkaTools:
    """The name under which the matrix shows the row; also makes sure that the server is alive."""
    assert server.is_running
    return tools


@pytest.fixture
def topic(client: KafkaTools) -> str:
    """A new topic of three partitions, made by kafka-topics."""
    topic = new_name()
    result = client.check(
        "kafka-topics", "--create", "--topic", topic, "--partitions", str(PARTITIONS),
        "--replication-factor", "1", "--config", "retention.ms=86400000",
    )  # fmt: skip
    assert f"Created topic {topic}." in result.output, str(result)
    return topic
