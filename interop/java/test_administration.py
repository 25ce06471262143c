"""Administration by Kafka's tools: configs, more partitions, deleted records, log directories."""

import json
import re
from pathlib import Path

import pytest

from interop.java.tool_output import PARTITIONS, describe_fields, partition_counts
from interop.support.tool_runner import KafkaTools, ToolResult
from interop.support.waiting import wait_until


def test_topic_configs(client: KafkaTools, topic: str) -> None:
    """kafka-configs sets, shows with its synonyms, and removes a topic's config."""
    result = alter_topic(
        client, topic, "--add-config", "segment.bytes=1048576,cleanup.policy=[compact,delete]"
    )
    assert f"Completed updating config for topic {topic}." in result.output, str(result)
    lines = described(client, topic)
    assert lines["segment.bytes"].startswith(
        "1048576 sensitive=false synonyms={DYNAMIC_TOPIC_CONFIG:segment.bytes=1048576,"
    )
    assert lines["cleanup.policy"].startswith("compact,delete ")
    alter_topic(client, topic, "--delete-config", "segment.bytes,cleanup.policy")
    assert described(client, topic).keys() == {"retention.ms"}


@pytest.mark.parametrize(
    ("config", "words"),
    [
        (
            "segment.bytes=lots",
            "Invalid value lots for configuration segment.bytes: Not a number of type INT",
        ),
        ("segment.bytes=1", "Invalid value 1 for configuration segment.bytes: Value must be at least 14"),
        ("no.such.config=1", "Unknown topic config name: no.such.config"),
        ("cleanup.policy=shred", "Invalid value shred for configuration cleanup.policy"),
    ],
    ids=["not a number", "too small", "unknown", "not a policy"],
)
def test_topic_config_refused(client: KafkaTools, topic: str, config: str, words: str) -> None:
    """A bad value is refused in Kafka's words and changes nothing."""
    result = alter_topic(client, topic, "--add-config", config, exit_code=1)
    assert words in result.output + result.errors, str(result)
    assert described(client, topic).keys() == {"retention.ms"}


def test_broker_configs(client: KafkaTools) -> None:
    """kafka-configs sets, shows and removes a dynamic config of the broker."""
    broker = ("--entity-type", "brokers", "--entity-name", "0")
    client.check("kafka-configs", *broker, "--alter", "--add-config", "message.max.bytes=2000000")
    try:
        shown = wait_until(
            lambda: re.search(
                r"message\.max\.bytes=2000000 sensitive=false synonyms=\{DYNAMIC_BROKER_CONFIG:",
                client.check("kafka-configs", *broker, "--describe").output,
            ),
            "the broker's dynamic config",
        )
        assert shown
    finally:
        client.check("kafka-configs", *broker, "--alter", "--delete-config", "message.max.bytes")
    wait_until(
        lambda: "message.max.bytes" not in client.check("kafka-configs", *broker, "--describe").output,
        "the dynamic config to be gone",
    )


def test_more_partitions(client: KafkaTools, topic: str) -> None:
    """kafka-topics --alter adds partitions with leaders; fewer are refused."""
    client.check("kafka-topics", "--alter", "--topic", topic, "--partitions", "5")
    summary, *partitions = client.check("kafka-topics", "--describe", "--topic", topic).lines
    assert describe_fields(summary)["PartitionCount"] == "5"
    assert [describe_fields(line)["Leader"] for line in partitions] == ["0"] * 5
    result = client.run("kafka-topics", "--alter", "--topic", topic, "--partitions", "4")
    assert result.exit_code == 1, str(result)
    words = "Topic currently has 5 partitions, which is higher than the requested 4."
    assert words in result.output + result.errors, str(result)


def test_delete_records(client: KafkaTools, topic: str, tmp_path: Path) -> None:
    """kafka-delete-records moves the log start offset, and reading starts there."""
    client.check("kafka-console-producer", "--topic", topic, stdin="".join(f"line {n}\n" for n in range(90)))
    ends = partition_counts(client, topic)
    partition = max(ends, key=lambda at: ends[at])
    start = ends[partition] // 2
    offsets = tmp_path / "offsets.json"
    wanted = [{"topic": topic, "partition": partition, "offset": start}]
    offsets.write_text(json.dumps({"partitions": wanted, "version": 1}))
    result = client.check("kafka-delete-records", "--offset-json-file", str(offsets))
    assert f"partition: {topic}-{partition}\tlow_watermark: {start}" in result.output, str(result)
    assert partition_counts(client, topic, "earliest") == {
        at: start if at == partition else 0 for at in range(PARTITIONS)
    }
    wanted[0]["offset"] = ends[partition] + 1
    offsets.write_text(json.dumps({"partitions": wanted, "version": 1}))
    beyond = client.run("kafka-delete-records", "--offset-json-file", str(offsets))
    assert "OffsetOutOfRangeException" in beyond.output + beyond.errors, str(beyond)


def test_log_dirs(client: KafkaTools, topic: str) -> None:
    """kafka-log-dirs shows each partition of the topic with its size."""
    client.check("kafka-console-producer", "--topic", topic, stdin="x" * 5000 + "\n")
    result = client.check("kafka-log-dirs", "--describe", "--topic-list", topic)
    brokers = json.loads(next(line for line in result.lines if line.startswith("{")))["brokers"]
    assert [broker["broker"] for broker in brokers] == [0]
    partitions = [each for log_dir in brokers[0]["logDirs"] for each in log_dir["partitions"]]
    assert sorted(each["partition"] for each in partitions) == [f"{topic}-{at}" for at in range(PARTITIONS)]
    assert max(each["size"] for each in partitions) > 5000
    assert all(each["offsetLag"] == 0 and not each["isFuture"] for each in partitions)


def alter_topic(client: KafkaTools, topic: str, *change: str, exit_code: int = 0) -> ToolResult:
    """kafka-configs --alter of the topic, whose exit code is checked."""
    result = client.run(
        "kafka-configs", "--entity-type", "topics", "--entity-name", topic, "--alter", *change
    )
    assert result.exit_code == exit_code, str(result)
    return result


def described(client: KafkaTools, topic: str) -> dict[str, str]:
    """Name -> rest of the line, of the configs that are set on the topic."""
    result = client.check("kafka-configs", "--entity-type", "topics", "--entity-name", topic, "--describe")
    pairs = [line.strip().partition("=") for line in result.lines if "sensitive=" in line]
    return {name: rest for name, _, rest in pairs}
