"""Topics that come into being because somebody asked for them (Kafka 3.9 ``AutoTopicCreationManager``)."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from pybroker.model.errors import ErrorCode
from pybroker.model.topics import CONSUMER_OFFSETS, TRANSACTION_STATE, topic_name_problem

if TYPE_CHECKING:  # app/warming.py says what is late
    from pybroker.config.broker import BrokerConfig
    from pybroker.controller.topic_creation import NewTopic
    from pybroker.controller.topics_admin import TopicsAdmin

_CREATED = (ErrorCode.TOPIC_ALREADY_EXISTS, ErrorCode.REQUEST_TIMED_OUT)
"""What the creation answers when the topic is there, or will be once its leaders are elected."""


class AutoTopicCreation:
    """Creates missing topics with the broker's defaults, internal ones with the settings of their own."""

    def __init__(self, config: BrokerConfig, topics: Callable[[], TopicsAdmin]) -> None:
        self._config = config
        self._topics = topics
        self._in_flight: set[str] = set()

    @property
    def enabled(self) -> bool:
        """``auto.create.topics.enable``; internal topics are created whatever it says."""
        return self._config.auto_create_topics_enable

    async def create(self, names: Iterable[str]) -> dict[str, ErrorCode]:
        """Begin to create topics; does not wait for their leaders.

        Returns:
            For each name LEADER_NOT_AVAILABLE when it was created, UNKNOWN_TOPIC_OR_PARTITION while another
            request is creating it, or why it cannot be.
        """
        codes = {name: self._refusal(name) for name in names}
        wanted = [name for name, code in codes.items() if code is ErrorCode.NONE]
        self._in_flight.update(wanted)
        try:
            results = await self._topics().create_topics(
                [self._new_topic(name) for name in wanted], timeout_ms=0
            )
        finally:
            self._in_flight.difference_update(wanted)
        for name, result in results.items():
            codes[name] = ErrorCode.LEADER_NOT_AVAILABLE if result.error in _CREATED else result.error
        return codes

    def _refusal(self, name: str) -> ErrorCode:
        if topic_name_problem(name) is not None:
            return ErrorCode.INVALID_TOPIC_EXCEPTION
        return ErrorCode.UNKNOWN_TOPIC_OR_PARTITION if name in self._in_flight else ErrorCode.NONE

    def _new_topic(self, name: str) -> NewTopic:
        from pybroker.controller.topic_creation import NewTopic

        config = self._config
        if name == CONSUMER_OFFSETS:
            return NewTopic(
                name,
                config.offsets_topic_num_partitions,
                config.offsets_topic_replication_factor,
                configs=(
                    ("cleanup.policy", "compact"),
                    ("segment.bytes", str(config.offsets_topic_segment_bytes)),
                    ("compression.type", "producer"),
                ),
            )
        if name == TRANSACTION_STATE:
            return NewTopic(
                name,
                config.transaction_state_log_num_partitions,
                config.transaction_state_log_replication_factor,
                configs=(
                    ("unclean.leader.election.enable", "false"),
                    ("compression.type", "uncompressed"),
                    ("cleanup.policy", "compact"),
                    ("min.insync.replicas", str(config.transaction_state_log_min_isr)),
                    ("segment.bytes", str(config.transaction_state_log_segment_bytes)),
                ),
            )
        return NewTopic(name)
