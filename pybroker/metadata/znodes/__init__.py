"""Kafka's znodes: one small class per path, that knows where the node is and what its data means."""

from pybroker.metadata.znodes.admin import (
    DeleteTopicsTopicZNode,
    DeleteTopicsZNode,
    FeatureZNode,
    PreferredReplicaElectionZNode,
    ProducerIdBlockZNode,
    ReassignPartitionsZNode,
)
from pybroker.metadata.znodes.brokers import (
    BrokerIdsZNode,
    BrokerIdZNode,
    BrokerSequenceZNode,
    ClusterIdZNode,
    FeatureRange,
    new_cluster_id,
)
from pybroker.metadata.znodes.configs import (
    DEFAULT_ENTITY,
    ConfigChangeZNode,
    ConfigEntityZNode,
    ConfigType,
    ConfigTypeZNode,
)
from pybroker.metadata.znodes.controller import (
    ControllerEpochZNode,
    ControllerZNode,
    IsrChangeNotificationZNode,
    LogDirEventNotificationZNode,
)
from pybroker.metadata.znodes.text import MalformedZnode, desanitize, sanitize
from pybroker.metadata.znodes.topics import (
    RECOVERED,
    RECOVERING,
    LeaderAndIsr,
    PartitionStateZNode,
    ReplicaAssignment,
    TopicPartitionsZNode,
    TopicPartitionZNode,
    TopicsZNode,
    TopicZNode,
)

PERSISTENT_PATHS = (
    "/consumers",
    BrokerIdsZNode.path,
    TopicsZNode.path,
    ConfigChangeZNode.parent,
    DeleteTopicsZNode.path,
    BrokerSequenceZNode.path,
    IsrChangeNotificationZNode.path,
    ProducerIdBlockZNode.path,
    LogDirEventNotificationZNode.path,
    *(ConfigTypeZNode.path(config_type) for config_type in ConfigType if config_type is not ConfigType.GROUP),
)
"""What every broker creates at start, if it is missing, with all that is above. Kafka 3.9 knows no groups'
configurations in ZooKeeper: who writes the first one makes their parent."""

__all__ = [
    "DEFAULT_ENTITY",
    "PERSISTENT_PATHS",
    "RECOVERED",
    "RECOVERING",
    "BrokerIdZNode",
    "BrokerIdsZNode",
    "BrokerSequenceZNode",
    "ClusterIdZNode",
    "ConfigChangeZNode",
    "ConfigEntityZNode",
    "ConfigType",
    "ConfigTypeZNode",
    "ControllerEpochZNode",
    "ControllerZNode",
    "DeleteTopicsTopicZNode",
    "DeleteTopicsZNode",
    "FeatureRange",
    "FeatureZNode",
    "IsrChangeNotificationZNode",
    "LeaderAndIsr",
    "LogDirEventNotificationZNode",
    "MalformedZnode",
    "PartitionStateZNode",
    "PreferredReplicaElectionZNode",
    "ProducerIdBlockZNode",
    "ReassignPartitionsZNode",
    "ReplicaAssignment",
    "TopicPartitionZNode",
    "TopicPartitionsZNode",
    "TopicZNode",
    "TopicsZNode",
    "desanitize",
    "new_cluster_id",
    "sanitize",
]
