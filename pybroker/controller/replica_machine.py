"""Moves replicas between their states: tells brokers to serve, stop or delete them, and shrinks the ISR."""

import logging
from collections.abc import Callable, Iterable
from itertools import islice

import trio
from msgspec.structs import replace

from pybroker.controller import election
from pybroker.controller.context import ControllerContext, Replica
from pybroker.controller.partition_store import PartitionStore
from pybroker.controller.requests import RequestBatch
from pybroker.controller.states import REPLICA_ENTERED_FROM, ReplicaState
from pybroker.metadata.znodes import LeaderAndIsr, PartitionStateZNode
from pybroker.model.ids import BrokerId, TopicPartition

log = logging.getLogger(__name__)

REPLICAS_PER_STRETCH = 200
"""How many are handled before the other tasks of the trio thread get their turn."""


class ReplicaMachine:
    """One writer of replica states; the event loop calls it."""

    def __init__(
        self,
        context: ControllerContext,
        partitions: PartitionStore,
        batch: RequestBatch,
        flush: Callable[[], None],
    ) -> None:
        self._context = context
        self._partitions = partitions
        self._batch = batch
        self._flush = flush

    async def start(self) -> None:
        """Takes the states from what was read at failover, and tells every live broker what it holds.

        A replica whose broker is away counts as not deletable now; that matters only if its topic goes.
        """
        context = self._context
        partitions = context.all_partitions()
        for start in range(0, len(partitions), REPLICAS_PER_STRETCH):
            replicas = context.replicas_of_partitions(partitions[start : start + REPLICAS_PER_STRETCH])
            online = [r for r in replicas if context.is_online(r.broker_id, r.partition)]
            for replica in replicas:
                context.set_replica_state(replica, ReplicaState.DELETION_INELIGIBLE)
            self._serve(online)
            await trio.lowlevel.checkpoint()
        self._flush()

    def new(self, replicas: Iterable[Replica]) -> None:
        """Replicas that were just assigned. The leader gets its own request at the election."""
        for replica in self._valid(replicas, ReplicaState.NEW):
            leadership = self._context.leaderships.get(replica.partition)
            if leadership is not None:
                if leadership.state.leader == replica.broker_id:
                    log.warning("replica %s cannot be new: it leads the partition", replica)
                    continue
                self._batch.add_leader_and_isr(
                    [replica.broker_id], replica.partition, leadership, is_new=True
                )
            self._context.set_replica_state(replica, ReplicaState.NEW)
        self._flush()

    async def online(self, replicas: Iterable[Replica]) -> None:
        """Replicas whose broker shall serve them."""
        remaining = iter(replicas)
        while piece := list(islice(remaining, REPLICAS_PER_STRETCH)):
            self._serve(piece)
            await trio.lowlevel.checkpoint()
        self._flush()

    async def offline(self, replicas: Iterable[Replica]) -> None:
        """Replicas that are gone or shall stop: they leave the ISR.

        Raises:
            ControllerMoved: somebody else is the controller.
        """
        valid = self._valid(replicas, ReplicaState.OFFLINE)
        by_broker: dict[BrokerId, list[Replica]] = {}
        for replica in valid:
            self._batch.add_stop_replica(replica.broker_id, replica.partition, delete=False)
            by_broker.setdefault(replica.broker_id, []).append(replica)
        for broker_id, its_replicas in by_broker.items():
            for start in range(0, len(its_replicas), REPLICAS_PER_STRETCH):
                await self._leave_isr(broker_id, its_replicas[start : start + REPLICAS_PER_STRETCH])
        self._flush()

    def deletion_started(self, replicas: Iterable[Replica]) -> None:
        """Replicas that their brokers shall delete."""
        for replica in self._valid(replicas, ReplicaState.DELETION_STARTED):
            self._context.set_replica_state(replica, ReplicaState.DELETION_STARTED)
            self._batch.add_stop_replica(replica.broker_id, replica.partition, delete=True)
        self._flush()

    def deletion_ineligible(self, replicas: Iterable[Replica]) -> None:
        """Replicas that cannot be deleted now."""
        for replica in self._valid(replicas, ReplicaState.DELETION_INELIGIBLE):
            self._context.set_replica_state(replica, ReplicaState.DELETION_INELIGIBLE)

    def deletion_successful(self, replicas: Iterable[Replica]) -> None:
        """Replicas that their brokers have deleted."""
        for replica in self._valid(replicas, ReplicaState.DELETION_SUCCESSFUL):
            self._context.set_replica_state(replica, ReplicaState.DELETION_SUCCESSFUL)

    def non_existent(self, replicas: Iterable[Replica]) -> None:
        """Deleted replicas to forget."""
        context = self._context
        for replica in self._valid(replicas, ReplicaState.NON_EXISTENT):
            assignment = context.assignment_of(replica.partition)
            context.set_assignment(
                replica.partition,
                replace(
                    assignment,
                    replicas=_without(assignment.replicas, replica.broker_id),
                    adding=_without(assignment.adding, replica.broker_id),
                    removing=_without(assignment.removing, replica.broker_id),
                ),
            )
            context.set_replica_state(replica, ReplicaState.NON_EXISTENT)

    def _serve(self, replicas: Iterable[Replica]) -> None:
        context = self._context
        told: dict[TopicPartition, list[BrokerId]] = {}
        for replica in self._valid(replicas, ReplicaState.ONLINE):
            if context.replica_state(replica) is ReplicaState.NEW:
                assignment = context.assignment_of(replica.partition)
                if replica.broker_id not in assignment.replicas:
                    grown = replace(assignment, replicas=(*assignment.replicas, replica.broker_id))
                    context.set_assignment(replica.partition, grown)
            else:
                told.setdefault(replica.partition, []).append(replica.broker_id)
            context.set_replica_state(replica, ReplicaState.ONLINE)
        for partition, broker_ids in told.items():
            leadership = context.leaderships.get(partition)
            if leadership is not None:
                self._batch.add_leader_and_isr(broker_ids, partition, leadership, is_new=False)

    async def _leave_isr(self, broker_id: BrokerId, replicas: list[Replica]) -> None:
        context = self._context
        led = [replica.partition for replica in replicas if replica.partition in context.leaderships]
        for partition, leadership in (await self._remove_from_isr(broker_id, led)).items():
            if partition.topic not in context.to_delete:
                others = [other for other in context.replicas_of(partition) if other != broker_id]
                self._batch.add_leader_and_isr(others, partition, leadership, is_new=False)
            context.set_replica_state(Replica(partition, broker_id), ReplicaState.OFFLINE)
        for replica in replicas:
            if replica.partition not in context.leaderships:
                self._batch.add_metadata(context.brokers, [replica.partition])
                context.set_replica_state(replica, ReplicaState.OFFLINE)

    async def _remove_from_isr(
        self, broker_id: BrokerId, partitions: list[TopicPartition]
    ) -> dict[TopicPartition, PartitionStateZNode]:
        """The leaderships afterwards, also of partitions that did not have the broker in their ISR."""
        context = self._context
        after: dict[TopicPartition, PartitionStateZNode] = {}
        remaining = partitions
        while remaining:
            read = await self._partitions.read(remaining)
            smaller: dict[TopicPartition, LeaderAndIsr] = {}
            for partition in remaining:
                node = read.get(partition)
                if node is None:
                    if partition.topic not in context.to_delete:
                        log.warning("partition %s: it has no state in the store", partition)
                elif node.controller_epoch > context.epoch:
                    log.warning("partition %s: controller %d wrote it", partition, node.controller_epoch)
                elif broker_id in node.state.isr:
                    smaller[partition] = election.without_replica(node.state, broker_id)
                else:
                    after[partition] = PartitionStateZNode(node.state, context.epoch)
            updates = await self._partitions.update(smaller)
            for partition, error in updates.failed.items():
                log.warning("partition %s: %r", partition, error)
            for partition, state in updates.done.items():
                after[partition] = PartitionStateZNode(state, context.epoch)
            remaining = updates.retry
        context.leaderships.update(after)
        return after

    def _valid(self, replicas: Iterable[Replica], target: ReplicaState) -> list[Replica]:
        valid: list[Replica] = []
        for replica in replicas:
            state = self._context.replica_state(replica)
            if state in REPLICA_ENTERED_FROM[target]:
                valid.append(replica)
            else:
                log.warning("replica %s: it is %s and cannot become %s", replica, state.name, target.name)
        return valid


def _without(brokers: tuple[BrokerId, ...], one: BrokerId) -> tuple[BrokerId, ...]:
    return tuple(broker for broker in brokers if broker != one)
