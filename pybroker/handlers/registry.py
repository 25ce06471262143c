"""The table of contents: every API that this broker answers, in the order of the keys.

ApiVersions is derived from this tuple. Start-up fails when a row names an API or a version that the specs do
not have.
"""

from collections.abc import Callable

from attrs import frozen

from pybroker.config.broker import BrokerConfig
from pybroker.controller.auto_creation import AutoTopicCreation
from pybroker.controller.controller import Controller
from pybroker.controller.topics_admin import TopicsAdmin
from pybroker.coordination.fetch_sessions import FetchSessionCache
from pybroker.coordination.producer_ids import ProducerIds
from pybroker.handlers.api_versions import ApiVersions
from pybroker.handlers.create_topics import CreateTopicsHandler
from pybroker.handlers.delete_topics import DeleteTopicsHandler
from pybroker.handlers.describe_cluster import DescribeClusterHandler
from pybroker.handlers.describe_topic_partitions import DescribeTopicPartitionsHandler
from pybroker.handlers.fetch import FetchHandler
from pybroker.handlers.find_coordinator import FindCoordinatorHandler
from pybroker.handlers.init_producer_id import InitProducerIdHandler
from pybroker.handlers.leader_and_isr import LeaderAndIsrHandler
from pybroker.handlers.list_offsets import ListOffsetsHandler
from pybroker.handlers.metadata import MetadataHandler
from pybroker.handlers.offset_for_leader_epoch import OffsetForLeaderEpochHandler
from pybroker.handlers.produce import ProduceHandler
from pybroker.handlers.routes import Route
from pybroker.handlers.stop_replica import StopReplicaHandler
from pybroker.handlers.update_metadata import UpdateMetadataHandler
from pybroker.metadata.config_changes import ConfigChanges
from pybroker.metadata.publisher import Publisher
from pybroker.replication.replicas import Replicas


@frozen
class Services:
    """What handlers are made of."""

    config: BrokerConfig
    now_ms: Callable[[], int]
    publisher: Publisher
    configs: ConfigChanges
    replicas: Replicas
    controller: Controller
    topics: TopicsAdmin
    auto_creation: AutoTopicCreation
    fetch_sessions: FetchSessionCache
    producer_ids: ProducerIds


def build_registry(services: Services) -> tuple[Route, ...]:
    """All routes, sorted by key. Columns: key, first and last version served, handler, ACL operation."""
    replicas, now_ms, config = services.replicas, services.now_ms, services.config
    orders = replicas.refuse_order

    def is_controller() -> bool:
        return services.controller.is_active

    create_topics = CreateTopicsHandler(services.topics, is_controller, lambda: services.config)
    delete_topics = DeleteTopicsHandler(services.topics, is_controller, config.delete_topic_enable)
    fetch = FetchHandler(replicas, services.fetch_sessions, config.fetch_max_bytes, now_ms)
    routes = (
        Route(0, 0, 13, ProduceHandler(replicas, now_ms), "Write"),
        Route(1, 0, 18, fetch, "Read"),
        Route(2, 0, 11, ListOffsetsHandler(replicas), "Describe"),
        Route(3, 0, 13, MetadataHandler(services.auto_creation), "Describe"),
        Route(4, 0, 7, LeaderAndIsrHandler(replicas, services.configs), "ClusterAction"),
        Route(5, 0, 4, StopReplicaHandler(replicas), "ClusterAction"),
        Route(6, 0, 8, UpdateMetadataHandler(services.publisher, orders), "ClusterAction"),
        Route(10, 0, 6, FindCoordinatorHandler(services.auto_creation), "Describe"),
        Route(18, 0, 4, ApiVersions(lambda: routes)),
        Route(19, 0, 7, create_topics, "Create"),
        Route(20, 0, 6, delete_topics, "Delete"),
        Route(22, 0, 5, InitProducerIdHandler(services.producer_ids), "IdempotentWrite"),
        Route(23, 0, 4, OffsetForLeaderEpochHandler(replicas), "Describe"),
        Route(60, 0, 2, DescribeClusterHandler(), "Describe"),
        Route(75, 0, 0, DescribeTopicPartitionsHandler(config.max_request_partition_size_limit), "Describe"),
    )
    return routes
