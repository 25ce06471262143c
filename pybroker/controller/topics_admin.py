"""Grows and deletes topics for clients, and has ``topic_creation`` make new ones.

As there, any broker may do this, and the words of the errors are Kafka's.
Source: Kafka 3.9 ``ZkAdminManager`` and ``AdminZkClient``.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from random import randrange

import trio

from pybroker.controller.assignment import RandomBelow, assign_replicas, check_new_partitions
from pybroker.controller.topic_creation import (
    ConfigValidator,
    CreationPolicy,
    NewTopic,
    Result,
    TopicCreation,
    assignable_brokers,
)
from pybroker.metadata.image import ClusterImage
from pybroker.metadata.publisher import Publisher
from pybroker.metadata.store import BadVersion, ConnectionLost, NoNode, Store
from pybroker.metadata.znodes import DeleteTopicsTopicZNode, ReplicaAssignment, TopicZNode
from pybroker.model.errors import ApiError, ErrorCode
from pybroker.model.ids import BrokerId
from pybroker.model.topics import topic_name_problem
from pybroker.model.values import Value


class NewPartitions(Value):
    """A topic to grow to ``count`` partitions; ``assignments`` are for the new ones, None lets us choose."""

    name: str
    count: int
    assignments: Sequence[Sequence[BrokerId]] | None = None


class TopicsAdmin:
    """Changes the set of topics on behalf of clients.

    Args:
        store: the broker's session.
        publisher: whose image tells what is there and what came of it.
        num_partitions: reads ``num.partitions``.
        replication_factor: reads ``default.replication.factor``.
        validate_config: checks the values of a new topic.
        policy: ``create.topic.policy``; None has none.
        random_below: chance.
    """

    def __init__(
        self,
        store: Store,
        publisher: Publisher,
        *,
        num_partitions: Callable[[], int],
        replication_factor: Callable[[], int],
        validate_config: ConfigValidator,
        policy: CreationPolicy | None = None,
        random_below: RandomBelow = randrange,
    ) -> None:
        self._store = store
        self._publisher = publisher
        self._random_below = random_below
        self._creation = TopicCreation(
            store,
            publisher,
            num_partitions=num_partitions,
            replication_factor=replication_factor,
            validate_config=validate_config,
            policy=policy,
            random_below=random_below,
        )

    async def create_topics(
        self, topics: Iterable[NewTopic], timeout_ms: int, *, validate_only: bool = False
    ) -> dict[str, Result]:
        """Creates topics and waits until the image shows a leader for every partition of them.

        With ``timeout_ms`` of 0 or less it does not wait, and answers REQUEST_TIMED_OUT for what it created.
        """
        results = await self._creation.create(topics, validate_only=validate_only)
        if validate_only:
            return results
        pending = {
            name: set(range(result.num_partitions))
            for name, result in results.items()
            if result.error is ErrorCode.NONE
        }
        late = await self._wait(pending, timeout_ms, _has_leaders)
        return {name: _timed_out(result) if name in late else result for name, result in results.items()}

    async def delete_topics(self, names: Iterable[str], timeout_ms: int) -> dict[str, Result]:
        """Asks for the deletion of topics and waits until they are gone from the image."""
        results = {name: await self._delete(name) for name in names}
        pending: dict[str, set[int]] = {
            name: set() for name, result in results.items() if result.error is ErrorCode.NONE
        }
        late = await self._wait(pending, timeout_ms, _is_gone)
        return {name: _timed_out(result) if name in late else result for name, result in results.items()}

    async def create_partitions(
        self, topics: Iterable[NewPartitions], timeout_ms: int, *, validate_only: bool = False
    ) -> dict[str, Result]:
        """Adds partitions and waits until the image shows a leader for each."""
        results = {topic.name: await self._grow(topic, validate_only=validate_only) for topic in topics}
        if validate_only:
            return results
        pending = {
            name: set(range(result.num_partitions))
            for name, result in results.items()
            if result.error is ErrorCode.NONE
        }
        late = await self._wait(pending, timeout_ms, _has_leaders)
        return {name: _timed_out(result) if name in late else result for name, result in results.items()}

    # -- deletion

    async def _delete(self, name: str) -> Result:
        # A name with other characters could be a path of several nodes; no topic has one.
        if topic_name_problem(name) is not None or await self._store.exists(TopicZNode.path(name)) is None:
            return Result(ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, f"Topic `{name}` to delete does not exist")
        await self._store.ensure(DeleteTopicsTopicZNode.path(name))
        return Result()

    # -- growth

    async def _grow(self, topic: NewPartitions, *, validate_only: bool) -> Result:
        maybe_grown: TopicZNode | None = None
        try:
            while True:
                existing, version = await self._read_topic(topic.name)
                if existing == maybe_grown:
                    return Result(num_partitions=len(existing.partitions))
                grown = self._grown(topic, existing)
                if not validate_only:
                    try:
                        await self._store.set(TopicZNode.path(topic.name), grown.encode(), version)
                    except BadVersion:
                        continue
                    except ConnectionLost:
                        maybe_grown = grown
                        continue
                return Result(num_partitions=len(grown.partitions))
        except ApiError as error:
            return Result(error.code, error.message)

    async def _read_topic(self, name: str) -> tuple[TopicZNode, int]:
        try:
            if topic_name_problem(name) is not None:
                raise NoNode(name)
            data, stat = await self._store.get(TopicZNode.path(name))
        except NoNode:
            raise ApiError(
                ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, f"The topic '{name}' does not exist."
            ) from None
        if await self._store.exists(DeleteTopicsTopicZNode.path(name)) is not None:
            raise ApiError(ErrorCode.INVALID_TOPIC_EXCEPTION, "The topic is queued for deletion.")
        return TopicZNode.decode(name, data), stat.version

    def _grown(self, topic: NewPartitions, existing: TopicZNode) -> TopicZNode:
        partitions = dict(existing.partitions)
        if any(assignment.is_being_reassigned for assignment in partitions.values()):
            raise ApiError(
                ErrorCode.REASSIGNMENT_IN_PROGRESS,
                f"A partition reassignment is in progress for the topic '{topic.name}'.",
            )
        before = len(partitions)
        if topic.count < before:
            raise ApiError(
                ErrorCode.INVALID_PARTITIONS,
                f"Topic currently has {before} partitions, which is higher than the requested {topic.count}.",
            )
        if topic.count == before:
            raise ApiError(ErrorCode.INVALID_PARTITIONS, f"Topic already has {before} partitions.")
        for index, replicas in self._assign_new(topic, partitions).items():
            partitions[index] = ReplicaAssignment(tuple(replicas))
        return TopicZNode(partitions, existing.topic_id)

    def _assign_new(
        self, topic: NewPartitions, existing: Mapping[int, ReplicaAssignment]
    ) -> Mapping[int, Sequence[BrokerId]]:
        brokers = assignable_brokers(self._publisher.current)
        ids = [broker.broker_id for broker in brokers]
        before = len(existing)
        first = existing[0].replicas
        if topic.assignments is None:
            start = next((i for i, broker_id in enumerate(ids) if broker_id >= first[0]), 0)
            return assign_replicas(
                brokers,
                topic.count - before,
                len(first),
                self._random_below,
                fixed_start_index=start,
                first_partition=before,
            )
        unknown = {broker for replicas in topic.assignments for broker in replicas} - set(ids)
        if unknown:
            raise ApiError(
                ErrorCode.INVALID_REPLICA_ASSIGNMENT,
                f"Unknown broker(s) in replica assignment: {', '.join(map(str, sorted(unknown)))}.",
            )
        if len(topic.assignments) != topic.count - before:
            raise ApiError(
                ErrorCode.INVALID_REPLICA_ASSIGNMENT,
                f"Increasing the number of partitions by {topic.count - before} "
                f"but {len(topic.assignments)} assignments provided.",
            )
        new = dict(enumerate(topic.assignments, start=before))
        check_new_partitions(new, len(first), ids)
        return new

    # -- waiting

    async def _wait(
        self,
        pending: Mapping[str, Collection[int]],
        timeout_ms: int,
        is_done: Callable[[ClusterImage, str, Collection[int]], bool],
    ) -> set[str]:
        """Waits for all, and returns those that are not done in time."""
        if timeout_ms <= 0:
            return set(pending)
        with trio.move_on_after(timeout_ms / 1000):
            for name, partitions in pending.items():
                while not is_done(self._publisher.current, name, partitions):
                    changed = trio.Event()
                    forget = self._publisher.on_topic_change(name, changed.set)
                    try:
                        await changed.wait()
                    finally:
                        forget()
        image = self._publisher.current
        return {name for name, partitions in pending.items() if not is_done(image, name, partitions)}


def _has_leaders(image: ClusterImage, name: str, partitions: Collection[int]) -> bool:
    topic = image.topics.get(name)
    if topic is None:
        return False
    found = (topic.partitions.get(index) for index in partitions)
    return all(partition is not None and partition.has_leader for partition in found)


def _is_gone(image: ClusterImage, name: str, partitions: Collection[int]) -> bool:  # noqa: ARG001
    return name not in image.topics


def _timed_out(result: Result) -> Result:
    return Result(ErrorCode.REQUEST_TIMED_OUT, topic_id=result.topic_id)
