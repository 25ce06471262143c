"""A topic's configuration: its own values laid over the broker's defaults, and the checks of CreateTopics.

Source: ``LogConfig`` and ``KafkaConfig.extractLogConfigMap`` of Kafka 3.9, in ZooKeeper mode.
"""

from collections.abc import Mapping
from typing import Any

from pybroker.config.broker import BrokerConfig
from pybroker.config.consistency import check_compaction_lags, first_set_ms
from pybroker.config.definitions import topic_keys
from pybroker.config.keys import MAX_LONG
from pybroker.config.values import ConfigValue, InvalidConfig, NotSupported
from pybroker.model.errors import ApiError, ErrorCode
from pybroker.model.values import Value

_ATTRIBUTES = {name: name.replace(".", "_") for name in topic_keys}
_FROM_RETENTION = -2
"""``local.retention.*``: the same as ``retention.*``."""


class TopicConfig(Value, kw_only=True):
    """What one topic's logs obey. The attributes are the topic keys of Kafka with dots as underscores.

    ``overrides`` are the topic's own values, as they are stored; everything else came from the broker.
    """

    overrides: Mapping[str, str]
    cleanup_policy: tuple[str, ...]
    compression_gzip_level: int
    compression_lz4_level: int
    compression_type: str
    compression_zstd_level: int
    delete_retention_ms: int
    file_delete_delay_ms: int
    flush_messages: int
    flush_ms: int
    follower_replication_throttled_replicas: tuple[str, ...]
    index_interval_bytes: int
    leader_replication_throttled_replicas: tuple[str, ...]
    local_retention_bytes: int
    local_retention_ms: int
    max_compaction_lag_ms: int
    max_message_bytes: int
    message_downconversion_enable: bool
    message_format_version: str
    message_timestamp_after_max_ms: int
    message_timestamp_before_max_ms: int
    message_timestamp_difference_max_ms: int
    message_timestamp_type: str
    min_cleanable_dirty_ratio: float
    min_compaction_lag_ms: int
    min_insync_replicas: int
    preallocate: bool
    remote_log_copy_disable: bool
    remote_log_delete_on_disable: bool
    remote_storage_enable: bool
    retention_bytes: int
    retention_ms: int
    segment_bytes: int
    segment_index_bytes: int
    segment_jitter_ms: int
    segment_ms: int
    unclean_leader_election_enable: bool

    @classmethod
    def from_overrides(cls, broker: BrokerConfig, overrides: Mapping[str, str]) -> "TopicConfig":
        """The configuration of a topic with these values of its own.

        Raises:
            InvalidConfig: an unknown key, a value that is not allowed, or values that contradict each other.
        """
        for name in overrides:
            if name not in topic_keys:
                raise InvalidConfig(f"Unknown topic config name: {name}")
        values = topic_defaults(broker)
        for name, text in overrides.items():
            values[name] = topic_keys[name].parse(text)
        _check_consistency(values)
        _settle_timestamp_bounds(values)
        attributes: dict[str, Any] = {_ATTRIBUTES[name]: value for name, value in values.items()}
        return cls(overrides=dict(overrides), **attributes)

    @property
    def compact(self) -> bool:
        return "compact" in self.cleanup_policy

    @property
    def delete(self) -> bool:
        return "delete" in self.cleanup_policy

    @property
    def max_segment_ms(self) -> int:
        """Age at which the active segment is closed. A compacted log must not hold records back longer than
        ``max.compaction.lag.ms``."""
        return min(self.max_compaction_lag_ms, self.segment_ms) if self.compact else self.segment_ms

    @property
    def effective_local_retention_ms(self) -> int:
        return self.retention_ms if self.local_retention_ms == _FROM_RETENTION else self.local_retention_ms

    @property
    def effective_local_retention_bytes(self) -> int:
        if self.local_retention_bytes == _FROM_RETENTION:
            return self.retention_bytes
        return self.local_retention_bytes


def topic_defaults(broker: BrokerConfig) -> dict[str, ConfigValue]:
    """The value of every topic key for a topic without values of its own."""
    values: dict[str, ConfigValue] = {}
    for name, row in topic_keys.items():
        synonyms = row.synonyms
        if not synonyms:
            values[name] = row.default
        elif len(synonyms) > 1:
            values[name] = first_set_ms(broker.values, synonyms)
        else:
            values[name] = broker.values[synonyms[0]]
    retention_ms = values["retention.ms"]
    if isinstance(retention_ms, int) and retention_ms < 0:
        values["retention.ms"] = -1
    # Formats older than version 2 cannot be chosen any more: since inter.broker.protocol.version 3.0 it is
    # ignored.
    values["message.format.version"] = topic_keys["message.format.version"].default
    _settle_timestamp_bounds(values)
    return values


def validate_topic_configs(configs: Mapping[str, str | None], broker: BrokerConfig) -> TopicConfig:
    """Checks the values that CreateTopics or AlterConfigs give a topic, and returns what they make of it.

    Raises:
        ApiError: INVALID_CONFIG with Kafka's sentence.
    """
    nulls = [name for name, text in configs.items() if text is None]
    if nulls:
        names = ",".join(nulls)
        raise ApiError(ErrorCode.INVALID_CONFIG, f"Null value not supported for topic configs: {names}")
    try:
        return TopicConfig.from_overrides(
            broker, {name: text for name, text in configs.items() if text is not None}
        )
    except InvalidConfig as error:
        raise ApiError(ErrorCode.INVALID_CONFIG, str(error)) from None


def _settle_timestamp_bounds(values: dict[str, ConfigValue]) -> None:
    """The deprecated symmetric bound still counts where its two successors were left alone (KIP-937)."""
    difference = values["message.timestamp.difference.max.ms"]
    for bound in ("message.timestamp.before.max.ms", "message.timestamp.after.max.ms"):
        if values[bound] == MAX_LONG:
            values[bound] = difference


def _check_consistency(values: Mapping[str, ConfigValue]) -> None:
    min_lag_ms, max_lag_ms = values["min.compaction.lag.ms"], values["max.compaction.lag.ms"]
    assert isinstance(min_lag_ms, int)
    assert isinstance(max_lag_ms, int)
    check_compaction_lags(min_lag_ms, max_lag_ms)
    if values["remote.log.delete.on.disable"] or values["remote.log.copy.disable"]:
        raise InvalidConfig(
            "It is invalid to set `remote.log.delete.on.disable` or `remote.log.copy.disable` under "
            "Zookeeper's mode."
        )
    if values["remote.storage.enable"]:
        raise NotSupported(
            "Tiered Storage functionality is disabled in the broker. Topic cannot be configured with remote "
            "log storage."
        )
