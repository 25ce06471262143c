"""Creates, grows and deletes topics for clients, by writing what the controller then acts upon.

Any broker may do this: the writes are not fenced by a controller epoch. The words of the errors are Kafka's.
Source: Kafka 3.9 ``ZkAdminManager`` and ``AdminZkClient``.
"""

import logging
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from random import randrange

import trio
from attrs import field

from pybroker.controller.assignment import (
    AssignableBroker,
    RandomBelow,
    assign_replicas,
    check_assignment,
    check_new_partitions,
)
from pybroker.metadata.config_store import config_ops, lost_race
from pybroker.metadata.image import ClusterImage
from pybroker.metadata.publisher import Publisher
from pybroker.metadata.store import (
    BadVersion,
    ConnectionLost,
    Create,
    MultiFailed,
    NodeExists,
    NoNode,
    Store,
)
from pybroker.metadata.znodes import (
    ConfigType,
    DeleteTopicsTopicZNode,
    ReplicaAssignment,
    TopicsZNode,
    TopicZNode,
)
from pybroker.model.errors import ApiError, ErrorCode
from pybroker.model.ids import ZERO_TOPIC_ID, BrokerId, TopicId, new_topic_id
from pybroker.model.topics import names_collide, topic_name_problem
from pybroker.model.values import frozen

log = logging.getLogger(__name__)

USE_DEFAULT = -1
"""As number of partitions or replication factor: the broker's default (KIP-464)."""


@frozen
class NewTopic:
    """A topic to create. Either the two numbers or the assignments are given, or neither."""

    name: str
    num_partitions: int = USE_DEFAULT
    replication_factor: int = USE_DEFAULT
    assignments: Mapping[int, Sequence[BrokerId]] = field(factory=dict)
    configs: Sequence[tuple[str, str | None]] = ()


@frozen
class NewPartitions:
    """A topic to grow to ``count`` partitions; ``assignments`` are for the new ones, None lets us choose."""

    name: str
    count: int
    assignments: Sequence[Sequence[BrokerId]] | None = None


@frozen
class Result:
    """What became of one topic. The numbers are -1 unless it was, or could be, created."""

    error: ErrorCode = ErrorCode.NONE
    message: str | None = None
    topic_id: TopicId = ZERO_TOPIC_ID
    num_partitions: int = -1
    replication_factor: int = -1
    configs: Mapping[str, str] = field(factory=dict)


ConfigValidator = Callable[[str, Mapping[str, str]], object]
"""Given topic and values; raises ApiError(INVALID_CONFIG)."""

