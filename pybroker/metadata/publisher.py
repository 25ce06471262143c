"""The only writer of the cluster image.

Brokers, topics, partitions and leaders come from the controller's UpdateMetadata; configurations and features
from the store. Every change is one swap of ``current``, on the trio thread, and then listeners are called.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, TypeAlias

from msgspec.structs import replace

from pybroker.metadata.image import BrokerInfo, ClusterImage, PartitionImage, TopicImage
from pybroker.metadata.znodes import ConfigType, FeatureRange
from pybroker.model.endpoint import Endpoint, SecurityProtocol
from pybroker.model.ids import ZERO_TOPIC_ID, BrokerEpoch, BrokerId, TopicId, TopicPartition

if TYPE_CHECKING:
    from pybroker.protocol.messages import UpdateMetadataRequest

LEADER_DURING_DELETE = -2
"""As leader in UpdateMetadata: the partition is being deleted, forget it."""

ImageListener: TypeAlias = Callable[[ClusterImage, ClusterImage], None]
"""Called with the old and the new image, on the trio thread; must not block or raise."""

ConfigListener: TypeAlias = Callable[[ConfigType, str, Mapping[str, str]], None]
"""Called with the type, the entity and its new values, after the image has them."""


class Publisher:
    """Holds :attr:`current` and swaps it."""

    def __init__(self, cluster_id: str = "") -> None:
        self.current = ClusterImage(cluster_id=cluster_id)
        self._listeners: list[ImageListener] = []
        self._config_listeners: list[ConfigListener] = []
        self._topic_listeners: dict[str, list[Callable[[], None]]] = {}
        self._told_as: BrokerEpoch = -1

    def on_change(self, listener: ImageListener) -> Callable[[], None]:
        """Calls the listener after every swap. Returns the function that ends this."""
        self._listeners.append(listener)
        return lambda: _remove(self._listeners, listener)

    def on_config_change(self, listener: ConfigListener) -> Callable[[], None]:
        """Calls the listener for every configuration that was read. Returns the function that ends this."""
        self._config_listeners.append(listener)
        return lambda: _remove(self._config_listeners, listener)

    def on_topic_change(self, topic: str, listener: Callable[[], None]) -> Callable[[], None]:
        """Calls the listener when the controller tells of this topic. Returns the function that ends this."""
        listeners = self._topic_listeners.setdefault(topic, [])
        listeners.append(listener)

        def forget() -> None:
            _remove(listeners, listener)
            if not listeners and self._topic_listeners.get(topic) is listeners:
                del self._topic_listeners[topic]

        return forget

    def apply_cluster_id(self, cluster_id: str) -> None:
        """Sets the cluster's id, once, at start."""
        self._swap(self.current.next(cluster_id=cluster_id))

    def apply_update_metadata(self, request: "UpdateMetadataRequest") -> list[TopicPartition]:
        """Takes over what the controller tells. Its epoch and the broker's were checked by the caller.

        The live brokers replace the known ones; partitions are added to the known ones, and those with
        leader -2 are forgotten. The first request to a new registration of this broker tells of all there
        is, so what it does not name was deleted while nobody could say so.

        Returns:
            The forgotten partitions.
        """
        old = self._known_before(request)
        topics = old.topics
        names_by_id = old.topic_names_by_id
        configs = old.configs
        deleted: list[TopicPartition] = []
        if request.topic_states:
            topics, names_by_id, deleted = _merge_topics(old, request)
        if old is not self.current:
            deleted += _vanished(self.current.topics, topics)
        if deleted:
            configs = _without_deleted_topics(configs, topics, deleted)
        self._swap(
            old.next(
                controller_id=request.controller_id,
                brokers=_same_or_new(old.brokers, _brokers(request)),
                topics=topics,
                topic_names_by_id=names_by_id,
                configs=configs,
            )
        )
        for state in request.topic_states:
            for listener in tuple(self._topic_listeners.get(state.topic_name, ())):
                listener()
        return deleted

    def apply_configs(self, changes: Iterable[tuple[ConfigType, str, Mapping[str, str] | None]]) -> None:
        """Takes over configurations as the store has them; None forgets an entity."""
        configs = dict(self.current.configs)
        told: list[tuple[ConfigType, str, Mapping[str, str]]] = []
        for config_type, entity, values in changes:
            if values is None:
                configs.pop((config_type, entity), None)
            else:
                configs[config_type, entity] = values
            told.append((config_type, entity, values or {}))
        if not told:
            return
        self._swap(self.current.next(configs=configs))
        for listener in tuple(self._config_listeners):
            for change in told:
                listener(*change)

    def apply_features(
        self,
        finalized: Mapping[str, int],
        epoch: int,
        by_broker: Mapping[BrokerId, Mapping[str, FeatureRange]],
    ) -> None:
        """Takes over the cluster's features and what each live broker supports."""
        self._swap(
            self.current.next(features=dict(finalized), features_epoch=epoch, broker_features=dict(by_broker))
        )

    def _known_before(self, request: "UpdateMetadataRequest") -> ClusterImage:
        if request.broker_epoch <= self._told_as:
            return self.current
        self._told_as = request.broker_epoch
        return replace(self.current, topics={}, topic_names_by_id={})

    def _swap(self, image: ClusterImage) -> None:
        old, self.current = self.current, image
        for listener in tuple(self._listeners):
            listener(old, image)


