"""The table of contents: every API that this broker answers, in the order of the keys.

ApiVersions is derived from this tuple. Start-up fails when a row names an API or a version that the specs do
not have.
"""

from collections.abc import Callable

from attrs import frozen

from pybroker.config.broker import BrokerConfig
from pybroker.controller.api import ControllerApi
from pybroker.controller.auto_creation import AutoTopicCreation
from pybroker.controller.configs_admin import ConfigsAdmin
from pybroker.controller.controller import Controller
from pybroker.controller.topics_admin import TopicsAdmin
from pybroker.coordination.fetch_sessions import FetchSessionCache
from pybroker.coordination.old_offsets import OldOffsets
from pybroker.coordination.producer_ids import ProducerIds
from pybroker.coordination.runtime.groups import GroupCoordinator
from pybroker.handlers.alter_configs import AlterConfigsHandler
from pybroker.handlers.alter_partition_reassignments import AlterPartitionReassignmentsHandler
from pybroker.handlers.api_versions import ApiVersions
from pybroker.handlers.create_partitions import CreatePartitionsHandler
from pybroker.handlers.create_topics import CreateTopicsHandler
from pybroker.handlers.delete_groups import DeleteGroupsHandler
from pybroker.handlers.delete_records import DeleteRecordsHandler
from pybroker.handlers.delete_topics import DeleteTopicsHandler
from pybroker.handlers.describe_acls import ChangeAclsHandler, DescribeAclsHandler
from pybroker.handlers.describe_cluster import DescribeClusterHandler
from pybroker.handlers.describe_configs import DescribeConfigsHandler
from pybroker.handlers.describe_groups import DescribeGroupsHandler
from pybroker.handlers.describe_log_dirs import DescribeLogDirsHandler
from pybroker.handlers.describe_producers import DescribeProducersHandler
from pybroker.handlers.describe_topic_partitions import DescribeTopicPartitionsHandler
from pybroker.handlers.elect_leaders import ElectLeadersHandler
from pybroker.handlers.fetch import FetchHandler
from pybroker.handlers.find_coordinator import FindCoordinatorHandler
from pybroker.handlers.heartbeat import HeartbeatHandler
from pybroker.handlers.incremental_alter_configs import IncrementalAlterConfigsHandler
from pybroker.handlers.init_producer_id import InitProducerIdHandler
from pybroker.handlers.join_group import JoinGroupHandler
from pybroker.handlers.leader_and_isr import LeaderAndIsrHandler
from pybroker.handlers.leave_group import LeaveGroupHandler
from pybroker.handlers.list_groups import ListGroupsHandler
from pybroker.handlers.list_offsets import ListOffsetsHandler
from pybroker.handlers.list_partition_reassignments import ListPartitionReassignmentsHandler
from pybroker.handlers.metadata import MetadataHandler
from pybroker.handlers.offset_commit import OffsetCommitHandler
from pybroker.handlers.offset_delete import OffsetDeleteHandler
from pybroker.handlers.offset_fetch import OffsetFetchHandler
from pybroker.handlers.offset_for_leader_epoch import OffsetForLeaderEpochHandler
from pybroker.handlers.produce import ProduceHandler
from pybroker.handlers.routes import Route
from pybroker.handlers.stop_replica import StopReplicaHandler
from pybroker.handlers.sync_group import SyncGroupHandler
from pybroker.handlers.update_metadata import UpdateMetadataHandler
from pybroker.metadata.config_changes import ConfigChanges
from pybroker.metadata.publisher import Publisher
from pybroker.replication.replicas import Replicas
from pybroker.storage.context import StorageContext
from pybroker.storage.log_manager import LogManager


@frozen
class Services:
    """What handlers are made of."""

    config: BrokerConfig
    current_config: Callable[[], BrokerConfig]
    """The configuration with what was changed at run time; ``config`` is that of the start."""
    now_ms: Callable[[], int]
    publisher: Publisher
    configs: ConfigChanges
    logs: LogManager
    replicas: Replicas
    groups: GroupCoordinator
    old_offsets: OldOffsets
    storage: StorageContext
    controller: Controller
    controller_api: ControllerApi
    topics: TopicsAdmin
    configs_admin: ConfigsAdmin
    auto_creation: AutoTopicCreation
    fetch_sessions: FetchSessionCache
    producer_ids: ProducerIds