CreationPolicy = Callable[[NewTopic, Mapping[int, Sequence[BrokerId]]], None]
"""Given topic and its assignment; raises ApiError(POLICY_VIOLATION)."""


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
        self._num_partitions = num_partitions
        self._replication_factor = replication_factor
        self._validate_config = validate_config
        self._policy = policy
        self._random_below = random_below

    async def create_topics(
        self, topics: Iterable[NewTopic], timeout_ms: int, *, validate_only: bool = False
    ) -> dict[str, Result]:
        """Creates topics and waits until the image shows a leader for every partition of them.

        With ``timeout_ms`` of 0 or less it does not wait, and answers REQUEST_TIMED_OUT for what it created.
        """
        results = {topic.name: await self._create(topic, validate_only=validate_only) for topic in topics}
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

    # -- creation

    async def _create(self, topic: NewTopic, *, validate_only: bool) -> Result:
        try:
            assignment = self._assign(topic)
            values = {key: value for key, value in topic.configs if value is not None}
            await self._validate(topic, assignment, values)
            topic_id = ZERO_TOPIC_ID
            if not validate_only:
                topic_id = await self._write_topic(topic.name, assignment, values)
        except ApiError as error:
            log.info("topic %s is not created: %s", topic.name, error)
            return Result(error.code, error.message)
        return Result(
            topic_id=topic_id,
            num_partitions=len(assignment),
            replication_factor=len(assignment[0]),
            configs=values,
        )

    def _assign(self, topic: NewTopic) -> dict[int, tuple[BrokerId, ...]]:
        if topic.name in self._publisher.current.topics:
            raise _exists(topic.name)
        without_value = [key for key, value in topic.configs if value is None]
        if without_value:
            raise ApiError(
                ErrorCode.INVALID_CONFIG,
                f"Null value not supported for topic configs: {','.join(without_value)}",
            )
        if topic.assignments:
            if topic.num_partitions != USE_DEFAULT or topic.replication_factor != USE_DEFAULT:
                raise ApiError(
                    ErrorCode.INVALID_REQUEST,
                    "Both numPartitions or replicationFactor and replicasAssignments were set. "
                    "Both cannot be used at the same time.",
                )
            return {index: tuple(brokers) for index, brokers in sorted(topic.assignments.items())}
        return assign_replicas(
            self._assignable(),
            self._num_partitions() if topic.num_partitions == USE_DEFAULT else topic.num_partitions,
            self._replication_factor()
            if topic.replication_factor == USE_DEFAULT
            else topic.replication_factor,
            self._random_below,
        )

    async def _validate(
        self, topic: NewTopic, assignment: Mapping[int, Sequence[BrokerId]], values: Mapping[str, str]
    ) -> None:
        problem = topic_name_problem(topic.name)
        if problem is not None:
            raise ApiError(ErrorCode.INVALID_TOPIC_EXCEPTION, problem)
        if await self._store.exists(DeleteTopicsTopicZNode.path(topic.name)) is not None:
            raise ApiError(ErrorCode.TOPIC_ALREADY_EXISTS, f"Topic '{topic.name}' is marked for deletion.")
        if await self._store.exists(TopicZNode.path(topic.name)) is not None:
            raise _exists(topic.name)
        if "_" in topic.name or "." in topic.name:
            await self._refuse_collision(topic.name)
        check_assignment(assignment)
        self._validate_config(topic.name, values)
        if self._policy is not None:
            self._policy(topic, assignment)

    async def _refuse_collision(self, name: str) -> None:
        names = await self._store.children(TopicsZNode.path)
        colliding = [other for other in names if names_collide(name, other)]
        if name in colliding:
            raise _exists(name)
        if colliding:
            raise ApiError(
                ErrorCode.INVALID_TOPIC_EXCEPTION,
                f"Topic '{name}' collides with existing topics: {', '.join(colliding)}",
            )

    async def _write_topic(
        self, name: str, assignment: Mapping[int, tuple[BrokerId, ...]], values: Mapping[str, str]
    ) -> TopicId:
        topic_id = new_topic_id()
        partitions = {index: ReplicaAssignment(replicas) for index, replicas in assignment.items()}
        node = TopicZNode(partitions, topic_id)
        while True:
            ops = await config_ops(self._store, ConfigType.TOPIC, name, values)
            try:
                await self._store.multi([*ops, Create(TopicZNode.path(name), node.encode())])
            except MultiFailed as refused:
                if lost_race(refused):
                    continue
                if not isinstance(refused.error, NodeExists):
                    raise
                if await self._topic_id(name) != topic_id:
                    raise _exists(name) from None
            except ConnectionLost:
                continue  # if it was done, its id is ours
            log.info("created topic %s with %d partitions", name, len(assignment))
            return topic_id

    async def _topic_id(self, name: str) -> TopicId | None:
        try:
            data, _ = await self._store.get(TopicZNode.path(name))
        except NoNode:
            return None
        return TopicZNode.decode(name, data).topic_id

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
        brokers = self._assignable()
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

    def _assignable(self) -> list[AssignableBroker]:
        brokers = self._publisher.current.brokers
        return [AssignableBroker(broker_id, brokers[broker_id].rack) for broker_id in sorted(brokers)]

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


def _exists(name: str) -> ApiError:
    return ApiError(ErrorCode.TOPIC_ALREADY_EXISTS, f"Topic '{name}' already exists.")


def _timed_out(result: Result) -> Result:
    return Result(ErrorCode.REQUEST_TIMED_OUT, topic_id=result.topic_id)
