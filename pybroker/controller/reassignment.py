"""Moves partitions to other brokers (KIP-455). Source: Kafka 3.9 ``onPartitionReassignment``.

The wish is first written into the topic's node: all replicas, old and new, with what is added and what is
removed. New replicas then catch up; once all that stay are in sync, the leader moves if it must, the others
leave the ISR and are deleted, and the node gets the final replicas last, so that a new controller can go on.
"""

import logging
from collections.abc import Collection, Iterable, Mapping, Sequence

from msgspec.structs import replace

from pybroker.controller.context import Replica
from pybroker.controller.election import Strategy
from pybroker.controller.states import ReplicaState
from pybroker.controller.term import Term
from pybroker.metadata.store import BadVersion, Delete, MultiFailed, NoNode, Op, SetData
from pybroker.metadata.znodes import (
    MalformedZnode,
    PartitionStateZNode,
    ReassignPartitionsZNode,
    ReplicaAssignment,
    TopicZNode,
)
from pybroker.model.errors import ApiError, ErrorCode
from pybroker.model.ids import BrokerId, TopicPartition

log = logging.getLogger(__name__)


def reassign_to(current: ReplicaAssignment, target: Sequence[BrokerId]) -> ReplicaAssignment:
    """The assignment while replicas move to ``target``; one that runs already is replaced."""
    origin = current.origin
    replicas = tuple(dict.fromkeys((*target, *origin)))
    return ReplicaAssignment(
        replicas,
        adding=tuple(replica for replica in replicas if replica not in origin),
        removing=tuple(replica for replica in replicas if replica not in target),
    )


async def alter(
    term: Term, wishes: Mapping[TopicPartition, Sequence[BrokerId] | None]
) -> dict[TopicPartition, ApiError | None]:
    """Starts reassignments; None as target takes a running one back.

    Returns:
        None for each that was started, or why it was not.

    Raises:
        ControllerMoved: somebody else is the controller.
    """
    outcomes: dict[TopicPartition, ApiError | None] = {}
    for partition, target in wishes.items():
        current = term.context.assignment_of(partition)
        try:
            if target is None:
                if not current.is_being_reassigned:
                    raise ApiError(ErrorCode.NO_REASSIGNMENT_IN_PROGRESS)
                target = current.origin
            else:
                _check_target(current, target, term.context.live)
            await _start(term, partition, reassign_to(current, target))
        except ApiError as error:
            outcomes[partition] = error
        else:
            outcomes[partition] = None
    await _forget_wishes(term, [partition for partition, error in outcomes.items() if error is None])
    return outcomes


def running(
    term: Term, partitions: Iterable[TopicPartition] | None = None
) -> dict[TopicPartition, ReplicaAssignment]:
    """The reassignments that are under way, of some partitions or of all."""
    under_way = term.context.partitions_being_reassigned()
    if partitions is None:
        return dict(under_way)
    return {partition: under_way[partition] for partition in partitions if partition in under_way}


async def on_wish(term: Term) -> None:
    """Starts what /admin/reassign_partitions names; an entry is removed when it is done or impossible."""
    path = ReassignPartitionsZNode.path
    if await term.store.exists(path, term.watcher(on_wish)) is None:
        return
    try:
        wishes = ReassignPartitionsZNode.decode((await term.store.get(path))[0])
    except NoNode:
        return
    except MalformedZnode as error:
        log.error("reassignments are ignored: %s", error)
        return
    impossible: list[TopicPartition] = []
    for partition, target in wishes.items():
        try:
            await _start(term, partition, reassign_to(term.context.assignment_of(partition), target))
        except ApiError as error:
            log.warning("partition %s is not reassigned: %s", partition, error)
            impossible.append(partition)
    await _forget_wishes(term, impossible)


async def resume_on(term: Term, broker_ids: Collection[BrokerId]) -> None:
    """Goes on with reassignments whose target brokers came up."""
    for partition, assignment in term.context.partitions_being_reassigned().items():
        if any(replica in broker_ids for replica in assignment.target):
            await _proceed(term, partition, assignment)


async def resume_all(term: Term) -> None:
    """Goes on with all reassignments after a failover, and looks for wishes of old tools."""
    for partition, assignment in term.context.partitions_being_reassigned().items():
        await _proceed(term, partition, assignment)
    await on_wish(term)


async def maybe_complete(term: Term, partition: TopicPartition) -> None:
    """The ISR changed: finishes the reassignment if all that stay are in sync."""
    assignment = term.context.assignment_of(partition)
    if assignment.is_being_reassigned and await _is_complete(term, partition, assignment):
        await _proceed(term, partition, assignment)


async def _start(term: Term, partition: TopicPartition, assignment: ReplicaAssignment) -> None:
    if not term.context.replicas_of(partition) or partition.topic in term.context.to_delete:
        raise ApiError(ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, "The partition does not exist.")
    if partition in term.context.leaderships:
        await _proceed(term, partition, assignment)
    else:
        await _replace(term, partition, ReplicaAssignment(assignment.target))


async def _replace(term: Term, partition: TopicPartition, assignment: ReplicaAssignment) -> None:
    """A partition that never had a leader has no data to move: it simply begins elsewhere."""
    context = term.context
    before = context.replicas_of(partition)
    await _write_assignment(term, partition, assignment)
    context.set_assignment(partition, assignment)
    for broker_id in before:
        if broker_id not in assignment.replicas:
            context.set_replica_state(Replica(partition, broker_id), ReplicaState.NON_EXISTENT)
    added = [Replica(partition, broker_id) for broker_id in assignment.replicas if broker_id not in before]
    term.replicas.new(added)
    await term.partitions.online([partition], Strategy.OFFLINE)
    await term.replicas.online(added)


