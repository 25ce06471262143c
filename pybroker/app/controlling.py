"""The controller of one broker and its administration, put together."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING

from pybroker.app.peers import controller_peer_settings
from pybroker.controller.api import ControllerApi
from pybroker.controller.auto_creation import AutoTopicCreation
from pybroker.controller.controller import Controller
from pybroker.controller.remote_channel import RemoteChannel
from pybroker.controller.term import ControllerConfig
from pybroker.handlers.late import Late
from pybroker.handlers.local_channel import LocalChannel
from pybroker.model.values import Value

if TYPE_CHECKING:  # app/warming.py says what is late
    from pybroker.config.broker import BrokerConfig
    from pybroker.controller.channels import BrokerChannel
    from pybroker.controller.configs_admin import ConfigsAdmin
    from pybroker.controller.topics_admin import TopicsAdmin
    from pybroker.handlers.routes import Route
    from pybroker.instruments.clock import Clock, TimerQueue
    from pybroker.metadata.config_changes import ConfigChanges
    from pybroker.metadata.publisher import Publisher
    from pybroker.metadata.store import Store
    from pybroker.metadata.znodes import BrokerIdZNode
    from pybroker.model.ids import BrokerId


class ControllerServices(Value):
    controller: Controller
    api: ControllerApi
    topics: Late[TopicsAdmin]
    configs: Late[ConfigsAdmin]
    auto_creation: AutoTopicCreation


def build_controller(
    broker_id: BrokerId,
    current_config: Callable[[], BrokerConfig],
    session: Store,
    publisher: Publisher,
    configs: ConfigChanges,
    clock: Clock,
    timers: TimerQueue,
    routes: Callable[[], Mapping[int, Route]],
    reregister: Callable[[], Awaitable[object]],
) -> ControllerServices:
    """The controller, and those who write for clients what it then obeys.

    Args:
        routes: this broker's own APIs: the controller talks to itself in process.
        reregister: as :class:`Controller` has it.
    """
    config = current_config()

    def connect(broker: BrokerIdZNode) -> BrokerChannel:
        if broker.broker_id == broker_id:
            return LocalChannel(routes(), lambda: publisher.current, f"controller-{broker_id}")
        now = current_config()
        listener = now.listeners.control_plane or now.listeners.inter_broker
        return RemoteChannel(broker, listener, controller_peer_settings(broker_id, now))

    controller = Controller(
        ControllerConfig(
            broker_id=broker_id,
            inter_broker_listener=config.listeners.inter_broker,
            delete_topic_enable=config.delete_topic_enable,
            unclean_leader_election_enable=lambda: current_config().unclean_leader_election_enable,
            auto_leader_rebalance_enable=config.auto_leader_rebalance_enable,
            leader_imbalance_check_interval_seconds=config.leader_imbalance_check_interval_seconds,
            leader_imbalance_per_broker_percentage=config.leader_imbalance_per_broker_percentage,
        ),
        session,
        connect,
        now_ms=clock.now_ms,
        timers=timers,
        reregister=reregister,
    )

    def make_topics() -> TopicsAdmin:
        from pybroker.config.topic import validate_topic_configs
        from pybroker.controller.topics_admin import TopicsAdmin

        return TopicsAdmin(
            session,
            publisher,
            num_partitions=lambda: current_config().num_partitions,
            replication_factor=lambda: current_config().default_replication_factor,
            validate_config=lambda _topic, values: validate_topic_configs(values, current_config()),
        )

    def make_configs() -> ConfigsAdmin:
        from pybroker.controller.configs_admin import ConfigsAdmin

        return ConfigsAdmin(session, publisher, broker_id, current_config, configs.read)

    topics = Late(make_topics)
    return ControllerServices(
        controller,
        ControllerApi(controller),
        topics,
        Late(make_configs),
        AutoTopicCreation(config, topics.made),
    )
