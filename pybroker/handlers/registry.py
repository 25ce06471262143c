"""The table of contents: every API that this broker answers, in the order of the keys.

ApiVersions is derived from this tuple. Start-up fails when a row names an API or a version that the specs do
not have. Only what a start needs is imported with this module; the other handlers come with their first
request.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from pybroker.handlers.api_versions import ApiVersions, Features
from pybroker.handlers.late import Late, LateHandler
from pybroker.handlers.metadata import MetadataHandler
from pybroker.handlers.preferred_replica import PreferredReplica
from pybroker.handlers.routes import Route
from pybroker.handlers.update_metadata import UpdateMetadataHandler
from pybroker.model.values import Value
from pybroker.replication.replica_selector import SELECTORS

if TYPE_CHECKING:  # app/warming.py says what is late
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
    from pybroker.coordination.runtime.markers import TransactionMarkers
    from pybroker.coordination.runtime.transactions import TransactionCoordinator
    from pybroker.coordination.runtime.verification import TransactionVerifier
    from pybroker.handlers.personas import Persona
    from pybroker.metadata.config_changes import ConfigChanges
    from pybroker.metadata.publisher import Publisher
    from pybroker.model.ids import BrokerId
    from pybroker.replication.log_dir_moves import LogDirMoves
    from pybroker.replication.replicas import Replicas
    from pybroker.replication.throttle import ReplicationThrottle
    from pybroker.storage.log_manager import LogManager


class Services(Value):
    """What handlers are made of."""

    broker_id: BrokerId
    config: BrokerConfig
    current_config: Callable[[], BrokerConfig]
    """The configuration with what was changed at run time; ``config`` is that of the start."""
    now_ms: Callable[[], int]
    publisher: Publisher
    configs: ConfigChanges
    logs: LogManager
    replicas: Replicas
    moves: LogDirMoves
    groups: GroupCoordinator
    offsets_partitions: Callable[[], int]
    """How many partitions ``__consumer_offsets`` has, or will have."""
    transactions: TransactionCoordinator
    verifier: TransactionVerifier
    markers: TransactionMarkers
    features: Callable[[], Features]
    persona: Persona
    old_offsets: OldOffsets
    controller: Controller
    controller_api: ControllerApi
    topics: Late[TopicsAdmin]
    configs_admin: Late[ConfigsAdmin]
    auto_creation: AutoTopicCreation
    fetch_sessions: Late[FetchSessionCache]
    producer_ids: ProducerIds
    leader_throttle: ReplicationThrottle


def build_registry(services: Services) -> tuple[Route, ...]:
    """All routes, sorted by key. Columns: key, first and last version served, handler, ACL operation."""
    replicas, now_ms, config = services.replicas, services.now_ms, services.config
    orders = replicas.refuse_order

    def is_controller() -> bool:
        return services.controller.is_active

    create_topics = LateHandler("create_topics", services.topics, is_controller, services.current_config)
    delete_topics = LateHandler("delete_topics", services.topics, is_controller, config.delete_topic_enable)
    describe_configs = LateHandler(
        "describe_configs",
        services.broker_id,
        services.current_config,
        services.publisher,
        services.configs,
    )
    elect_leaders = LateHandler("elect_leaders", services.controller_api, services.publisher)
    reassign = LateHandler("alter_partition_reassignments", services.controller_api)
    reassignments = LateHandler("list_partition_reassignments", services.controller_api)
    preferred = PreferredReplica(
        services.broker_id, SELECTORS.get(config.replica_selector_class or ""), now_ms
    )
    fetch = LateHandler(
        "fetch",
        replicas,
        services.fetch_sessions,
        config.fetch_max_bytes,
        now_ms,
        preferred,
        services.leader_throttle,
    )
    describe_partitions = LateHandler("describe_topic_partitions", config.max_request_partition_size_limit)
    groups = services.groups
    commit = LateHandler(
        "offset_commit", groups, services.old_offsets, config.offset_metadata_max_bytes, now_ms
    )
    transactions, verifier = services.transactions, services.verifier
    produce = LateHandler("produce", replicas, now_ms, verifier)
    init_producer_id = LateHandler("init_producer_id", services.producer_ids, transactions)
    add_offsets = LateHandler("add_offsets_to_txn", transactions, services.offsets_partitions)
    update_metadata = UpdateMetadataHandler(services.publisher, orders, groups.on_partitions_deleted)
    routes = (
        Route(0, 0, 13, produce, "Write"),
        Route(1, 0, 18, fetch, "Read"),
        Route(2, 0, 11, LateHandler("list_offsets", replicas), "Describe"),
        Route(3, 0, 13, MetadataHandler(services.auto_creation), "Describe"),
        Route(4, 0, 7, LateHandler("leader_and_isr", replicas, services.configs), "ClusterAction"),
        Route(5, 0, 4, LateHandler("stop_replica", replicas), "ClusterAction"),
        Route(6, 0, 8, update_metadata, "ClusterAction"),
        Route(7, 0, 3, LateHandler("controlled_shutdown", services.controller_api), "ClusterAction"),
        Route(8, 0, 10, commit, "Read"),
        Route(9, 0, 10, LateHandler("offset_fetch", groups, services.old_offsets), "Describe"),
        Route(10, 0, 6, LateHandler("find_coordinator", services.auto_creation), "Describe"),
        Route(11, 0, 9, LateHandler("join_group", groups), "Read"),
        Route(12, 0, 4, LateHandler("heartbeat", groups), "Read"),
        Route(13, 0, 5, LateHandler("leave_group", groups), "Read"),
        Route(14, 0, 5, LateHandler("sync_group", groups), "Read"),
        Route(15, 0, 6, LateHandler("describe_groups", groups), "Describe"),
        Route(16, 0, 5, LateHandler("list_groups", groups), "Describe"),
        Route(18, 0, 4, ApiVersions(lambda: services.persona.told(routes), services.features)),
        Route(19, 0, 7, create_topics, "Create"),
        Route(20, 0, 6, delete_topics, "Delete"),
        Route(21, 0, 2, LateHandler("delete_records", replicas), "Delete"),
        Route(22, 0, 5, init_producer_id, "IdempotentWrite"),
        Route(23, 0, 4, LateHandler("offset_for_leader_epoch", replicas), "Describe"),
        Route(24, 0, 5, LateHandler("add_partitions_to_txn", transactions), "Write"),
        Route(25, 0, 4, add_offsets, "Write"),
        Route(26, 0, 5, LateHandler("end_txn", transactions), "Write"),
        Route(27, 0, 2, LateHandler("write_txn_markers", services.markers), "ClusterAction"),
        Route(28, 0, 6, LateHandler("txn_offset_commit", groups, verifier, now_ms), "Read"),
        Route(29, 0, 3, LateHandler("describe_acls"), "Describe"),
        Route(30, 0, 3, LateHandler("describe_acls.ChangeAclsHandler"), "Alter"),
        Route(31, 0, 3, LateHandler("describe_acls.ChangeAclsHandler"), "Alter"),
        Route(32, 0, 4, describe_configs, "DescribeConfigs"),
        Route(33, 0, 2, LateHandler("alter_configs", services.configs_admin), "AlterConfigs"),
        Route(34, 0, 2, LateHandler("alter_replica_log_dirs", services.moves), "Alter"),
        Route(35, 0, 4, LateHandler("describe_log_dirs", services.logs, replicas), "Describe"),
        Route(37, 0, 3, LateHandler("create_partitions", services.topics, is_controller), "Alter"),
        Route(42, 0, 2, LateHandler("delete_groups", groups), "Delete"),
        Route(43, 0, 2, elect_leaders, "Alter"),
        Route(44, 0, 1, LateHandler("incremental_alter_configs", services.configs_admin), "AlterConfigs"),
        Route(45, 0, 0, reassign, "Alter"),
        Route(46, 0, 0, reassignments, "Describe"),
        Route(47, 0, 0, LateHandler("offset_delete", groups), "Delete"),
        Route(56, 0, 3, LateHandler("alter_partition", services.controller_api), "ClusterAction"),
        Route(60, 0, 2, LateHandler("describe_cluster"), "Describe"),
        Route(61, 0, 0, LateHandler("describe_producers", replicas), "Read"),
        Route(65, 0, 0, LateHandler("describe_transactions", transactions), "Describe"),
        Route(66, 0, 2, LateHandler("list_transactions", transactions), "Describe"),
        Route(67, 0, 0, LateHandler("allocate_producer_ids", services.controller_api), "ClusterAction"),
        Route(68, 0, 1, LateHandler("consumer_group_heartbeat", groups), "Read"),
        Route(69, 0, 1, LateHandler("consumer_group_describe", groups), "Describe"),
        Route(75, 0, 0, describe_partitions, "Describe"),
    )
    return routes
