"""A topic's values: its own over the broker's, in milliseconds whatever the broker's unit."""

from collections.abc import Mapping

import pytest

from pybroker.config.broker import BrokerConfig
from pybroker.config.definitions import topic_keys
from pybroker.config.topic import TopicConfig, topic_defaults, validate_topic_configs
from pybroker.model.errors import ApiError, ErrorCode

DEFAULT_BROKER = BrokerConfig.from_properties({})


def test_with_a_plain_broker_a_topic_has_kafkas_topic_defaults() -> None:
    assert topic_defaults(DEFAULT_BROKER) == {name: row.default for name, row in topic_keys.items()}


@pytest.mark.parametrize(
    ("properties", "retention_ms"),
    [
        ({}, 168 * 3_600_000),
        ({"log.retention.hours": "2"}, 7_200_000),
        ({"log.retention.hours": "2", "log.retention.minutes": "3"}, 180_000),
        ({"log.retention.hours": "2", "log.retention.minutes": "3", "log.retention.ms": "4"}, 4),
        ({"log.retention.hours": "-1"}, -1),
    ],
)
def test_retention_comes_from_the_finest_unit_that_was_set(
    properties: Mapping[str, str], retention_ms: int
) -> None:
    topic = TopicConfig.from_overrides(BrokerConfig.from_properties(properties), {})
    assert topic.retention_ms == retention_ms


def test_broker_keys_with_other_names_become_topic_values() -> None:
    broker = BrokerConfig.from_properties(
        {
            "log.roll.hours": "1",
            "log.cleaner.min.cleanable.ratio": "0.25",
            "message.max.bytes": "1234",
            "log.segment.delete.delay.ms": "5",
            "log.flush.scheduler.interval.ms": "77",
            "log.index.size.max.bytes": "4096",
        }
    )
    topic = TopicConfig.from_overrides(broker, {})
    assert topic.segment_ms == 3_600_000
    assert topic.min_cleanable_dirty_ratio == 0.25
    assert topic.max_message_bytes == 1234
    assert topic.file_delete_delay_ms == 5
    assert topic.flush_ms == 77
    assert topic.segment_index_bytes == 4096


@pytest.mark.parametrize(("policy", "closed_after_ms"), [("compact", 5000), ("delete", 9000)])
def test_a_compacted_log_closes_its_segment_for_the_cleaner_in_time(
    policy: str, closed_after_ms: int
) -> None:
    values = {"cleanup.policy": policy, "segment.ms": "9000", "max.compaction.lag.ms": "5000"}
    assert TopicConfig.from_overrides(DEFAULT_BROKER, values).max_segment_ms == closed_after_ms


def test_a_topics_own_values_win() -> None:
    topic = TopicConfig.from_overrides(DEFAULT_BROKER, {"cleanup.policy": "compact", "retention.ms": "-1"})
    assert (topic.compact, topic.delete, topic.retention_ms) == (True, False, -1)
    assert topic.overrides == {"cleanup.policy": "compact", "retention.ms": "-1"}


def test_a_compacted_topic_closes_segments_early_enough_for_the_lag() -> None:
    overrides = {"max.compaction.lag.ms": "1000", "segment.ms": "5000"}
    assert TopicConfig.from_overrides(DEFAULT_BROKER, overrides).max_segment_ms == 5000
    compacted = TopicConfig.from_overrides(DEFAULT_BROKER, {**overrides, "cleanup.policy": "compact"})
    assert compacted.max_segment_ms == 1000


def test_local_retention_follows_retention_unless_it_was_set() -> None:
    topic = TopicConfig.from_overrides(DEFAULT_BROKER, {"retention.ms": "9", "retention.bytes": "8"})
    assert (topic.effective_local_retention_ms, topic.effective_local_retention_bytes) == (9, 8)
    overrides = {"local.retention.ms": "3", "local.retention.bytes": "2"}
    topic = TopicConfig.from_overrides(DEFAULT_BROKER, overrides)
    assert (topic.effective_local_retention_ms, topic.effective_local_retention_bytes) == (3, 2)


@pytest.mark.parametrize(
    ("overrides", "before_ms", "after_ms"),
    [
        ({"message.timestamp.difference.max.ms": "10"}, 10, 10),
        ({"message.timestamp.difference.max.ms": "10", "message.timestamp.before.max.ms": "20"}, 20, 10),
        ({"message.timestamp.after.max.ms": "30"}, 2**63 - 1, 30),
    ],
)
def test_the_deprecated_timestamp_bound_counts_where_its_successors_were_not_set(
    overrides: Mapping[str, str], before_ms: int, after_ms: int
) -> None:
    topic = TopicConfig.from_overrides(DEFAULT_BROKER, overrides)
    assert topic.message_timestamp_before_max_ms == before_ms
    assert topic.message_timestamp_after_max_ms == after_ms


@pytest.mark.parametrize(
    ("configs", "sentence"),
    [
        ({"segment.byte": "1"}, "Unknown topic config name: segment.byte"),
        (
            {"segment.bytes": "-5"},
            "Invalid value -5 for configuration segment.bytes: Value must be at least 14",
        ),
        ({"segment.bytes": None, "x": None}, "Null value not supported for topic configs: segment.bytes,x"),
        (
            {"min.compaction.lag.ms": "5", "max.compaction.lag.ms": "4"},
            "conflict topic config setting min.compaction.lag.ms (5) > max.compaction.lag.ms (4)",
        ),
        (
            {"remote.log.copy.disable": "true"},
            "It is invalid to set `remote.log.delete.on.disable` or `remote.log.copy.disable` under "
            "Zookeeper's mode.",
        ),
        (
            {"remote.storage.enable": "true"},
            "Tiered Storage functionality is disabled in the broker. Topic cannot be configured with remote "
            "log storage.",
        ),
    ],
)
def test_bad_topic_configs_are_invalid_config_in_kafkas_words(
    configs: Mapping[str, str | None], sentence: str
) -> None:
    with pytest.raises(ApiError) as refused:
        validate_topic_configs(configs, DEFAULT_BROKER)
    assert refused.value.code is ErrorCode.INVALID_CONFIG
    assert refused.value.message == sentence
