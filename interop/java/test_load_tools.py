"""Kafka's tools that produce and consume many records: verifiable and performance, their figures checked."""

import json
import re
from typing import Any

from interop.java.tool_output import new_name, partition_counts
from interop.support.tool_runner import KafkaTools, ToolResult

RECORD_BYTES = 100


def test_verifiable_producer_and_consumer(client: KafkaTools, topic: str, scale: int) -> None:
    """Every record is acknowledged once and consumed once, in a group that commits its end offsets."""
    produced = client.check_alone(
        "kafka-verifiable-producer", "--topic", topic, "--max-messages", str(scale), "--acks", "-1"
    )
    acknowledged = events(produced, "producer_send_success")
    assert sorted(int(event["value"]) for event in acknowledged) == list(range(scale)), produced.errors
    (summary,) = events(produced, "tool_data")
    assert (summary["sent"], summary["acked"]) == (scale, scale)
    ends = partition_counts(client, topic)
    assert sum(ends.values()) == scale
    group = new_name()
    consumed = client.check_alone(
        "kafka-verifiable-consumer", "--topic", topic, "--group-id", group, "--max-messages", str(scale),
        "--reset-policy", "earliest",
    )  # fmt: skip
    assert sum(event["count"] for event in events(consumed, "records_consumed")) == scale
    (assigned,) = events(consumed, "partitions_assigned")
    assert sorted(each["partition"] for each in assigned["partitions"]) == sorted(ends)
    commits = [event for event in events(consumed, "offsets_committed") if event["success"]]
    committed = {each["partition"]: each["offset"] for event in commits for each in event["offsets"]}
    assert committed == {partition: end for partition, end in ends.items() if end}


def test_performance_tools(client: KafkaTools, topic: str, scale: int) -> None:
    """The producer's test counts what it sent, the consumer's test what it got, in records and bytes."""
    sent = client.check(
        "kafka-producer-perf-test", "--topic", topic, "--num-records", str(scale),
        "--record-size", str(RECORD_BYTES), "--throughput", "-1",
    )  # fmt: skip
    assert re.search(rf"^{scale} records sent, .*avg latency", sent.output, re.MULTILINE), str(sent)
    assert sum(partition_counts(client, topic).values()) == scale
    got = client.check(
        "kafka-consumer-perf-test", "--topic", topic, client.consumer_count, str(scale),
        "--timeout", "20000",
    )  # fmt: skip
    names, values = ([part.strip() for part in line.split(",")] for line in got.lines[-2:])
    row = dict(zip(names, values, strict=True))
    assert int(row["data.consumed.in.nMsg"]) == scale, str(got)
    assert abs(float(row["data.consumed.in.MB"]) - scale * RECORD_BYTES / (1 << 20)) < 0.001, str(got)


def events(result: ToolResult, name: str) -> list[dict[str, Any]]:
    """The JSON lines of one kind that a verifiable tool printed."""
    parsed = [json.loads(line) for line in result.lines if line.startswith("{")]
    return [event for event in parsed if event.get("name") == name]