def _merge_topics(
    old: ClusterImage, request: "UpdateMetadataRequest"
) -> tuple[Mapping[str, TopicImage], Mapping[TopicId, str], list[TopicPartition]]:
    topics = dict(old.topics)
    names_by_id: dict[TopicId, str] | None = None
    deleted: list[TopicPartition] = []
    for state in request.topic_states:
        name = state.topic_name
        before = topics.get(name)
        after = _merge_topic(before, state, deleted)
        if after is None:
            topics.pop(name, None)
        else:
            topics[name] = after
        id_before = ZERO_TOPIC_ID if before is None else before.topic_id
        id_after = ZERO_TOPIC_ID if after is None else after.topic_id
        if id_before != id_after:
            names_by_id = dict(old.topic_names_by_id) if names_by_id is None else names_by_id
            names_by_id.pop(id_before, None)
            if id_after != ZERO_TOPIC_ID:
                names_by_id[id_after] = name
    return topics, old.topic_names_by_id if names_by_id is None else names_by_id, deleted


def _merge_topic(
    before: TopicImage | None,
    state: "UpdateMetadataRequest.UpdateMetadataTopicState",
    deleted: list[TopicPartition],
) -> TopicImage | None:
    partitions = {} if before is None else dict(before.partitions)
    has_new_index = False
    for told in state.partition_states:
        index = told.partition_index
        if told.leader == LEADER_DURING_DELETE:
            partitions.pop(index, None)
            deleted.append(TopicPartition(state.topic_name, index))
            continue
        has_new_index = has_new_index or index not in partitions
        partitions[index] = PartitionImage(
            index=index,
            leader=told.leader,
            leader_epoch=told.leader_epoch,
            isr=tuple(told.isr),
            replicas=tuple(told.replicas),
            offline=tuple(told.offline_replicas),
            partition_epoch=told.zk_version,
            controller_epoch=told.controller_epoch,
        )
    if not partitions:
        return None
    if has_new_index:
        partitions = dict(sorted(partitions.items()))
    return TopicImage(state.topic_name, bytes(state.topic_id), partitions)


def _vanished(before: Mapping[str, TopicImage], after: Mapping[str, TopicImage]) -> list[TopicPartition]:
    return [
        TopicPartition(name, index)
        for name, topic in before.items()
        if name not in after
        for index in topic.partitions
    ]


def _without_deleted_topics(
    configs: Mapping[tuple[ConfigType, str], Mapping[str, str]],
    topics: Mapping[str, TopicImage],
    deleted: Iterable[TopicPartition],
) -> Mapping[tuple[ConfigType, str], Mapping[str, str]]:
    """A topic of the same name that comes later has its own configuration."""
    gone = {(ConfigType.TOPIC, name) for name, _ in deleted if name not in topics} & configs.keys()
    return {key: values for key, values in configs.items() if key not in gone} if gone else configs


def _brokers(request: "UpdateMetadataRequest") -> dict[BrokerId, BrokerInfo]:
    return {
        broker.id: BrokerInfo(
            broker_id=broker.id,
            endpoints=tuple(
                Endpoint(e.listener, e.host, e.port, SecurityProtocol(e.security_protocol))
                for e in broker.endpoints
            ),
            rack=broker.rack,
        )
        for broker in sorted(request.live_brokers, key=lambda broker: broker.id)
    }


def _same_or_new(
    old: Mapping[BrokerId, BrokerInfo], new: Mapping[BrokerId, BrokerInfo]
) -> Mapping[BrokerId, BrokerInfo]:
    """The old object when nothing changed, so that what is cached beside it stays valid."""
    return old if old == new else new


def _remove(
    listeners: list[ImageListener] | list[ConfigListener] | list[Callable[[], None]], one: object
) -> None:
    for index, listener in enumerate(listeners):
        if listener is one:
            del listeners[index]
            return
