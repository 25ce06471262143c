"""The cluster as this broker knows it: one frozen snapshot that a request keeps from beginning to end.

A new image shares with the last one all that did not change, so encoded replies can hang on its parts.
"""

from collections.abc import Mapping
from typing import Any

from msgspec import field
from msgspec.structs import replace

from pybroker.metadata.znodes import ConfigType, FeatureRange
from pybroker.model.endpoint import Endpoint
from pybroker.model.ids import NO_LEADER, BrokerId, LeaderEpoch, TopicId, TopicPartition
from pybroker.model.values import Value


class BrokerInfo(Value):
    """A live broker and where it listens."""

    broker_id: BrokerId
    endpoints: tuple[Endpoint, ...]
    rack: str | None = None

    def endpoint(self, listener: str) -> Endpoint | None:
        """Its address on a listener, None if it has no such listener."""
        for endpoint in self.endpoints:
            if endpoint.listener == listener:
                return endpoint
        return None


class PartitionImage(Value):
    """Leadership of one partition. ``leader`` is -1 while there is none; lists are in Kafka's order."""

    index: int
    leader: BrokerId
    leader_epoch: LeaderEpoch
    isr: tuple[BrokerId, ...]
    replicas: tuple[BrokerId, ...]
    offline: tuple[BrokerId, ...] = ()
    partition_epoch: int = 0
    controller_epoch: int = 0

    @property
    def has_leader(self) -> bool:
        """False while no replica may lead."""
        return self.leader >= 0


class TopicImage(Value, eq=False):
    """One topic. ``partitions`` is in the order of the indexes; after a failed creation there may be gaps.

    ``cache`` is for whoever encodes this topic again and again: it lives and dies with this very object.
    """

    name: str
    topic_id: TopicId
    partitions: Mapping[int, PartitionImage]
    cache: dict[Any, Any] = field(default_factory=dict)


class ClusterImage(Value, eq=False):
    """Everything a request may ask about the cluster.

    ``brokers`` and ``topics`` come from the controller alone, ``configs`` and ``features`` from the store.
    ``version`` grows by one with every image of this process; ``cache`` is like :class:`TopicImage`'s.
    """

    version: int = 0
    cluster_id: str = ""
    controller_id: BrokerId = NO_LEADER
    brokers: Mapping[BrokerId, BrokerInfo] = field(default_factory=dict)
    topics: Mapping[str, TopicImage] = field(default_factory=dict)
    topic_names_by_id: Mapping[TopicId, str] = field(default_factory=dict)
    configs: Mapping[tuple[ConfigType, str], Mapping[str, str]] = field(default_factory=dict)
    features: Mapping[str, int] = field(default_factory=dict)
    features_epoch: int = -1
    broker_features: Mapping[BrokerId, Mapping[str, FeatureRange]] = field(default_factory=dict)
    cache: dict[Any, Any] = field(default_factory=dict)

    def partition(self, topic_partition: TopicPartition) -> PartitionImage | None:
        """One partition, None if the controller told of none."""
        topic = self.topics.get(topic_partition[0])
        return None if topic is None else topic.partitions.get(topic_partition[1])

    def topic_id(self, name: str) -> TopicId | None:
        """The id of a topic, None if there is no such topic."""
        topic = self.topics.get(name)
        return None if topic is None else topic.topic_id

    def config(self, config_type: ConfigType, entity: str) -> Mapping[str, str]:
        """The dynamic configuration of an entity; empty if it has none."""
        return self.configs.get((config_type, entity), {})

    def next(self, **changes: Any) -> "ClusterImage":
        """The image after a change."""
        return replace(self, version=self.version + 1, cache={}, **changes)
