"""A follower's side of an incremental fetch session (KIP-227): what its leader need not be told again.

Pure. The other side is :mod:`pybroker.coordination.fetch_sessions`. Source: ``FetchSessionHandler`` of
Kafka 3.9.
"""

from collections.abc import Iterable, Mapping

from msgspec import field

from pybroker.model.errors import ErrorCode
from pybroker.model.ids import LeaderEpoch, Offset, TopicId, TopicPartition
from pybroker.model.values import Value

NO_SESSION = 0
INITIAL_EPOCH = 0
_MAX_EPOCH = 0x7FFFFFFF


class Asked(Value):
    """What a follower asks of one partition."""

    topic_id: TopicId
    fetch_offset: Offset
    log_start_offset: Offset
    current_leader_epoch: LeaderEpoch
    last_fetched_epoch: LeaderEpoch


class SessionRequest(Value):
    """What the next fetch has to say: all partitions, or those that have changed."""

    session_id: int
    session_epoch: int
    asked: Mapping[TopicPartition, Asked]
    forgotten: Mapping[TopicPartition, TopicId] = field(default_factory=dict)


class LeaderSession:
    """The session that a fetcher has with a leader. One writer: the fetcher.

    Attributes:
        asked: what the leader has been told, by partition.
        uses_topic_ids: whether the session speaks of topics by their ids; a change begins another session.
    """

    def __init__(self) -> None:
        self.asked: dict[TopicPartition, Asked] = {}
        self.uses_topic_ids = True
        self._session_id = NO_SESSION
        self._epoch = INITIAL_EPOCH

    @property
    def is_new(self) -> bool:
        """Whether the next request names all partitions."""
        return self._epoch == INITIAL_EPOCH

    def begin(self, wanted: Mapping[TopicPartition, Asked], *, uses_topic_ids: bool) -> SessionRequest:
        """A full request; a session that there was is given up with it."""
        self.uses_topic_ids = uses_topic_ids
        self._epoch = INITIAL_EPOCH
        self.asked = dict(wanted)
        return SessionRequest(self._session_id, INITIAL_EPOCH, wanted)

    def go_on(self, wanted: Mapping[TopicPartition, Asked], gone: Iterable[TopicPartition]) -> SessionRequest:
        """An incremental request: ``wanted`` are partitions to be added or asked otherwise."""
        asked = self.asked
        changed, forgotten = {}, {}
        for tp in gone:
            before = asked.pop(tp, None)
            if before is not None:
                forgotten[tp] = before.topic_id
        for tp, one in wanted.items():
            before = asked.get(tp)
            if before == one:
                continue
            if before is not None and before.topic_id != one.topic_id:
                forgotten[tp] = before.topic_id
            asked[tp] = changed[tp] = one
        return SessionRequest(self._session_id, self._epoch, changed, forgotten)

    def answered(self, error: ErrorCode, session_id: int) -> bool:
        """A response came. False when it holds nothing, because the leader does not know the session."""
        if error is not ErrorCode.NONE:
            self.broke()
            if error is ErrorCode.FETCH_SESSION_ID_NOT_FOUND:
                self._session_id = NO_SESSION
            return False
        if session_id == NO_SESSION:
            self._session_id = NO_SESSION
            self._epoch = INITIAL_EPOCH
        else:
            self._session_id = session_id
            self._epoch = 1 if self._epoch == _MAX_EPOCH else self._epoch + 1
        return True

    def broke(self) -> None:
        """There was no response: what the leader knows is unknown."""
        self._epoch = INITIAL_EPOCH