def build_registry(services: Services) -> tuple[Route, ...]:
    """All routes, sorted by key. Columns: key, first and last version served, handler, ACL operation."""
    replicas, now_ms, config = services.replicas, services.now_ms, services.config
    orders = replicas.refuse_order

    def is_controller() -> bool:
        return services.controller.is_active

    create_topics = CreateTopicsHandler(services.topics, is_controller, services.current_config)
    delete_topics = DeleteTopicsHandler(services.topics, is_controller, config.delete_topic_enable)
    describe_configs = DescribeConfigsHandler(services.configs_admin.broker_id, services.current_config)
    elect_leaders = ElectLeadersHandler(services.controller_api, services.publisher)
    reassign = AlterPartitionReassignmentsHandler(services.controller_api)
    reassignments = ListPartitionReassignmentsHandler(services.controller_api)
    fetch = FetchHandler(replicas, services.fetch_sessions, config.fetch_max_bytes, now_ms)
    groups = services.groups
    commit = OffsetCommitHandler(groups, services.old_offsets, config.offset_metadata_max_bytes, now_ms)
    update_metadata = UpdateMetadataHandler(services.publisher, orders, groups.on_partitions_deleted)
    routes = (
        Route(0, 0, 13, ProduceHandler(replicas, services.storage, now_ms), "Write"),
        Route(1, 0, 18, fetch, "Read"),
        Route(2, 0, 11, ListOffsetsHandler(replicas), "Describe"),
        Route(3, 0, 13, MetadataHandler(services.auto_creation), "Describe"),
        Route(4, 0, 7, LeaderAndIsrHandler(replicas, services.configs), "ClusterAction"),
        Route(5, 0, 4, StopReplicaHandler(replicas), "ClusterAction"),
        Route(6, 0, 8, update_metadata, "ClusterAction"),
        Route(8, 0, 10, commit, "Read"),
        Route(9, 0, 10, OffsetFetchHandler(groups, services.old_offsets), "Describe"),
        Route(10, 0, 6, FindCoordinatorHandler(services.auto_creation), "Describe"),
        Route(11, 0, 9, JoinGroupHandler(groups), "Read"),
        Route(12, 0, 4, HeartbeatHandler(groups), "Read"),
        Route(13, 0, 5, LeaveGroupHandler(groups), "Read"),
        Route(14, 0, 5, SyncGroupHandler(groups), "Read"),
        Route(15, 0, 6, DescribeGroupsHandler(groups), "Describe"),
        Route(16, 0, 5, ListGroupsHandler(groups), "Describe"),
        Route(18, 0, 4, ApiVersions(lambda: routes)),
        Route(19, 0, 7, create_topics, "Create"),
        Route(20, 0, 6, delete_topics, "Delete"),
        Route(21, 0, 2, DeleteRecordsHandler(replicas), "Delete"),
        Route(22, 0, 5, InitProducerIdHandler(services.producer_ids), "IdempotentWrite"),
        Route(23, 0, 4, OffsetForLeaderEpochHandler(replicas), "Describe"),
        Route(29, 0, 3, DescribeAclsHandler(), "Describe"),
        Route(30, 0, 3, ChangeAclsHandler(), "Alter"),
        Route(31, 0, 3, ChangeAclsHandler(), "Alter"),
        Route(32, 0, 4, describe_configs, "DescribeConfigs"),
        Route(33, 0, 2, AlterConfigsHandler(services.configs_admin), "AlterConfigs"),
        Route(35, 0, 4, DescribeLogDirsHandler(services.logs, replicas), "Describe"),
        Route(37, 0, 3, CreatePartitionsHandler(services.topics, is_controller), "Alter"),
        Route(42, 0, 2, DeleteGroupsHandler(groups), "Delete"),
        Route(43, 0, 2, elect_leaders, "Alter"),
        Route(44, 0, 1, IncrementalAlterConfigsHandler(services.configs_admin), "AlterConfigs"),
        Route(45, 0, 0, reassign, "Alter"),
        Route(46, 0, 0, reassignments, "Describe"),
        Route(47, 0, 0, OffsetDeleteHandler(groups), "Delete"),
        Route(60, 0, 2, DescribeClusterHandler(), "Describe"),
        Route(61, 0, 0, DescribeProducersHandler(replicas), "Read"),
        Route(75, 0, 0, DescribeTopicPartitionsHandler(config.max_request_partition_size_limit), "Describe"),
    )
    return routes
