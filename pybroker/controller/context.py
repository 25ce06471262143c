"""What the active controller knows. Its one writer is the controller's event loop; nothing here awaits."""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from pybroker.controller.states import PartitionState, ReplicaState
from pybroker.metadata.znodes import BrokerIdZNode, PartitionStateZNode, ReplicaAssignment, TopicZNode
from pybroker.model.ids import ZERO_TOPIC_ID, BrokerEpoch, BrokerId, ControllerEpoch, TopicId, TopicPartition

LEADER_EPOCH_DURING_DELETE = -2
NO_EPOCH = -1
_UNASSIGNED = ReplicaAssignment(())


class Replica(NamedTuple):
    """One copy of one partition."""

    partition: TopicPartition
    broker_id: BrokerId


class ControllerContext:
    """Brokers, assignments, leaderships and states, as one controller epoch sees them."""

    def __init__(self, epoch: ControllerEpoch = 0, epoch_version: int = -1) -> None:
        self.epoch = epoch
        self.epoch_version = epoch_version
        self.brokers: dict[BrokerId, BrokerIdZNode] = {}
        self.broker_epochs: dict[BrokerId, BrokerEpoch] = {}
        self.shutting_down: set[BrokerId] = set()
        self.offline_dirs: dict[BrokerId, set[TopicPartition]] = {}
        self.finalized_features: Mapping[str, int] = {}
        self.topic_ids: dict[str, TopicId] = {}
        self.topic_names: dict[TopicId, str] = {}
        self.assignments: dict[str, dict[int, ReplicaAssignment]] = {}
        self.leaderships: dict[TopicPartition, PartitionStateZNode] = {}
        self.partition_states: dict[TopicPartition, PartitionState] = {}
        self.replica_states: dict[TopicPartition, dict[BrokerId, ReplicaState]] = {}
        self.to_delete: set[str] = set()
        self.deletion_started: set[str] = set()
        self.deletion_ineligible: set[str] = set()

    # -- brokers

    def set_broker(self, broker: BrokerIdZNode, epoch: BrokerEpoch) -> None:
        """A broker came or said something new of itself."""
        self.brokers[broker.broker_id] = broker
        self.broker_epochs[broker.broker_id] = epoch

    def remove_broker(self, broker_id: BrokerId) -> None:
        """A broker is gone."""
        self.brokers.pop(broker_id, None)
        self.broker_epochs.pop(broker_id, None)

    @property
    def live(self) -> set[BrokerId]:
        """Brokers that may lead: registered and not about to stop."""
        return self.brokers.keys() - self.shutting_down

    def is_online(self, broker_id: BrokerId, partition: TopicPartition, *, or_stopping: bool = False) -> bool:
        """Whether a broker lives and its disk for the partition does. ``or_stopping`` counts those that are
        shutting down as living."""
        if broker_id not in self.brokers or (broker_id in self.shutting_down and not or_stopping):
            return False
        return partition not in self.offline_dirs.get(broker_id, ())

    def online_replicas(
        self, partition: TopicPartition, *, or_stopping: bool = False
    ) -> tuple[BrokerId, ...]:
        """The assigned replicas that are online, in assignment order."""
        return tuple(
            replica
            for replica in self.replicas_of(partition)
            if self.is_online(replica, partition, or_stopping=or_stopping)
        )

    # -- topics

    def set_topic(self, topic: str, node: TopicZNode) -> None:
        """A topic came or its assignment changed."""
        self.assignments[topic] = dict(node.partitions)
        if node.topic_id is not None:
            self.topic_ids[topic] = node.topic_id
            self.topic_names[node.topic_id] = topic

    def remove_topic(self, topic: str) -> None:
        """A topic is gone, with all that was known of it."""
        for partition in self.partitions_of(topic):
            self.leaderships.pop(partition, None)
            self.partition_states.pop(partition, None)
            self.replica_states.pop(partition, None)
            for offline in self.offline_dirs.values():
                offline.discard(partition)
        self.assignments.pop(topic, None)
        self.topic_names.pop(self.topic_ids.pop(topic, ZERO_TOPIC_ID), None)
        self.to_delete.discard(topic)
        self.deletion_started.discard(topic)
        self.deletion_ineligible.discard(topic)

    def topic_id(self, topic: str) -> TopicId:
        """The id, zeros for a topic that has none."""
        return self.topic_ids.get(topic, ZERO_TOPIC_ID)

    def partitions_of(self, topic: str) -> list[TopicPartition]:
        """The partitions of a topic by index."""
        return [TopicPartition(topic, index) for index in self.assignments.get(topic, ())]

    def all_partitions(self) -> list[TopicPartition]:
        """All partitions of all topics."""
        return [TopicPartition(topic, index) for topic, parts in self.assignments.items() for index in parts]

    def assignment_of(self, partition: TopicPartition) -> ReplicaAssignment:
        """The assignment; an empty one for a partition that is not known."""
        return self.assignments.get(partition.topic, {}).get(partition.partition, _UNASSIGNED)

    def replicas_of(self, partition: TopicPartition) -> tuple[BrokerId, ...]:
        """The assigned replicas, the preferred leader first."""
        return self.assignment_of(partition).replicas

    def set_assignment(self, partition: TopicPartition, assignment: ReplicaAssignment) -> None:
        """Changes the assignment in memory."""
        self.assignments.setdefault(partition.topic, {})[partition.partition] = assignment

    def replicas_of_topic(self, topic: str) -> list[Replica]:
        """All replicas of a topic."""
        return self.replicas_of_partitions(self.partitions_of(topic))

    def replicas_of_partitions(self, partitions: Iterable[TopicPartition]) -> list[Replica]:
        """All replicas of some partitions."""
        return [
            Replica(partition, broker) for partition in partitions for broker in self.replicas_of(partition)
        ]

    def replicas_on(self, broker_ids: Iterable[BrokerId]) -> list[Replica]:
        """All replicas on some brokers."""
        wanted = set(broker_ids)
        return [
            Replica(TopicPartition(topic, index), broker)
            for topic, partitions in self.assignments.items()
            for index, assignment in partitions.items()
            for broker in assignment.replicas
            if broker in wanted
        ]

    # -- leadership

    def partitions_with_leader(self) -> list[TopicPartition]:
        """Partitions that have had a leader and are not being deleted."""
        return [partition for partition in self.leaderships if partition.topic not in self.to_delete]

    def partitions_with_offline_leader(self) -> list[TopicPartition]:
        """Partitions whose leader is not online, without those being deleted."""
        return [
            partition
            for partition, leadership in self.leaderships.items()
            if not self.is_online(leadership.state.leader, partition)
            and partition.topic not in self.to_delete
        ]

    def leader_epoch_for_stop(self, partition: TopicPartition) -> int:
        """The epoch a StopReplica carries: -2 for a topic being deleted, -1 while no leader was elected."""
        if partition.topic in self.to_delete:
            return LEADER_EPOCH_DURING_DELETE
        leadership = self.leaderships.get(partition)
        return NO_EPOCH if leadership is None else leadership.state.leader_epoch

    # -- states

    def partition_state(self, partition: TopicPartition) -> PartitionState:
        """The state of a partition."""
        return self.partition_states.get(partition, PartitionState.NON_EXISTENT)

    def partitions_in(self, states: set[PartitionState], topic: str | None = None) -> list[TopicPartition]:
        """Partitions in one of the states, of one topic or of all."""
        if topic is not None:
            return [p for p in self.partitions_of(topic) if self.partition_state(p) in states]
        return [partition for partition, state in self.partition_states.items() if state in states]

    def replica_state(self, replica: Replica) -> ReplicaState:
        """The state of a replica."""
        return self.replica_states.get(replica.partition, {}).get(
            replica.broker_id, ReplicaState.NON_EXISTENT
        )

    def set_replica_state(self, replica: Replica, state: ReplicaState) -> None:
        """Moves a replica; NON_EXISTENT forgets it."""
        if state is ReplicaState.NON_EXISTENT:
            self.replica_states.get(replica.partition, {}).pop(replica.broker_id, None)
        else:
            self.replica_states.setdefault(replica.partition, {})[replica.broker_id] = state

    def replicas_in(self, topic: str, state: ReplicaState) -> list[Replica]:
        """The replicas of a topic that are in a state."""
        return [replica for replica in self.replicas_of_topic(topic) if self.replica_state(replica) is state]

    def partitions_being_reassigned(self) -> Mapping[TopicPartition, ReplicaAssignment]:
        """Partitions with adding or removing replicas."""
        return {
            TopicPartition(topic, index): assignment
            for topic, partitions in self.assignments.items()
            for index, assignment in partitions.items()
            if assignment.is_being_reassigned
        }
