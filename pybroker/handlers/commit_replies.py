"""What OffsetCommit and TxnOffsetCommit have in common: which partitions there are, and the answers, which
each gives in classes of its own."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Generic, TypeVar

from pybroker.metadata.image import ClusterImage
from pybroker.model.errors import ErrorCode
from pybroker.model.ids import TopicId, TopicPartition

T = TypeVar("T")

_new = tuple.__new__


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
        for topic in topics:
            name = image.topic_names_by_id.get(bytes(topic.topic_id)) if by_id else topic.name
            if name is None:
                self._answer("", topic.topic_id, topic.partitions, ErrorCode.UNKNOWN_TOPIC_ID)
                continue
            self._ids[name] = topic.topic_id
            known = image.topics.get(name)
            indexes = () if known is None else known.partitions
            for partition in topic.partitions:
                if partition.partition_index in indexes:
                    yield _new(TopicPartition, (name, partition.partition_index)), partition
                else:
                    self._answer(name, topic.topic_id, (partition,), ErrorCode.UNKNOWN_TOPIC_OR_PARTITION)

    def add(self, codes: Mapping[TopicPartition, ErrorCode]) -> None:
        """The answers for partitions that :meth:`existing` has found."""
        topic, answers, partition = None, [], self._partition
        for (name, index), code in codes.items():
            if name != topic:
                topic, answers = name, self._answers(name, self._ids[name])
            answers.append(partition(partition_index=index, error_code=code))

    def _answer(self, name: str, topic_id: TopicId, partitions: Iterable[Any], code: ErrorCode) -> None:
        answers = self._answers(name, topic_id)
        for partition in partitions:
            answers.append(self._partition(partition_index=partition.partition_index, error_code=code))

    def _answers(self, name: str, topic_id: TopicId) -> list[Any]:
        """Those of one topic so far, to be added to."""
        known = self._topics.get((name, topic_id))
        if known is None:
            partitions: list[Any] = []
            known = self._topic(name=name, topic_id=topic_id, partitions=partitions), partitions
            self._topics[name, topic_id] = known
        return known[1]

    def topics(self) -> list[T]:
        """The topics of the response."""
        return [topic for topic, _ in self._topics.values()]
