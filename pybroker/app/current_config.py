"""The configuration as it is now: what a broker was started with, and over it what was set at run time."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING

import trio

from pybroker.config.alter import usable_updates
from pybroker.config.topic import TopicConfig, topic_defaults
from pybroker.config.values import InvalidConfig
from pybroker.metadata.znodes import DEFAULT_ENTITY, ConfigType
from pybroker.model.errors import ApiError
from pybroker.server.limits import ServerSettings

if TYPE_CHECKING:  # app/warming.py says what is late
    from pybroker.config.broker import BrokerConfig
    from pybroker.controller.api import ControllerApi
    from pybroker.metadata.publisher import Publisher
    from pybroker.model.ids import BrokerId, TopicPartition
    from pybroker.replication.partition import Partition
    from pybroker.replication.replicas import Replicas
    from pybroker.replication.topic_settings import PartitionSettings
    from pybroker.server.listener import Server
    from pybroker.storage.context import StorageContext
    from pybroker.storage.log_config import LogConfig

logger = logging.getLogger(__name__)


class CurrentConfig:
    """What holds for the broker and for each topic, from the image's configurations. :meth:`obey` alone
    changes ``broker``; who needs a value of the moment asks for it then."""

    def __init__(self, started_with: BrokerConfig, publisher: Publisher) -> None:
        self.broker = started_with
        self._publisher = publisher

    def obey(self, broker_id: BrokerId) -> None:
        """Lays what was set at run time, for all brokers and for this one, over what it was started with."""
        image = self._publisher.current
        stored = image.config(ConfigType.BROKER, DEFAULT_ENTITY)
        stored_here = image.config(ConfigType.BROKER, str(broker_id))
        try:
            self.broker = self.broker.with_layers(
                dynamic_default=usable_updates(stored, for_this_broker=False),
                dynamic_broker=usable_updates(stored_here, for_this_broker=True),
            )
        except InvalidConfig as error:
            logger.error("the stored configuration of the broker is ignored: %s", error)

    def topic(self, topic: str) -> TopicConfig:
        overrides = self._publisher.current.config(ConfigType.TOPIC, topic)
        try:
            return TopicConfig.from_overrides(self.broker, overrides)
        except InvalidConfig as error:
            logger.error("the configuration of topic %s is ignored: %s", topic, error)
            return TopicConfig.from_overrides(self.broker, {})

    def log(self, topic: str) -> LogConfig:
        from pybroker.replication.topic_settings import log_config

        return log_config(self.topic(topic))

    def partition(self, tp: TopicPartition) -> PartitionSettings:
        from pybroker.replication.topic_settings import partition_settings

        return partition_settings(tp, self.topic(tp.topic), self.broker)


class ConfigFollower:
    """Lets what is running follow a change of its configuration.

    Args:
        start: runs something beside, as long as the broker runs.
    """

    def __init__(
        self,
        current: CurrentConfig,
        broker_id: BrokerId,
        storage: StorageContext,
        server: Server,
        replicas: Replicas,
        publisher: Publisher,
        controller_api: ControllerApi,
        start: Callable[..., None],
    ) -> None:
        self._current = current
        self._broker_id = broker_id
        self._storage = storage
        self._server = server
        self._replicas = replicas
        self._publisher = publisher
        self._controller_api = controller_api
        self._start = start

    def on_change(self, config_type: ConfigType, entity: str, _values: Mapping[str, str]) -> None:
        """The publisher has a new configuration of ``entity`` in its image."""
        if config_type is ConfigType.TOPIC:
            self._topic_changed(entity)
        elif config_type is ConfigType.BROKER and entity in (DEFAULT_ENTITY, str(self._broker_id)):
            self._broker_changed()

    def _topic_changed(self, topic: str) -> None:
        self._update(self._replicas.of_topic(topic))
        is_known = topic in self._publisher.current.topics
        if is_known and self._current.topic(topic).unclean_leader_election_enable:
            self._start(self._elect_where_missing, topic)

    def _broker_changed(self) -> None:
        before = self._current.broker
        self._current.obey(self._broker_id)
        now = self._current.broker
        obey_storage_settings(self._storage, now)
        self._server.obey(server_settings(now))
        if topic_defaults(now) != topic_defaults(before):
            self._start(self._update_all)
        if now.unclean_leader_election_enable and not before.unclean_leader_election_enable:
            self._start(self._elect_where_missing, None)

    async def _elect_where_missing(self, topic: str | None) -> None:
        """Unclean elections were allowed: the controller, if this broker is it, holds those that waited."""
        try:
            await self._controller_api.elect_where_missing(topic)
        except ApiError as error:
            logger.debug("no election here: %s", error)

    async def _update_all(self) -> None:
        """The broker's defaults have changed: lets every partition follow, one at a time."""
        for partition in list(self._replicas):
            self._update([partition])
            await trio.lowlevel.checkpoint()

    def _update(self, partitions: Iterable[Partition]) -> None:
        for partition in partitions:
            partition.update_settings(self._current.partition(partition.tp))


def obey_storage_settings(storage: StorageContext, config: BrokerConfig) -> None:
    """Let the logs follow what belongs to the broker, not to a topic."""
    storage.producer_id_expiration_ms = config.producer_id_expiration_ms
    storage.transaction_verification = config.transaction_partition_verification_enable


def server_settings(config: BrokerConfig) -> ServerSettings:
    """The part of the configuration that the wire obeys; the names are the same.

    Kafka's default for the sockets' buffers is 100 KiB. The system's own, which grow as needed, let a fetch
    of 1 MiB go in a few calls, so those stand unless somebody asks for others.
    """
    names = set(ServerSettings.__struct_fields__) - {"inter_broker_listener"}
    values = {name: getattr(config, name) for name in names}
    chosen = config.layers.merged()
    for key in ("socket.send.buffer.bytes", "socket.receive.buffer.bytes"):
        if key not in chosen:
            values[key.replace(".", "_")] = -1
    return ServerSettings(**values, inter_broker_listener=config.listeners.inter_broker)
