"""The settings that groups obey."""

from msgspec import field

from pybroker.config.broker import BrokerConfig
from pybroker.coordination.group.consumer.rules import ConsumerRules
from pybroker.model.values import Value

NEW_MEMBER_JOIN_TIMEOUT_MS = 5 * 60 * 1000
"""How long a member that has no id yet may wait in JoinGroup: it cannot send heartbeats, and may be gone."""

MS_PER_MINUTE = 60_000


class GroupRules(Value):
    """Times in milliseconds; the bounds are inclusive."""

    min_session_timeout_ms: int = 6000
    max_session_timeout_ms: int = 1_800_000
    initial_rebalance_delay_ms: int = 3000
    max_size: int = 0x7FFFFFFF
    max_metadata_length: int = 4096
    """Of the text committed with an offset, in UTF-16 code units."""
    offsets_retention_ms: int = 10080 * MS_PER_MINUTE
    consumer: ConsumerRules = field(default_factory=ConsumerRules)
    """Of groups of the consumer protocol."""

    @classmethod
    def of(cls, config: BrokerConfig) -> "GroupRules":
        return cls(
            min_session_timeout_ms=config.group_min_session_timeout_ms,
            max_session_timeout_ms=config.group_max_session_timeout_ms,
            initial_rebalance_delay_ms=config.group_initial_rebalance_delay_ms,
            max_size=config.group_max_size,
            max_metadata_length=config.offset_metadata_max_bytes,
            offsets_retention_ms=config.offsets_retention_minutes * MS_PER_MINUTE,
            consumer=ConsumerRules.of(config),
        )
