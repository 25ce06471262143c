"""What a topic demands of the records that are appended to it."""

from enum import Enum, IntEnum

from msgspec.structs import force_setattr

from pybroker.model.ids import TopicPartition
from pybroker.model.values import Value
from pybroker.records.compression import DEFAULT_CEILING_BYTES
from pybroker.records.header import CompressionType, TimestampType

NO_BOUND_MS = 0x7FFFFFFFFFFFFFFF
"""Kafka's default of ``message.timestamp.before.max.ms`` and ``.after.max.ms``: any timestamp will do."""

DEFAULT_MAX_MESSAGE_BYTES = 1024 * 1024 + 12


class ValidationLevel(IntEnum):
    """How deep an append is looked into (``pybroker.record.validation``)."""

    HEADER = 0
    """Header and CRC; the records are believed."""

    STRUCTURE = 1
    """Also the lengths of the records, after decompression, so that counts and sizes cannot lie."""

    FULL = 2
    """Also every field of every record, as Kafka's ``LogValidator``."""


class Origin(Enum):
    """Who appends: a client, or a coordinator of this broker, which may write markers and choose offsets."""

    CLIENT = "client"
    COORDINATOR = "coordinator"


class ValidationPolicy(Value):
    """A topic's rules. Make one when its configuration changes, not per request."""

    level: ValidationLevel = ValidationLevel.STRUCTURE
    compacted: bool = False
    """``cleanup.policy`` contains compact: every record needs a key."""

    timestamp_type: TimestampType = TimestampType.CREATE_TIME
    before_max_ms: int = NO_BOUND_MS
    """How far a timestamp may lie before now (inclusive)."""

    after_max_ms: int = NO_BOUND_MS
    """How far a timestamp may lie after now (inclusive)."""

    max_message_bytes: int = DEFAULT_MAX_MESSAGE_BYTES
    """Largest batch, with its header (inclusive)."""

    compression_type: CompressionType | None = None
    """What batches are stored with; None is ``producer``: as they came."""

    compression_level: int | None = None
    """Level of the topic's codec; None is the codec's default."""

    max_decompressed_bytes: int = DEFAULT_CEILING_BYTES
    """Largest size of a batch's records after decompression (inclusive)."""

    topic_partition: TopicPartition | None = None
    """Only for the words of refusals."""

    checks_structure: bool = False
    """Derived: whether the lengths of the records are walked."""

    needs_full: bool = False
    """Derived: whether every record is scanned whatever the level says."""

    def __post_init__(self) -> None:
        force_setattr(self, "checks_structure", self.level >= ValidationLevel.STRUCTURE)
        needs_full = (
            self.level >= ValidationLevel.FULL
            or self.compacted
            or self.timestamp_type is TimestampType.LOG_APPEND_TIME
            or self.before_max_ms != NO_BOUND_MS
            or self.after_max_ms != NO_BOUND_MS
        )
        force_setattr(self, "needs_full", needs_full)

    @property
    def where(self) -> str:
        """Where the records go, for the words of a refusal."""
        return "" if self.topic_partition is None else f" in topic partition {self.topic_partition}"
