"""Kafka's own command-line tools: topics, console producer and console consumer, their output checked."""

import re

import pytest

from interop.java.tool_output import PARTITIONS, consume, describe_fields, new_name, partition_counts
from interop.support.tool_runner import KafkaTools
from interop.support.waiting import wait_until


def test_kafka_topics_create_and_list(client: KafkaTools, topic: str) -> None:
    """--create says so, --list names it once."""
    assert client.check("kafka-topics", "--list").lines.count(topic) == 1


def test_kafka_topics_create_twice(client: KafkaTools, topic: str) -> None:
    """A second --create fails with Kafka's words; with --if-not-exists it is no failure."""
    create = ("--create", "--topic", topic, "--partitions", str(PARTITIONS))
    result = client.run("kafka-topics", *create)
    assert result.exit_code == 1, str(result)
    assert f"Topic '{topic}' already exists." in result.output + result.errors, str(result)
    client.check("kafka-topics", *create, "--if-not-exists")


def test_kafka_topics_describe(client: KafkaTools, topic: str) -> None:
    """--describe shows id, partitions, replication factor, the set config, leader and ISR of each."""
    summary, *partitions = client.check("kafka-topics", "--describe", "--topic", topic).lines
    fields = describe_fields(summary)
    assert fields["Topic"] == topic
    assert len(fields["TopicId"]) == 22
    assert (fields["PartitionCount"], fields["ReplicationFactor"]) == (str(PARTITIONS), "1")
    assert "retention.ms=86400000" in fields["Configs"].split(",")
    leaders = [describe_fields(line) for line in partitions]
    assert [line["Partition"] for line in leaders] == ["0", "1", "2"]
    for line in leaders:
        assert line["Leader"] == line["Replicas"] == line["Isr"] != "none"


def test_kafka_topics_describe_unknown(client: KafkaTools) -> None:
    """--describe of a topic that does not exist fails and names it."""
    topic = new_name()
    result = client.run("kafka-topics", "--describe", "--topic", topic)
    assert result.exit_code == 1, str(result)
    # 3.9 prints the name inside `Optional[...]`.
    pattern = rf"Topic '(Optional\[)?{topic}\]?' does not exist as expected"
    assert re.search(pattern, result.output + result.errors), str(result)


def test_kafka_topics_delete(client: KafkaTools, topic: str) -> None:
    """--delete, and the topic leaves the list."""
    client.check("kafka-topics", "--delete", "--topic", topic)
    wait_until(
        lambda: topic not in client.check("kafka-topics", "--list").lines, f"{topic} to leave the list"
    )


@pytest.mark.parametrize("codec", ["none", "gzip", "snappy", "lz4", "zstd"])
def test_console_producer_and_consumer(client: KafkaTools, topic: str, scale: int, codec: str) -> None:
    """What the console producer was given on standard input, the console consumer prints by partition."""
    sent = {f"k{number}": f"value {number} of {codec}" for number in range(scale)}
    client.check(
        "kafka-console-producer", "--topic", topic, "--compression-codec", codec,
        client.reader_property, "parse.key=true", client.reader_property, "key.separator=:",
        stdin="".join(f"{key}:{value}\n" for key, value in sent.items()),
    )  # fmt: skip
    counts = partition_counts(client, topic)
    assert sum(counts.values()) == scale
    got: dict[str, str] = {}
    for partition, count in counts.items():
        lines = consume(client, topic, partition, count)
        assert len(lines) == count
        numbers = []
        for line in lines:
            place, key, value = line.split("|")
            assert place == f"Partition:{partition}"
            got[key] = value
            numbers.append(int(key[1:]))
        assert numbers == sorted(numbers), "records of a partition in the order they were sent"
    assert got == sent


def test_console_consumer_from_offset(client: KafkaTools, topic: str) -> None:
    """--partition with --offset starts in the middle, and --max-messages ends there."""
    client.check("kafka-console-producer", "--topic", topic, stdin="".join(f"line {n}\n" for n in range(100)))
    partition, count = max(partition_counts(client, topic).items(), key=lambda item: item[1])
    result = client.check(
        "kafka-console-consumer", "--topic", topic, "--partition", str(partition),
        "--offset", str(count - 1), "--max-messages", "1", "--timeout-ms", "20000",
        client.formatter_property, "print.offset=true",
    )  # fmt: skip
    assert [line.split("\t")[0] for line in result.lines] == [f"Offset:{count - 1}"]
    assert "Processed a total of 1 messages" in result.errors


def test_get_offsets(client: KafkaTools, topic: str) -> None:
    """kafka-get-offsets: earliest, latest, by timestamp and the largest timestamp."""
    client.check("kafka-console-producer", "--topic", topic, stdin="".join(f"line {n}\n" for n in range(30)))
    ends = partition_counts(client, topic)
    assert sum(ends.values()) == 30
    assert partition_counts(client, topic, "earliest") == dict.fromkeys(range(PARTITIONS), 0)
    by_time = partition_counts(client, topic, "1000")
    assert by_time == {partition: 0 for partition, end in ends.items() if end}
    largest = partition_counts(client, topic, "max-timestamp")
    assert all(0 <= largest[partition] < end for partition, end in ends.items() if end)


def test_broker_api_versions(client: KafkaTools) -> None:
    """kafka-broker-api-versions: one broker, and the APIs of a produce and a fetch are usable."""
    result = client.check("kafka-broker-api-versions")
    assert result.lines[0].startswith(f"{client.bootstrap} (id: 0 rack: null"), str(result)
    apis = dict(re.findall(r"^\t(\w+)\(\d+\): (.*?),?$", result.output, re.MULTILINE))
    for name in (
        "Produce",
        "Fetch",
        "ListOffsets",
        "Metadata",
        "ApiVersions",
        "CreateTopics",
        "InitProducerId",
    ):
        assert "[usable: " in apis[name], f"{name}: {apis.get(name)}"


def test_cluster_id(client: KafkaTools) -> None:
    """kafka-cluster tells the id of the cluster, 22 characters."""
    result = client.check("kafka-cluster", "cluster-id")
    assert re.fullmatch(r"Cluster ID: [\w-]{22}", result.lines[0]), str(result)
