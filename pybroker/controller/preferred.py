"""Gives leadership back to the preferred replicas: when asked, and by itself when brokers lead unevenly."""

from collections.abc import Iterable, Mapping

from pybroker.controller.election import Strategy
from pybroker.controller.partition_machine import Outcome
from pybroker.controller.term import Term
from pybroker.metadata.store import Delete, MultiFailed, NoNode
from pybroker.metadata.znodes import PreferredReplicaElectionZNode
from pybroker.model.ids import BrokerId, TopicPartition


async def on_wish(term: Term) -> None:
    """Elects what /admin/preferred_replica_election names, and removes the node."""
    path = PreferredReplicaElectionZNode.path
    if await term.store.exists(path, term.watcher(on_wish)) is None:
        return
    try:
        data, _ = await term.store.get(path)
    except NoNode:
        return
    await elect(term, PreferredReplicaElectionZNode.decode(data))
    try:
        await term.fenced.multi([Delete(path)])
    except MultiFailed as refused:
        if not isinstance(refused.error, NoNode):
            raise


async def elect(term: Term, partitions: Iterable[TopicPartition]) -> Mapping[TopicPartition, Outcome]:
    """Moves leadership to the preferred replicas where they do not lead yet and can."""
    return await term.partitions.online(
        [partition for partition in partitions if _can_move(term, partition)], Strategy.PREFERRED
    )


async def rebalance(term: Term) -> None:
    """Elects the preferred leaders of brokers that have lost more than the allowed share of theirs."""
    allowed = term.config.leader_imbalance_per_broker_percentage
    for mine in _by_preferred_leader(term).values():
        away = [partition for partition in mine if not _leads_preferred(term, partition)]
        if len(away) * 100 > allowed * len(mine):
            await elect(term, [p for p in away if not term.context.assignment_of(p).is_being_reassigned])


def _by_preferred_leader(term: Term) -> dict[BrokerId, list[TopicPartition]]:
    context = term.context
    by_leader: dict[BrokerId, list[TopicPartition]] = {}
    for partition in context.all_partitions():
        replicas = context.replicas_of(partition)
        if replicas and partition.topic not in context.to_delete:
            by_leader.setdefault(replicas[0], []).append(partition)
    return by_leader


def _leads_preferred(term: Term, partition: TopicPartition) -> bool:
    leadership = term.context.leaderships.get(partition)
    replicas = term.context.replicas_of(partition)
    return leadership is not None and leadership.state.leader == replicas[0]


def _can_move(term: Term, partition: TopicPartition) -> bool:
    context = term.context
    leadership = context.leaderships.get(partition)
    replicas = context.replicas_of(partition)
    if leadership is None or not replicas or partition.topic in context.to_delete:
        return False
    return (
        leadership.state.leader != replicas[0]
        and replicas[0] in leadership.state.isr
        and context.is_online(replicas[0], partition)
    )