async def _proceed(term: Term, partition: TopicPartition, assignment: ReplicaAssignment) -> None:
    term.deletion.park([partition.topic], "a reassignment is running")
    await _note(term, partition, assignment)
    if not await _is_complete(term, partition, assignment):
        await _bump_epoch(term, partition, assignment.replicas)
        term.replicas.new(
            replica
            for replica in (Replica(partition, broker_id) for broker_id in assignment.adding)
            if term.context.replica_state(replica) is ReplicaState.NON_EXISTENT
        )
        return
    context = term.context
    log.info("partition %s has moved to %s", partition, assignment.target)
    await term.replicas.online(Replica(partition, broker_id) for broker_id in assignment.adding)
    final = ReplicaAssignment(assignment.target)
    context.set_assignment(partition, final)
    leader = context.leaderships[partition].state.leader
    if leader in final.replicas and context.is_online(leader, partition):
        await _bump_epoch(term, partition, final.replicas)
    else:
        await term.partitions.online([partition], Strategy.REASSIGNMENT)
    await _remove_replicas(term, partition, assignment.removing)
    await _write_assignment(term, partition, final)
    await _forget_wishes(term, [partition])
    term.tell(context.brokers, [partition])
    await term.deletion.unpark([partition.topic])


async def _note(term: Term, partition: TopicPartition, assignment: ReplicaAssignment) -> None:
    """Writes the assignment down; what an earlier wish added and this one does not need is removed."""
    current = term.context.assignment_of(partition)
    if current == assignment:
        return
    await _write_assignment(term, partition, assignment)
    term.context.set_assignment(partition, assignment)
    unneeded = [replica for replica in current.replicas if replica not in assignment.replicas]
    await _remove_replicas(term, partition, unneeded)


async def _is_complete(term: Term, partition: TopicPartition, assignment: ReplicaAssignment) -> bool:
    if not assignment.is_being_reassigned:
        return True
    node = (await term.partition_store.read([partition])).get(partition)
    return node is not None and set(assignment.target) <= set(node.state.isr)


async def _bump_epoch(term: Term, partition: TopicPartition, receivers: Iterable[BrokerId]) -> None:
    """Raises the leader epoch and tells the replicas, so that none goes on with the old assignment."""
    while True:
        node = (await term.partition_store.read([partition])).get(partition)
        if node is None:
            return
        state = node.state.next(node.state.leader, node.state.isr)
        updates = await term.partition_store.update({partition: state})
        if partition in updates.failed:
            raise updates.failed[partition]
        if partition in updates.done:
            break
    leadership = PartitionStateZNode(updates.done[partition], term.context.epoch)
    term.context.leaderships[partition] = leadership
    term.batch.add_leader_and_isr(receivers, partition, leadership, is_new=False)
    term.flush()


async def _remove_replicas(term: Term, partition: TopicPartition, broker_ids: Iterable[BrokerId]) -> None:
    replicas = [Replica(partition, broker_id) for broker_id in broker_ids]
    await term.replicas.offline(replicas)
    term.replicas.deletion_started(replicas)
    term.replicas.deletion_successful(replicas)
    term.replicas.non_existent(replicas)


async def _write_assignment(term: Term, partition: TopicPartition, assignment: ReplicaAssignment) -> None:
    path = TopicZNode.path(partition.topic)
    while True:
        data, stat = await term.store.get(path)
        node = TopicZNode.decode(partition.topic, data)
        changed = replace(node, partitions={**node.partitions, partition.partition: assignment})
        try:
            await term.fenced.multi([SetData(path, changed.encode(), stat.version)])
        except MultiFailed as refused:
            if not isinstance(refused.error, BadVersion):
                raise
        else:
            return


async def _forget_wishes(term: Term, partitions: Collection[TopicPartition]) -> None:
    """Removes entries from /admin/reassign_partitions, and the node when none is left."""
    path = ReassignPartitionsZNode.path
    while partitions:
        try:
            data, stat = await term.store.get(path)
        except NoNode:
            return
        try:
            wishes = ReassignPartitionsZNode.decode(data)
        except MalformedZnode:
            return
        left = {partition: target for partition, target in wishes.items() if partition not in partitions}
        if left == wishes:
            return
        op: Op = Delete(path, stat.version)
        if left:
            op = SetData(path, ReassignPartitionsZNode.encode(left), stat.version)
        try:
            await term.fenced.multi([op])
        except MultiFailed as refused:
            if not isinstance(refused.error, BadVersion | NoNode):
                raise
        else:
            return


def _check_target(current: ReplicaAssignment, target: Sequence[BrokerId], live: set[BrokerId]) -> None:
    problem: str | None = None
    adding = [replica for replica in target if replica not in current.origin]
    if not target:
        problem = "Empty replica list specified in partition reassignment."
    elif len(set(target)) != len(target):
        problem = f"Duplicate replica ids in partition reassignment replica list: {_listed(target)}"
    elif min(target) < 0:
        problem = f"Invalid broker id in replica list: {_listed(target)}"
    elif not live.issuperset(adding):
        problem = (
            "Replica assignment has brokers that are not alive. Replica list: "
            f"{_listed(adding)}, live broker list: {_listed(sorted(live), 'Set')}"
        )
    if problem is not None:
        raise ApiError(ErrorCode.INVALID_REPLICA_ASSIGNMENT, problem)


def _listed(brokers: Iterable[BrokerId], kind: str = "ArrayBuffer") -> str:
    return f"{kind}({', '.join(map(str, brokers))})"
