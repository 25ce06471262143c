"""Reading what Kafka's command-line tools print."""

import uuid

from interop.support.tool_runner import KafkaTools

PARTITIONS = 3


def new_name() -> str:
    """A name for a topic or a group that nothing else has."""
    return f"interop-tools-{uuid.uuid4().hex[:8]}"


def consume(client: KafkaTools, topic: str, partition: int, count: int) -> list[str]:
    """`Partition:p|key|value` lines of the first `count` records."""
    if count == 0:
        return []
    return client.check(
        "kafka-console-consumer", "--topic", topic, "--partition", str(partition), "--offset", "earliest",
        "--max-messages", str(count), "--timeout-ms", "20000", client.formatter_property, "print.key=true",
        client.formatter_property, "print.partition=true", client.formatter_property, "key.separator=|",
    ).lines  # fmt: skip


def partition_counts(client: KafkaTools, topic: str, time: str = "latest") -> dict[int, int]:
    """Partition -> offset at `time`, from kafka-get-offsets; partitions without one are not there."""
    lines = client.check("kafka-get-offsets", "--topic", topic, "--time", time).lines
    parts = [line.split(":") for line in lines]
    return {int(partition): int(offset) for _, partition, offset in parts if offset}


def describe_fields(line: str) -> dict[str, str]:
    """`Name: value` pairs of a line that --describe printed."""
    pairs = [pair.strip().partition(":") for pair in line.split("\t") if pair.strip()]
    return {name: value.strip() for name, _, value in pairs}


def table(lines: list[str]) -> list[dict[str, str]]:
    """The rows of a table with a heading of one-word columns."""
    heading = lines[0].split()
    return [dict(zip(heading, line.split(), strict=False)) for line in lines[1:]]
