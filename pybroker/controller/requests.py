"""Gathers what one state change has to tell, and makes requests of each kind per broker of it.

Order of sending to a broker: LeaderAndIsr, UpdateMetadata, StopReplica.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import TypeAlias, TypeVar

from pybroker.controller.channels import ControlRequest
from pybroker.controller.context import LEADER_EPOCH_DURING_DELETE, ControllerContext
from pybroker.metadata.publisher import LEADER_DURING_DELETE
from pybroker.metadata.znodes import PartitionStateZNode, ReplicaAssignment
from pybroker.model.ids import BrokerId, TopicPartition
from pybroker.model.values import Value
from pybroker.protocol import messages

_LeaderAndIsrState: TypeAlias = "messages.LeaderAndIsrRequest.LeaderAndIsrPartitionState"
_UpdateMetadataState: TypeAlias = "messages.UpdateMetadataRequest.UpdateMetadataPartitionState"
_StopReplicaState: TypeAlias = "messages.StopReplicaRequest.StopReplicaPartitionState"
_State = TypeVar("_State")

PARTITIONS_PER_REQUEST = 500
"""Larger news go in several requests: a receiver takes each over in one stretch on its trio thread."""


class Sender(Value):
    """Who speaks: the controller's broker id, and the listener on which brokers reach each other."""

    controller_id: BrokerId
    inter_broker_listener: str


