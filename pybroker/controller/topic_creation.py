"""Creates topics by writing what the controller then acts upon.

Any broker may do this: the writes are not fenced by a controller epoch. The words of the errors are Kafka's.
Source: Kafka 3.9 ``ZkAdminManager`` and ``AdminZkClient``.
"""

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from msgspec import field

from pybroker.controller.assignment import AssignableBroker, RandomBelow, assign_replicas, check_assignment
from pybroker.instruments.pace import Pace
from pybroker.metadata.config_store import config_ops, lost_race
from pybroker.metadata.image import ClusterImage
from pybroker.metadata.publisher import Publisher
from pybroker.metadata.store import (
    ConnectionLost,
    Create,
    MultiFailed,
    NodeExists,
    NoNode,
    OpResult,
    Store,
    StoreError,
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
from pybroker.model.values import Value

log = logging.getLogger(__name__)

USE_DEFAULT = -1
"""As number of partitions or replication factor: the broker's default (KIP-464)."""


class NewTopic(Value):
    """A topic to create. Either the two numbers or the assignments are given, or neither."""

    name: str
    num_partitions: int = USE_DEFAULT
    replication_factor: int = USE_DEFAULT
    assignments: Mapping[int, Sequence[BrokerId]] = field(default_factory=dict)
    configs: Sequence[tuple[str, str | None]] = ()


class Result(Value):
    """What became of one topic. The numbers are -1 unless it was, or could be, created."""

    error: ErrorCode = ErrorCode.NONE
    message: str | None = None
    topic_id: TopicId = ZERO_TOPIC_ID
    num_partitions: int = -1
    replication_factor: int = -1
    configs: Mapping[str, str] = field(default_factory=dict)


ConfigValidator = Callable[[str, Mapping[str, str]], object]
"""Given topic and values; raises ApiError(INVALID_CONFIG)."""

CreationPolicy = Callable[[NewTopic, Mapping[int, Sequence[BrokerId]]], None]
"""Given topic and its assignment; raises ApiError(POLICY_VIOLATION)."""


class TopicCreation:
    """Makes new topics.

    Args:
        store: the broker's session.
        publisher: whose image tells which brokers and topics there are.
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
        policy: CreationPolicy | None,
        random_below: RandomBelow,
    ) -> None:
        self._store = store
        self._publisher = publisher
        self._num_partitions = num_partitions
        self._replication_factor = replication_factor
        self._validate_config = validate_config
        self._policy = policy
        self._random_below = random_below

    async def create(self, topics: Iterable[NewTopic], *, validate_only: bool) -> dict[str, Result]:
        """Creates topics, or only says what would come of it; does not wait for leaders. Many topics cost
        hardly more waits for the store than one."""
        results: dict[str, Result] = {}
        plans = {
            name: plan
            for name, plan in (await self._plan(topics, results, validate_only=validate_only)).items()
            if name not in results
        }
        ids = dict.fromkeys(plans, ZERO_TOPIC_ID)
        if not validate_only:
            ids = await self._write_topics(plans, results)
        for name, topic_id in ids.items():
            plan = plans[name]
            results[name] = Result(
                topic_id=topic_id,
                num_partitions=len(plan.assignment),
                replication_factor=len(plan.assignment[0]),
                configs=plan.values,
            )
        return results

    async def _plan(
        self, topics: Iterable[NewTopic], results: dict[str, Result], *, validate_only: bool
    ) -> dict[str, "_Plan"]:
        """What is to be written; what is refused is among the results."""
        plans: dict[str, _Plan] = {}
        pace = Pace()
        for topic in topics:
            if pace.is_over:
                await pace.rest()
            with _refusals(topic.name, results):
                values = {key: value for key, value in topic.configs if value is not None}
                plans[topic.name] = _Plan(topic, self._assign(topic), values)
                problem = topic_name_problem(topic.name)
                if problem is not None:
                    raise ApiError(ErrorCode.INVALID_TOPIC_EXCEPTION, problem)
        wanted = [name for name in plans if name not in results]
        deleted = await self._store.get_all([DeleteTopicsTopicZNode.path(name) for name in wanted])
        present = await self._store.get_all([TopicZNode.path(name) for name in wanted])
        others: list[str] = []
        if any("_" in name or "." in name for name in wanted):
            others = await self._store.children(TopicsZNode.path)
        for name, is_deleted, is_present in zip(wanted, deleted, present, strict=True):
            if pace.is_over:
                await pace.rest()
            with _refusals(name, results):
                if is_deleted is not None:
                    raise ApiError(ErrorCode.TOPIC_ALREADY_EXISTS, f"Topic '{name}' is marked for deletion.")
                if is_present is not None:
                    raise _exists(name)
                _refuse_collision(name, others)
                self._check(plans[name])
                if not validate_only:
                    others.append(name)
        return plans

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
            assignable_brokers(self._publisher.current),
            self._num_partitions() if topic.num_partitions == USE_DEFAULT else topic.num_partitions,
            self._replication_factor()
            if topic.replication_factor == USE_DEFAULT
            else topic.replication_factor,
            self._random_below,
        )

    def _check(self, plan: "_Plan") -> None:
        check_assignment(plan.assignment)
        self._validate_config(plan.topic.name, plan.values)
        if self._policy is not None:
            self._policy(plan.topic, plan.assignment)

    async def _write_topics(
        self, plans: Mapping[str, "_Plan"], results: dict[str, Result]
    ) -> dict[str, TopicId]:
        """The ids of the topics that are there now; what is refused is among the results."""
        ids = {name: new_topic_id() for name in plans}
        remaining = list(plans)
        while remaining:
            try:
                ops = await config_ops(
                    self._store, ConfigType.TOPIC, {name: plans[name].values for name in remaining}
                )
            except ApiError as error:
                for name in remaining:
                    results[name] = Result(error.code, error.message)
                break
            multis = [
                [*ops[name], Create(TopicZNode.path(name), plans[name].node(ids[name]).encode())]
                for name in remaining
            ]
            answers = await self._store.multi_all(multis)
            again = []
            for name, answer in zip(remaining, answers, strict=True):
                with _refusals(name, results):
                    if await self._is_to_be_repeated(name, ids[name], answer):
                        again.append(name)
                    else:
                        log.info("created topic %s with %d partitions", name, len(plans[name].assignment))
            remaining = again
        return {name: topic_id for name, topic_id in ids.items() if name not in results}

    async def _is_to_be_repeated(
        self, name: str, topic_id: TopicId, answer: Sequence[OpResult] | StoreError
    ) -> bool:
        if isinstance(answer, ConnectionLost):
            return True  # if it was done, its id is ours
        if not isinstance(answer, StoreError):
            return False
        if isinstance(answer, MultiFailed):
            if lost_race(answer):
                return True
            if isinstance(answer.error, NodeExists):
                if await self._topic_id(name) == topic_id:
                    return False
                raise _exists(name)
        raise answer

    async def _topic_id(self, name: str) -> TopicId | None:
        try:
            data, _ = await self._store.get(TopicZNode.path(name))
        except NoNode:
            return None
        return TopicZNode.decode(name, data).topic_id


def assignable_brokers(image: ClusterImage) -> list[AssignableBroker]:
    """The live brokers, by their ids."""
    return [AssignableBroker(broker_id, image.brokers[broker_id].rack) for broker_id in sorted(image.brokers)]


class _Plan(Value):
    """A topic that may be created."""

    topic: NewTopic
    assignment: Mapping[int, tuple[BrokerId, ...]]
    values: Mapping[str, str]

    def node(self, topic_id: TopicId) -> TopicZNode:
        partitions = {index: ReplicaAssignment(replicas) for index, replicas in self.assignment.items()}
        return TopicZNode(partitions, topic_id)


@contextmanager
def _refusals(name: str, results: dict[str, Result]) -> Iterator[None]:
    """Takes an ApiError down as what became of a topic."""
    try:
        yield
    except ApiError as error:
        log.info("topic %s is not created: %s", name, error)
        results[name] = Result(error.code, error.message)


def _refuse_collision(name: str, others: Iterable[str]) -> None:
    if "_" not in name and "." not in name:
        return
    colliding = [other for other in others if names_collide(name, other)]
    if name in colliding:
        raise _exists(name)
    if colliding:
        raise ApiError(
            ErrorCode.INVALID_TOPIC_EXCEPTION,
            f"Topic '{name}' collides with existing topics: {', '.join(colliding)}",
        )


def _exists(name: str) -> ApiError:
    return ApiError(ErrorCode.TOPIC_ALREADY_EXISTS, f"Topic '{name}' already exists.")
