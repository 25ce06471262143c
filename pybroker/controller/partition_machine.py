"""Moves partitions between their states: elects leaders, writes them down, tells the brokers."""

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence

from pybroker.controller import election
from pybroker.controller.context import ControllerContext
from pybroker.controller.election import Strategy
from pybroker.controller.partition_store import PartitionStore, Updates
from pybroker.controller.requests import RequestBatch
from pybroker.controller.states import PARTITION_ENTERED_FROM, PartitionState
from pybroker.metadata.store import Store
from pybroker.metadata.znodes import ConfigEntityZNode, ConfigType, LeaderAndIsr, PartitionStateZNode
from pybroker.model.errors import ApiError, ErrorCode
from pybroker.model.ids import BrokerId, TopicPartition
from pybroker.model.values import Value

log = logging.getLogger(__name__)

PARTITIONS_PER_STRETCH = 200
"""How many are decided and written together, before the other tasks of the trio thread get their turn."""

UNCLEAN_KEY = "unclean.leader.election.enable"


class Outcome(Value):
    """Result of an election for one partition: the new state, or why there is none."""

    state: LeaderAndIsr | None = None
    problem: str | None = None


class PartitionMachine:
    """One writer of partition states and leaderships; the event loop calls it."""

    def __init__(
        self,
        context: ControllerContext,
        store: Store,
        partitions: PartitionStore,
        batch: RequestBatch,
        flush: Callable[[], None],
        unclean_by_default: Callable[[], bool],
    ) -> None:
        self._context = context
        self._store = store
        self._partitions = partitions
        self._batch = batch
        self._flush = flush
        self._unclean_by_default = unclean_by_default

    async def start(self) -> None:
        """Takes the states from what was read at failover and elects where a leader is missing."""
        context = self._context
        for partition in context.all_partitions():
            leadership = context.leaderships.get(partition)
            if leadership is None:
                state = PartitionState.NEW
            elif context.is_online(leadership.state.leader, partition):
                state = PartitionState.ONLINE
            else:
                state = PartitionState.OFFLINE
            context.partition_states[partition] = state
        await self.elect_where_missing()

    async def elect_where_missing(self, topic: str | None = None) -> dict[TopicPartition, Outcome]:
        """Tries to bring every new or offline partition online, except those being deleted."""
        waiting = self._context.partitions_in({PartitionState.NEW, PartitionState.OFFLINE}, topic)
        return await self.online(
            [partition for partition in waiting if partition.topic not in self._context.to_delete],
            Strategy.OFFLINE,
        )

    def new(self, partitions: Iterable[TopicPartition]) -> None:
        """Partitions that were just created."""
        for partition in self._valid(partitions, PartitionState.NEW):
            self._context.partition_states[partition] = PartitionState.NEW

    def offline(self, partitions: Iterable[TopicPartition]) -> None:
        """Partitions whose leader is gone, or whose topic is being deleted."""
        for partition in self._valid(partitions, PartitionState.OFFLINE):
            self._context.partition_states[partition] = PartitionState.OFFLINE

    def non_existent(self, partitions: Iterable[TopicPartition]) -> None:
        """Partitions whose topic is being deleted."""
        for partition in self._valid(partitions, PartitionState.NON_EXISTENT):
            self._context.partition_states[partition] = PartitionState.NON_EXISTENT

    async def online(
        self, partitions: Iterable[TopicPartition], strategy: Strategy
    ) -> dict[TopicPartition, Outcome]:
        """Gives partitions a leader: the first one of a new partition, else one by the strategy.

        Returns:
            The outcome of each election; new partitions are not among them.

        Raises:
            ControllerMoved: somebody else is the controller.
        """
        valid = self._valid(partitions, PartitionState.ONLINE)
        states = self._context.partition_states
        uninitialized = [partition for partition in valid if states[partition] is PartitionState.NEW]
        to_elect = [partition for partition in valid if states[partition] is not PartitionState.NEW]
        for piece in _pieces(uninitialized):
            await self._initialize(piece)
        outcomes: dict[TopicPartition, Outcome] = {}
        for piece in _pieces(to_elect):
            outcomes.update(await self._elect(piece, strategy))
        if valid:
            log.info("%d partitions were to get a leader (%s)", len(valid), strategy.name)
        self._flush()
        return outcomes

    async def dictate(
        self, partition: TopicPartition, leader: BrokerId | None = None, isr: Sequence[BrokerId] | None = None
    ) -> LeaderAndIsr:
        """Writes a state that no election asked for, with the next leader epoch, and tells the replicas: what
        is not given stays. For who wants to see what clients make of it.

        Raises:
            ApiError: UNKNOWN_TOPIC_OR_PARTITION; INELIGIBLE_REPLICA for a broker that does not run or has no
                replica; INVALID_UPDATE_VERSION when somebody else wrote meanwhile.
            ControllerMoved: somebody else is the controller.
        """
        node = (await self._partitions.read([partition])).get(partition)
        if node is None:
            raise ApiError(ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, f"there is no partition {partition}")
        state = node.state
        leader = state.leader if leader is None else leader
        members = tuple(state.isr if isr is None else isr)
        if leader not in members:
            members = (*members, leader)
        replicas = self._context.replicas_of(partition)
        for member in members:
            if member not in self._context.online_replicas(partition):
                text = f"broker {member} runs no replica of {partition}; its replicas are {list(replicas)}"
                raise ApiError(ErrorCode.INELIGIBLE_REPLICA, text)
        updates = await self._partitions.update({partition: state.next(leader, members)})
        if partition not in updates.done:
            raise ApiError(ErrorCode.INVALID_UPDATE_VERSION, f"the state of {partition} has just changed")
        after = updates.done[partition]
        self._leads(partition, after, replicas, is_new=False)
        self._flush()
        return after

    async def _initialize(self, partitions: Sequence[TopicPartition]) -> None:
        context = self._context
        first_states: dict[TopicPartition, LeaderAndIsr] = {}
        for partition in partitions:
            state = election.first_state(context.replicas_of(partition), context.online_replicas(partition))
            if state is None:
                self._failed(partition, "no assigned replica is alive")
            else:
                first_states[partition] = state
        topics_with_folder = {
            topic
            for topic in {partition.topic for partition in partitions}
            if any(sibling in context.leaderships for sibling in context.partitions_of(topic))
        }
        updates = await self._partitions.create(first_states, topics_with_folder)
        for partition, error in updates.failed.items():
            self._failed(partition, repr(error))
        for partition, state in updates.done.items():
            self._leads(partition, state, state.isr, is_new=True)

    async def _elect(
        self, partitions: Sequence[TopicPartition], strategy: Strategy
    ) -> dict[TopicPartition, Outcome]:
        outcomes: dict[TopicPartition, Outcome] = {}
        remaining = list(partitions)
        while remaining:
            remaining = await self._elect_round(remaining, strategy, outcomes)
        for partition, outcome in outcomes.items():
            if outcome.problem is not None:
                self._failed(partition, outcome.problem)
        return outcomes

    async def _elect_round(
        self,
        partitions: Sequence[TopicPartition],
        strategy: Strategy,
        outcomes: dict[TopicPartition, Outcome],
    ) -> list[TopicPartition]:
        """One try for each; returns those that lost a race against another writer of the state."""
        read = await self._partitions.read(partitions)
        current: dict[TopicPartition, LeaderAndIsr] = {}
        for partition in partitions:
            node = read.get(partition)
            if node is None:
                outcomes[partition] = Outcome(problem="it has no state in the store")
            elif node.controller_epoch > self._context.epoch:
                outcomes[partition] = Outcome(problem=f"controller {node.controller_epoch} wrote its state")
            else:
                current[partition] = node.state
        unclean = await self._unclean_topics(current, strategy)
        elected: dict[TopicPartition, LeaderAndIsr] = {}
        receivers: dict[TopicPartition, tuple[int, ...]] = {}
        for partition, state in current.items():
            after, receivers[partition] = self._choose(
                partition, state, strategy, unclean_allowed=partition.topic in unclean
            )
            if after is None:
                outcomes[partition] = Outcome(problem=f"no replica can lead it ({strategy.name})")
            else:
                elected[partition] = after
        updates: Updates = await self._partitions.update(elected)
        for partition, error in updates.failed.items():
            outcomes[partition] = Outcome(problem=repr(error))
        for partition, state in updates.done.items():
            outcomes[partition] = Outcome(state=state)
            self._leads(partition, state, receivers[partition], is_new=False)
        return updates.retry

    def _choose(
        self, partition: TopicPartition, state: LeaderAndIsr, strategy: Strategy, *, unclean_allowed: bool
    ) -> tuple[LeaderAndIsr | None, tuple[int, ...]]:
        """The state after an election, and which brokers are told of it."""
        context = self._context
        assignment = context.assignment_of(partition)
        live = context.online_replicas(partition)
        match strategy:
            case Strategy.OFFLINE | Strategy.UNCLEAN:
                after = election.offline(state, assignment.replicas, live, unclean_allowed=unclean_allowed)
                return after, live
            case Strategy.PREFERRED:
                return election.preferred(state, assignment.replicas, live), assignment.replicas
            case Strategy.REASSIGNMENT:
                return election.reassigned(state, assignment, live), assignment.target
            case Strategy.CONTROLLED_SHUTDOWN:
                or_stopping = context.online_replicas(partition, or_stopping=True)
                after = election.controlled_shutdown(
                    state, assignment.replicas, or_stopping, context.shutting_down
                )
                return after, or_stopping

    async def _unclean_topics(
        self, current: dict[TopicPartition, LeaderAndIsr], strategy: Strategy
    ) -> set[str]:
        """Topics that may lose records to get a leader; only asked for those that have no live ISR member."""
        if strategy is Strategy.UNCLEAN:
            return {partition.topic for partition in current}
        if strategy is not Strategy.OFFLINE:
            return set()
        hopeless = {
            partition.topic
            for partition, state in current.items()
            if not any(self._context.is_online(member, partition) for member in state.isr)
        }
        topics = sorted(hopeless)
        paths = [ConfigEntityZNode.path(ConfigType.TOPIC, topic) for topic in topics]
        default = "true" if self._unclean_by_default() else "false"
        allowed: set[str] = set()
        for topic, path, node in zip(topics, paths, await self._store.get_all(paths), strict=True):
            values = {} if node is None else ConfigEntityZNode.decode(path, node[0])
            if values.get(UNCLEAN_KEY, default).strip().lower() == "true":
                allowed.add(topic)
        return allowed

    def _leads(
        self, partition: TopicPartition, state: LeaderAndIsr, receivers: Iterable[int], *, is_new: bool
    ) -> None:
        leadership = PartitionStateZNode(state, self._context.epoch)
        self._context.leaderships[partition] = leadership
        self._context.partition_states[partition] = PartitionState.ONLINE
        self._batch.add_leader_and_isr(receivers, partition, leadership, is_new=is_new)
        log.debug(
            "partition %s: leader %d, epoch %d, isr %s",
            partition,
            state.leader,
            state.leader_epoch,
            ",".join(map(str, state.isr)),
        )

    def _valid(self, partitions: Iterable[TopicPartition], target: PartitionState) -> list[TopicPartition]:
        valid: list[TopicPartition] = []
        for partition in partitions:
            state = self._context.partition_states.setdefault(partition, PartitionState.NON_EXISTENT)
            if state in PARTITION_ENTERED_FROM[target]:
                valid.append(partition)
            else:
                self._failed(partition, f"it is {state.name} and cannot become {target.name}")
        return valid

    def _failed(self, partition: TopicPartition, problem: str) -> None:
        log.warning("partition %s: %s", partition, problem)


def _pieces(partitions: Sequence[TopicPartition]) -> Iterator[Sequence[TopicPartition]]:
    for start in range(0, len(partitions), PARTITIONS_PER_STRETCH):
        yield partitions[start : start + PARTITIONS_PER_STRETCH]
