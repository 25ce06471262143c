"""The topic configuration values that the log itself obeys."""

from pybroker.model.values import Value

_DAY_MS = 24 * 60 * 60 * 1000


class LogConfig(Value):
    """One topic's settings. Defaults are Kafka 3.9's topic defaults. -1 in a retention means no limit."""

    segment_bytes: int = 1 << 30
    segment_ms: int = 7 * _DAY_MS
    segment_jitter_ms: int = 0
    segment_index_bytes: int = 10 << 20
    index_interval_bytes: int = 4096
    retention_ms: int = 7 * _DAY_MS
    retention_bytes: int = -1
    delete: bool = True
    compact: bool = False
    file_delete_delay_ms: int = 60_000
    max_message_bytes: int = 1_048_588
    flush_messages: int = (1 << 63) - 1
    flush_ms: int = (1 << 63) - 1
    min_cleanable_dirty_ratio: float = 0.5
    min_compaction_lag_ms: int = 0
    max_compaction_lag_ms: int = (1 << 63) - 1
    delete_retention_ms: int = _DAY_MS