class RequestBatch:
    """Filled by the state machines, emptied by :meth:`requests`."""

    def __init__(self, context: ControllerContext, sender: Sender) -> None:
        self._context = context
        self._sender = sender
        self._leader_and_isr: dict[BrokerId, dict[TopicPartition, _LeaderAndIsrState]] = {}
        self._stop_replica: dict[BrokerId, dict[TopicPartition, _StopReplicaState]] = {}
        self._metadata_receivers: set[BrokerId] = set()
        self._metadata: dict[TopicPartition, _UpdateMetadataState] = {}

    def add_leader_and_isr(
        self,
        broker_ids: Iterable[BrokerId],
        partition: TopicPartition,
        leadership: PartitionStateZNode,
        *,
        is_new: bool,
    ) -> None:
        """Tells brokers to lead or to follow, and everybody who leads."""
        assignment = self._context.assignment_of(partition)
        told = _leader_and_isr_state(partition, leadership, assignment, is_new=is_new)
        for broker_id in broker_ids:
            if broker_id < 0:
                continue
            states = self._leader_and_isr.setdefault(broker_id, {})
            earlier = states.get(partition)
            if earlier is not None and earlier.is_new and not is_new:
                states[partition] = _leader_and_isr_state(partition, leadership, assignment, is_new=True)
            else:
                states[partition] = told
        self.add_metadata(self._context.brokers, [partition])

    def add_stop_replica(self, broker_id: BrokerId, partition: TopicPartition, *, delete: bool) -> None:
        """Tells a broker to stop a replica, and whether to delete it."""
        states = self._stop_replica.setdefault(broker_id, {})
        earlier = states.get(partition)
        states[partition] = messages.StopReplicaRequest.StopReplicaPartitionState(
            partition_index=partition.partition,
            leader_epoch=self._context.leader_epoch_for_stop(partition),
            delete_partition=delete or (earlier is not None and earlier.delete_partition),
        )

    def add_metadata(self, broker_ids: Iterable[BrokerId], partitions: Iterable[TopicPartition] = ()) -> None:
        """Tells brokers who lives and who leads. Partitions that never had a leader are left out."""
        self._metadata_receivers.update(broker_ids)
        context = self._context
        for partition in partitions:
            leadership = context.leaderships.get(partition)
            if leadership is None:
                continue
            state = leadership.state
            is_deleted = partition.topic in context.to_delete
            replicas = context.replicas_of(partition)
            self._metadata[partition] = messages.UpdateMetadataRequest.UpdateMetadataPartitionState(
                partition_index=partition.partition,
                controller_epoch=leadership.controller_epoch,
                leader=LEADER_DURING_DELETE if is_deleted else state.leader,
                leader_epoch=LEADER_EPOCH_DURING_DELETE if is_deleted else state.leader_epoch,
                isr=list(state.isr),
                zk_version=state.partition_epoch,
                replicas=list(replicas),
                offline_replicas=[r for r in replicas if not context.is_online(r, partition)],
            )

    def requests(self) -> Iterator[tuple[BrokerId, ControlRequest]]:
        """What to send, in order; the batch is empty afterwards. Brokers that are gone get nothing."""
        made = [*self._leader_and_isr_requests(), *self._metadata_requests(), *self._stop_replica_requests()]
        self._leader_and_isr.clear()
        self._stop_replica.clear()
        self._metadata_receivers.clear()
        self._metadata.clear()
        return iter(made)

    def _leader_and_isr_requests(self) -> Iterator[tuple[BrokerId, ControlRequest]]:
        for broker_id, topics in self._pieces(self._leader_and_isr):
            leaders = {state.leader for states in topics.values() for state in states}
            yield (
                broker_id,
                messages.LeaderAndIsrRequest(
                    controller_id=self._sender.controller_id,
                    controller_epoch=self._context.epoch,
                    broker_epoch=self._context.broker_epochs[broker_id],
                    topic_states=[
                        messages.LeaderAndIsrRequest.LeaderAndIsrTopicState(
                            topic_name=topic,
                            topic_id=self._context.topic_id(topic),
                            partition_states=partition_states,
                        )
                        for topic, partition_states in topics.items()
                    ],
                    live_leaders=list(self._live_leaders(leaders)),
                ),
            )

    def _live_leaders(
        self, leaders: set[BrokerId]
    ) -> Iterator[messages.LeaderAndIsrRequest.LeaderAndIsrLiveLeader]:
        for broker_id in sorted(leaders & self._context.brokers.keys()):
            for endpoint in self._context.brokers[broker_id].endpoints:
                if endpoint.listener == self._sender.inter_broker_listener:
                    yield messages.LeaderAndIsrRequest.LeaderAndIsrLiveLeader(
                        broker_id=broker_id, host_name=endpoint.host, port=endpoint.port
                    )

    def _metadata_requests(self) -> Iterator[tuple[BrokerId, ControlRequest]]:
        receivers = sorted(self._metadata_receivers & self._context.brokers.keys())
        if not receivers:
            return
        pieces = [
            [
                messages.UpdateMetadataRequest.UpdateMetadataTopicState(
                    topic_name=topic, topic_id=self._context.topic_id(topic), partition_states=states
                )
                for topic, states in topics.items()
            ]
            for topics in _by_topic(self._metadata)
        ] or [[]]
        live_brokers = [
            messages.UpdateMetadataRequest.UpdateMetadataBroker(
                id=broker.broker_id,
                endpoints=[
                    messages.UpdateMetadataRequest.UpdateMetadataEndpoint(
                        port=endpoint.port,
                        host=endpoint.host,
                        listener=endpoint.listener,
                        security_protocol=int(endpoint.security_protocol),
                    )
                    for endpoint in broker.endpoints
                ],
                rack=broker.rack,
            )
            for broker in self._context.brokers.values()
        ]
        for broker_id in receivers:
            for topic_states in pieces:
                yield (
                    broker_id,
                    messages.UpdateMetadataRequest(
                        controller_id=self._sender.controller_id,
                        controller_epoch=self._context.epoch,
                        broker_epoch=self._context.broker_epochs[broker_id],
                        topic_states=topic_states,
                        live_brokers=live_brokers,
                    ),
                )

    def _pieces(
        self, by_broker: Mapping[BrokerId, Mapping[TopicPartition, _State]]
    ) -> Iterator[tuple[BrokerId, dict[str, list[_State]]]]:
        for broker_id, states in by_broker.items():
            if broker_id in self._context.brokers:
                for topics in _by_topic(states):
                    yield broker_id, topics

    def _stop_replica_requests(self) -> Iterator[tuple[BrokerId, ControlRequest]]:
        for broker_id, topics in self._pieces(self._stop_replica):
            yield (
                broker_id,
                messages.StopReplicaRequest(
                    controller_id=self._sender.controller_id,
                    controller_epoch=self._context.epoch,
                    broker_epoch=self._context.broker_epochs[broker_id],
                    topic_states=[
                        messages.StopReplicaRequest.StopReplicaTopicState(
                            topic_name=topic, partition_states=partition_states
                        )
                        for topic, partition_states in topics.items()
                    ],
                ),
            )


def _leader_and_isr_state(
    partition: TopicPartition, leadership: PartitionStateZNode, assignment: ReplicaAssignment, *, is_new: bool
) -> _LeaderAndIsrState:
    state = leadership.state
    return messages.LeaderAndIsrRequest.LeaderAndIsrPartitionState(
        partition_index=partition.partition,
        controller_epoch=leadership.controller_epoch,
        leader=state.leader,
        leader_epoch=state.leader_epoch,
        isr=list(state.isr),
        partition_epoch=state.partition_epoch,
        replicas=list(assignment.replicas),
        adding_replicas=list(assignment.adding),
        removing_replicas=list(assignment.removing),
        is_new=is_new,
        leader_recovery_state=state.recovery_state,
    )


def _by_topic(states: Mapping[TopicPartition, _State]) -> Iterator[dict[str, list[_State]]]:
    """States grouped by topic, in pieces that no receiver works on for long."""
    entries = iter(states.items())
    while piece := list(islice(entries, PARTITIONS_PER_REQUEST)):
        topics: dict[str, list[_State]] = {}
        for partition, state in piece:
            topics.setdefault(partition.topic, []).append(state)
        yield topics
