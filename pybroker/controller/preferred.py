"""Gives leadership back to the preferred replicas: when asked, and by itself when brokers lead unevenly."""

import logging
from collections.abc import Iterable, Mapping

from pybroker.controller.election import Strategy
from pybroker.controller.partition_machine import Outcome
from pybroker.controller.term import Term
from pybroker.metadata.store import Delete, MultiFailed, NoNode
from pybroker.metadata.znodes import MalformedZnode, PreferredReplicaElectionZNode
from pybroker.model.errors import ApiError, ErrorCode
from pybroker.model.ids import BrokerId, TopicPartition

log = logging.getLogger(__name__)


async def on_wish(term: Term) -> None:
    """Elects what /admin/preferred_replica_election names, and removes the node."""
    path = PreferredReplicaElectionZNode.path
    if await term.store.exists(path, term.watcher(on_wish)) is None:
        return
    try:
        data, _ = await term.store.get(path)
    except NoNode:
        return
    try:
        await elect(term, PreferredReplicaElectionZNode.decode(data))
    except MalformedZnode as error:
        log.error("a preferred election is ignored: %s", error)
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


async def elect_leaders(
    term: Term, partitions: Iterable[TopicPartition] | None, *, unclean: bool
) -> dict[TopicPartition, ApiError | None]:
    """ElectLeaders (KIP-183, KIP-460): None for each partition that got a leader, or why it did not.

    Args:
        term: the controller.
        partitions: which; None means all.
        unclean: whether a replica outside the ISR may lead where nobody leads, at the price of records;
            otherwise the preferred replica is elected.

    Raises:
        ControllerMoved: somebody else is the controller.
    """
    context = term.context
    outcomes: dict[TopicPartition, ApiError | None] = {}
    electable: list[TopicPartition] = []
    for partition in context.all_partitions() if partitions is None else partitions:
        leadership = context.leaderships.get(partition)
        if partition.topic in context.to_delete:
            error = ApiError(ErrorCode.INVALID_TOPIC_EXCEPTION, "The topic is being deleted")
        elif leadership is None:
            error = ApiError(ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, "The partition does not exist.")
        elif _needs_election(term, partition, leadership.state.leader, unclean=unclean):
            electable.append(partition)
            continue
        else:
            error = ApiError(ErrorCode.ELECTION_NOT_NEEDED)
        outcomes[partition] = error
    strategy = Strategy.UNCLEAN if unclean else Strategy.PREFERRED
    for partition, outcome in (await term.partitions.online(electable, strategy)).items():
        outcomes[partition] = None
        if outcome.state is None:
            outcomes[partition] = ApiError(
                ErrorCode.ELIGIBLE_LEADERS_NOT_AVAILABLE
                if unclean
                else ErrorCode.PREFERRED_LEADER_NOT_AVAILABLE,
                f"Failed to elect leader for partition {partition}: {outcome.problem}",
            )
    return outcomes


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


def _needs_election(term: Term, partition: TopicPartition, leader: BrokerId, *, unclean: bool) -> bool:
    if unclean:
        return leader not in term.context.live
    return leader != term.context.replicas_of(partition)[0]
