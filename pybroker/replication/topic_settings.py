"""What a topic's configuration means to the rooms that obey it: the log, and the validation of records."""

from pybroker.config.broker import BrokerConfig
from pybroker.config.topic import TopicConfig
from pybroker.model.ids import TopicPartition
from pybroker.model.values import Value
from pybroker.records.header import CompressionType, TimestampType
from pybroker.records.policy import ValidationLevel, ValidationPolicy
from pybroker.storage.log_config import LogConfig

_CODECS = {
    "uncompressed": CompressionType.NONE,
    "gzip": CompressionType.GZIP,
    "snappy": CompressionType.SNAPPY,
    "lz4": CompressionType.LZ4,
    "zstd": CompressionType.ZSTD,
}
"""``compression.type``; ``producer`` is not among them, because it means: as the batch came."""

_TIMESTAMP_TYPES = {"CreateTime": TimestampType.CREATE_TIME, "LogAppendTime": TimestampType.LOG_APPEND_TIME}


class PartitionSettings(Value):
    """The settings of one partition, made anew whenever its topic's configuration changes."""

    topic: TopicConfig
    log: LogConfig
    validation: ValidationPolicy


def partition_settings(tp: TopicPartition, topic: TopicConfig, broker: BrokerConfig) -> PartitionSettings:
    return PartitionSettings(topic, log_config(topic), validation_policy(tp, topic, broker))


def log_config(topic: TopicConfig) -> LogConfig:
    """The part that the log obeys; the names are the same, but for the age at which a segment is closed."""
    values = {name: getattr(topic, name) for name in LogConfig.__struct_fields__}
    return LogConfig(**{**values, "segment_ms": topic.max_segment_ms})


def validation_policy(tp: TopicPartition, topic: TopicConfig, broker: BrokerConfig) -> ValidationPolicy:
    codec = _CODECS.get(topic.compression_type)
    levels = {
        CompressionType.GZIP: topic.compression_gzip_level,
        CompressionType.LZ4: topic.compression_lz4_level,
        CompressionType.ZSTD: topic.compression_zstd_level,
    }
    return ValidationPolicy(
        level=ValidationLevel[broker.pybroker_record_validation.upper()],
        compacted=topic.compact,
        timestamp_type=_TIMESTAMP_TYPES[topic.message_timestamp_type],
        before_max_ms=topic.message_timestamp_before_max_ms,
        after_max_ms=topic.message_timestamp_after_max_ms,
        max_message_bytes=topic.max_message_bytes,
        compression_type=codec,
        compression_level=None if codec is None else levels.get(codec),
        topic_partition=tp,
    )
