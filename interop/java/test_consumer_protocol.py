"""What tools and the broker's own request log show of groups of the consumer protocol (KIP-848)."""

import re
from collections.abc import Iterator

import pytest

from interop.java.client import JavaClient
from interop.java.tool_output import table
from interop.support.client import GroupSettings
from interop.support.consumer_protocol_journeys import CONSUMER
from interop.support.group_journeys import Members, new_group, new_group_topic, settle
from interop.support.servers import PybrokerServer
from interop.support.tool_runner import KafkaTools


@pytest.fixture(scope="module")
def tools_and_server() -> Iterator[tuple[KafkaTools, PybrokerServer]]:
    """A pybroker of its own that writes its request log, and the tools of Kafka 4."""
    server = PybrokerServer()
    server.start()
    tools = KafkaTools(server.bootstrap, "tools-4")
    try:
        tools.check(
            "kafka-configs", "--alter", "--entity-type", "broker-loggers", "--entity-name", "0",
            "--add-config", "kafka.request.logger=DEBUG",
        )  # fmt: skip
        yield tools, server
    finally:
        tools.close()
        server.stop()


@pytest.mark.parametrize(
    ("client_set", "version"), [pytest.param("clients-3.9", 0, marks=pytest.mark.whole), ("clients-4", 1)]
)
def test_tools_and_requests(
    tools_and_server: tuple[KafkaTools, PybrokerServer], client_set: str, version: int
) -> None:
    """--list, --describe --state and --members --verbose of a group of three; its members send nothing but
    ConsumerGroupHeartbeat."""
    tools, server = tools_and_server
    java = JavaClient(server.bootstrap, client_set)
    topic, group = new_group_topic(java, "tools"), new_group()
    written = len((server.folder / "server.log").read_text())
    with Members(java) as members:
        settle([members.join(GroupSettings(group, (topic,), CONSUMER)) for _ in range(3)], topic)
        listed = tools.check("kafka-consumer-groups", "--list", "--type", "consumer", "--state")
        assert any(line.split()[0] == group for line in listed.lines if line.split())
        state = tools.check("kafka-consumer-groups", "--describe", "--group", group, "--state")
        (row,) = table(state.lines)
        assert (row["STATE"], row["#MEMBERS"]) == ("Stable", "3")
        assert "uniform" in state.output
        shown = tools.check("kafka-consumer-groups", "--describe", "--group", group, "--members", "--verbose")
        assert [row["#PARTITIONS"] for row in table(shown.lines)] == ["2", "2", "2"]
    java.close()
    log = (server.folder / "server.log").read_text()[written:]
    seen = set(re.findall(r"kafka\.request\.logger: (\w+) version (\d+) of client 'consumer-", log))
    assert ("ConsumerGroupHeartbeat", str(version)) in seen
    assert not {name for name, _ in seen} & {"JoinGroup", "SyncGroup", "Heartbeat", "LeaveGroup"}
