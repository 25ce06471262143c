"""Partitions on real logs in a temporary directory, for the tests of this room."""

from collections.abc import Callable
from pathlib import Path

from msgspec import field

from pybroker.config.broker import BrokerConfig
from pybroker.config.topic import TopicConfig
from pybroker.model.ids import BrokerId, TopicId, TopicPartition
from pybroker.model.values import State
from pybroker.records.builder import RecordBatchBuilder
from pybroker.records.validation import ValidatedBatch, validate_produce
from pybroker.replication.partition import Partition, PartitionState, open_partition
from pybroker.replication.replicas import LeadershipChange, Replicas
from pybroker.replication.topic_settings import partition_settings
from pybroker.storage.context import StorageContext
from pybroker.storage.files import Files, system_files
from pybroker.storage.log_manager import LogManager

TP = TopicPartition("orders", 0)
TOPIC_ID = bytes(range(16))
NOW_MS = 1_700_000_000_000
US: BrokerId = 1


_BROKER = BrokerConfig.from_properties({})
_POLICY = partition_settings(TP, TopicConfig.from_overrides(_BROKER, {}), _BROKER).validation


def batch(*values: bytes) -> ValidatedBatch:
    """One validated batch with these values, as a producer would send it."""
    builder = RecordBatchBuilder()
    for value in values:
        builder.append(None, value, NOW_MS)
    return validate_produce(memoryview(bytearray(builder.build())), _POLICY, NOW_MS)


class Host(State):
    """A broker's logs and replicas, without a server or a controller."""

    folder: Path
    topic_configs: dict[str, dict[str, str]] = field(default_factory=dict)
    changes: list[LeadershipChange] = field(default_factory=list)
    followed: dict[TopicPartition, BrokerId] = field(default_factory=dict)
    now_ms: Callable[[], int] = lambda: NOW_MS
    files: Files = field(default_factory=system_files)
    logs: LogManager = None  # made below
    replicas: Replicas = None  # made below
    broker_epoch: int = 10

    def __post_init__(self) -> None:
        self.logs = LogManager([str(self.folder)], StorageContext(now_ms=self.now_ms, files=self.files))
        self.logs.lock()
        self.logs.load()
        self.replicas = Replicas(
            US,
            self.open_partition,
            lambda partition: self.logs.delete_async(partition.tp),
            lambda: self.broker_epoch,
            self.changes.append,
            self,
            stays=True,
        )

    def follow(self, partition: Partition, leader: BrokerId) -> None:
        self.followed[partition.tp] = leader

    def unfollow(self, tp: TopicPartition) -> None:
        self.followed.pop(tp, None)

    def open_partition(
        self, tp: TopicPartition, topic_id: TopicId, is_new: bool = True, checkpointed_high_watermark: int = 0
    ) -> Partition:
        topic = TopicConfig.from_overrides(_BROKER, self.topic_configs.get(tp.topic, {}))
        settings = partition_settings(tp, topic, _BROKER)
        log = self.logs.create(tp, topic_id, settings.log, is_new=is_new)
        return open_partition(tp, topic_id, US, log, settings, checkpointed_high_watermark)


def leading(epoch: int = 0, isr: tuple[BrokerId, ...] = (US,)) -> PartitionState:
    """A state in which we lead."""
    return PartitionState(leader=US, leader_epoch=epoch, controller_epoch=1, isr=isr, replicas=isr)
