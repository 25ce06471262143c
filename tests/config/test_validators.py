"""Rules refuse in Kafka's words and describe themselves in Kafka's notation."""

import pytest

from pybroker.config.definitions import broker_keys, topic_keys
from pybroker.config.validators import Range, at_least
from pybroker.config.values import InvalidValue


@pytest.mark.parametrize(
    ("name", "text", "reason"),
    [
        ("segment.bytes", "-5", "Value must be at least 14"),
        ("min.cleanable.dirty.ratio", "1.5", "Value must be no more than 1"),
        ("cleanup.policy", "delete,shred", "String must be one of: compact, delete"),
        (
            "compression.type",
            "brotli",
            "String must be one of: uncompressed, zstd, lz4, snappy, gzip, producer",
        ),
        ("compression.gzip.level", "0", "Value must be between 1 and 9 or equal to -1"),
        ("compression.lz4.level", "18", "Value must be no more than 17"),
        ("message.timestamp.type", "createtime", "String must be one of: CreateTime, LogAppendTime"),
        ("message.format.version", "0.7.0", "Version 0.7.0 is not a valid version"),
        ("message.format.version", "4.0", "Version 4.0 is not a valid version"),
        (
            "leader.replication.throttled.replicas",
            "1:2,x",
            "leader.replication.throttled.replicas must be the literal '*' or a list of replicas in the "
            "following format: [partitionId]:[brokerId],[partitionId]:[brokerId],...",
        ),
    ],
)
def test_a_topics_value_is_refused_with_the_reason(name: str, text: str, reason: str) -> None:
    with pytest.raises(InvalidValue) as refused:
        topic_keys[name].parse(text)
    assert refused.value.reason == reason
    assert refused.value.name == name


@pytest.mark.parametrize(
    ("name", "text", "reason"),
    [
        ("group.consumer.migration.policy", "both", "String must be one of (case insensitive): "),
        ("remote.log.manager.copier.thread.pool.size", "0", "Value can be -1 or greater than 0"),
        ("remote.log.storage.manager.class.name", "", "String must be non-empty"),
        ("pybroker.record.validation", "none", "String must be one of: header, structure, full"),
        ("offsets.topic.replication.factor", "0", "Value must be at least 1"),
        ("pybroker.cluster.id", "my-cluster", "a cluster's id is a UUID in URL-safe base64"),
    ],
)
def test_a_brokers_value_is_refused_with_the_reason(name: str, text: str, reason: str) -> None:
    with pytest.raises(InvalidValue) as refused:
        broker_keys[name].parse(text)
    assert refused.value.reason is not None
    assert refused.value.reason.startswith(reason)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("compression.gzip.level", "-1"),
        ("cleanup.policy", "compact,delete"),
        ("cleanup.policy", ""),
        ("message.format.version", "2.8"),
        ("message.format.version", "0.10.2.1"),
        ("message.format.version", "3.0-IV1"),
        ("follower.replication.throttled.replicas", "*"),
        ("follower.replication.throttled.replicas", "0:1, 1:2"),
        ("retention.ms", "-1"),
    ],
)
def test_what_kafka_takes_is_taken(name: str, text: str) -> None:
    topic_keys[name].parse(text)


def test_a_range_describes_both_open_ends() -> None:
    assert at_least(3).describe() == "[3,...]"
    assert Range(None, 4).describe() == "[...,4]"
    assert Range(0, 0.5).describe() == "[0,...,0.5]"


def test_a_range_refuses_null() -> None:
    with pytest.raises(InvalidValue, match="Invalid value null for configuration k: Value must be non-null"):
        at_least(0).check("k", None)
