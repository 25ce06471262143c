"""What OffsetCommit and TxnOffsetCommit have in common: which partitions there are, and the answers, which
each gives in classes of its own."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any, Generic, TypeVar

from pybroker.metadata.image import ClusterImage
from pybroker.model.errors import ErrorCode
from pybroker.model.ids import TopicId, TopicPartition

T = TypeVar("T")


class CommitReplies(Generic[T]):
    """Codes by topic, in the order in which they were found.

    Args:
        topic, partition: the classes of the response's lists.
    """

    def __init__(self, topic: Callable[..., T], partition: Callable[..., Any]) -> None:
        self._topic = topic
        self._partition = partition
        self._ids: dict[str, TopicId] = {}
        self._topics: dict[tuple[str, TopicId], tuple[T, list[Any]]] = {}

    def existing(
        self, image: ClusterImage, topics: Iterable[Any], *, by_id: bool
    ) -> Iterator[tuple[TopicPartition, Any]]:
        """The partitions of a request that exist, each with what the request says of it. The others are
        answered.

        Args:
            topics: of the request, which names them by their ids if ``by_id``.
        """
        partition_of = image.partition
        for topic in topics:
            name = image.topic_names_by_id.get(bytes(topic.topic_id)) if by_id else topic.name
            if name is None:
                for partition in topic.partitions:
                    self._add("", topic.topic_id, partition.partition_index, ErrorCode.UNKNOWN_TOPIC_ID)
                continue
            self._ids[name] = topic.topic_id
            for partition in topic.partitions:
                tp = TopicPartition(name, partition.partition_index)
                if partition_of(tp) is None:
                    self.add(tp, ErrorCode.UNKNOWN_TOPIC_OR_PARTITION)
                else:
                    yield tp, partition

    def add(self, tp: TopicPartition, code: ErrorCode) -> None:
        """The answer for a partition that :meth:`existing` has found."""
        self._add(tp[0], self._ids[tp[0]], tp[1], code)

    def _add(self, name: str, topic_id: TopicId, partition: int, code: ErrorCode) -> None:
        known = self._topics.get((name, topic_id))
        if known is None:
            partitions: list[Any] = []
            known = self._topic(name=name, topic_id=topic_id, partitions=partitions), partitions
            self._topics[name, topic_id] = known
        known[1].append(self._partition(partition_index=partition, error_code=code))

    def topics(self) -> list[T]:
        """The topics of the response."""
        return [topic for topic, _ in self._topics.values()]
