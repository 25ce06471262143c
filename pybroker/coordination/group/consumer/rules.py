"""The settings that consumer groups obey: the broker's, and those of a single group on top."""

from enum import Enum

from msgspec import field

from pybroker.config.broker import BrokerConfig
from pybroker.config.group import GroupTimeouts
from pybroker.coordination.group.consumer.assignors import ASSIGNORS, assignor_names
from pybroker.metadata.image import ClusterImage
from pybroker.metadata.znodes import ConfigType, sanitize
from pybroker.model.values import Value


class MigrationPolicy(Enum):
    """Which changes of the protocol a group with members may make (KIP-848)."""

    DISABLED = "disabled"
    UPGRADE = "upgrade"
    DOWNGRADE = "downgrade"
    BIDIRECTIONAL = "bidirectional"

    @property
    def may_upgrade(self) -> bool:
        return self in (MigrationPolicy.UPGRADE, MigrationPolicy.BIDIRECTIONAL)

    @property
    def may_downgrade(self) -> bool:
        return self in (MigrationPolicy.DOWNGRADE, MigrationPolicy.BIDIRECTIONAL)


class ConsumerRules(Value):
    """``assignors`` are those served, the default first."""

    default_timeouts: GroupTimeouts = field(default_factory=GroupTimeouts)
    max_size: int = 0x7FFFFFFF
    assignors: tuple[str, ...] = tuple(ASSIGNORS)
    migration: MigrationPolicy = MigrationPolicy.BIDIRECTIONAL

    @classmethod
    def of(cls, config: BrokerConfig) -> "ConsumerRules":
        return cls(
            default_timeouts=GroupTimeouts.of(config),
            max_size=config.group_consumer_max_size,
            assignors=assignor_names(config.group_consumer_assignors),
            migration=MigrationPolicy(config.group_consumer_migration_policy.lower()),
        )

    def timeouts(self, image: ClusterImage, group_id: str) -> GroupTimeouts:
        """Those of one group: what was configured for it, within the broker's bounds."""
        return self.default_timeouts.with_overrides(image.config(ConfigType.GROUP, sanitize(group_id)))
