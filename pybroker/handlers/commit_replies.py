"""Answers to commits of offsets, which OffsetCommit and TxnOffsetCommit give in classes of their own."""

from collections.abc import Callable
from typing import Any, Generic, TypeVar

from pybroker.model.errors import ErrorCode
from pybroker.model.ids import ZERO_TOPIC_ID, TopicId, TopicPartition

T = TypeVar("T")


class CommitReplies(Generic[T]):
    """Codes by topic, in the order in which they were found.

    Args:
        topic, partition: the classes of the response's lists.
    """

    def __init__(self, topic: Callable[..., T], partition: Callable[..., Any]) -> None:
        self._topic = topic
        self._partition = partition
        self._topics: dict[tuple[str, TopicId], tuple[T, list[Any]]] = {}

    def add(self, tp: TopicPartition, code: ErrorCode, topic_id: TopicId = ZERO_TOPIC_ID) -> None:
        known = self._topics.get((tp.topic, topic_id))
        if known is None:
            partitions: list[Any] = []
            known = self._topic(name=tp.topic, topic_id=topic_id, partitions=partitions), partitions
            self._topics[tp.topic, topic_id] = known
        known[1].append(self._partition(partition_index=tp.partition, error_code=code))

    def topics(self) -> list[T]:
        return [topic for topic, _ in self._topics.values()]
