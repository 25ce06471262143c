"""What tools and the broker's own request log show of groups of the consumer protocol (KIP-848)."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from interop.java.client import JavaClient
from interop.java.tool_output import table
from interop.storage.test_dump_log import dump
from interop.support.client import GroupSettings
from interop.support.consumer_protocol_journeys import CONSUMER
from interop.support.group_journeys import Members, new_group, new_group_topic, settle
from interop.support.servers import PybrokerServer, Server
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


@pytest.mark.whole
def test_tools_show_a_group_of_both_protocols(server: Server) -> None:
    """--list by type, and --describe with --state and --members --verbose of a group that is being rolled."""
    tools, java = KafkaTools(server.bootstrap, "tools-4"), JavaClient(server.bootstrap, "clients-4")
    topic, group = new_group_topic(java, "mixed"), new_group()
    with Members(java) as members:
        present = [members.join(GroupSettings(group, (topic,), "range"))]
        settle(present, topic)
        present.append(members.join(GroupSettings(group, (topic,), CONSUMER)))
        settle(present, topic)
        listed = tools.check("kafka-consumer-groups", "--list", "--type", "consumer")
        assert group in {line.split()[0] for line in listed.lines if line.split()}
        state = tools.check("kafka-consumer-groups", "--describe", "--group", group, "--state")
        (row,) = table(state.lines)
        assert (row["STATE"], row["#MEMBERS"]) == ("Stable", "2")
        shown = tools.check("kafka-consumer-groups", "--describe", "--group", group, "--members", "--verbose")
        rows = {row["UPGRADED"]: row for row in table(shown.lines)}
    java.close()
    tools.close()
    assert rows.keys() == {"false", "true"}
    assert all(row["CURRENT-ASSIGNMENT"] == row["TARGET-ASSIGNMENT"] for row in rows.values())
    owned = [
        int(at) for row in rows.values() for at in row["CURRENT-ASSIGNMENT"].partition(":")[2].split(",")
    ]
    assert [row["#PARTITIONS"] for row in rows.values()] == ["3", "3"]
    assert sorted(owned) == list(range(6))


@pytest.mark.whole
def test_kafka_dump_log_reads_groups_of_both_protocols(tmp_path: Path) -> None:
    """Kafka 4's decoder reads every record of a group that is rolled to the consumer protocol and ends."""
    folder = tmp_path / "broker"
    folder.mkdir()
    server = PybrokerServer({"offsets.topic.num.partitions": "1"}, folder)
    server.start()
    try:
        java = JavaClient(server.bootstrap, "clients-4")
        topic, group = new_group_topic(java, "dumped"), new_group()
        with Members(java) as members:
            present = [members.join(GroupSettings(group, (topic,), "range"))]
            settle(present, topic)
            present.append(members.join(GroupSettings(group, (topic,), CONSUMER)))
            settle(present, topic)
            members.leave(present[0])
        java.close()
    finally:
        server.stop()
    log = folder / "data" / "__consumer_offsets-0" / "00000000000000000000.log"
    output = dump("--offsets-decoder", "--files", str(log), tools="tools-4")
    records = [_decoded(line) for line in output.splitlines() if " key: " in line]
    assert all(record is not None for record in records), output
    kinds = [(int(key["type"]), value) for key, value in filter(None, records)]
    of_members = [kind for kind, _ in kinds if kind >= 3]
    # Taken over: profile, epoch, target, its epoch, current; then the new member's.
    assert of_members[:7] == [5, 3, 7, 6, 8, 5, 3], output
    assert {kind for kind, value in kinds if value is None} == {2, 5, 7, 8}, "what is deleted"
    epochs = [value["epoch"] for kind, value in kinds if kind == 3 and value is not None]
    assert epochs == [1, 2, 3, 4], output
    profiles = [value for kind, value in kinds if kind == 5 and value is not None]
    assert "classicMemberMetadata" in profiles[0], output
    assert profiles[0]["classicMemberMetadata"] is not None, output
    assert {name for value in profiles for name in value["subscribedTopicNames"]} == {topic}


def _decoded(line: str) -> tuple[dict[str, Any], dict[str, Any] | None] | None:
    """Key and data of a record that kafka-dump-log has decoded; None if it has not."""
    found = re.search(r" key: (\{.*\}) payload: (\{.*\}|<DELETE>)$", line)
    if found is None:
        return None
    value = None if found[2] == "<DELETE>" else json.loads(found[2])["data"]
    return json.loads(found[1]), value
