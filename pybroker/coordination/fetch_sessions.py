"""Incremental fetch sessions (KIP-227): what a consumer or follower fetches, remembered between requests.

A session lets a client name only the partitions that changed. The broker keeps the full list, and answers
only with partitions that have news. Pure: time and randomness are arguments. Source of the rules:
``kafka.server.FetchManager`` and ``FetchSessionCache`` of Kafka 3.9.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Protocol, TypeAlias

from msgspec import field

from pybroker.model.errors import ErrorCode
from pybroker.model.ids import ZERO_TOPIC_ID, LeaderEpoch, Offset, TopicId
from pybroker.model.values import State, Value

if TYPE_CHECKING:  # a start does without the messages of Fetch
    from pybroker.protocol.messages import FetchResponse
from pybroker.replication.isr import FetchTimes
from pybroker.replication.observers import Observers

NO_SESSION = 0
INITIAL_EPOCH = 0
FINAL_EPOCH = -1
_MAX_EPOCH = 0x7FFFFFFF


class Sleeper(Protocol):
    """A request that waits for news."""

    def wake(self) -> None:
        """Look again."""


PartitionKey: TypeAlias = tuple[TopicId | str, int]
"""(topic id, or the name where the client speaks names; partition)."""


class FetchTarget(State):
    """One partition that a client wants to read. ``topic`` is None while its id is unknown here."""

    topic: str | None
    topic_id: TopicId
    partition: int
    fetch_offset: Offset
    max_bytes: int
    current_leader_epoch: LeaderEpoch
    last_fetched_epoch: LeaderEpoch
    log_start_offset: Offset

    @property
    def key(self) -> PartitionKey:
        return (self.topic_id if self.topic_id != ZERO_TOPIC_ID else self.topic or "", self.partition)


class PartitionReply(Value):
    """What the broker found for one target, and whether that is all for the time being."""

    target: FetchTarget
    data: FetchResponse.PartitionData
    observers: Observers | None = None


class _CachedPartition(State, eq=False):
    """One partition of a session, which observes it while the client, a follower, has everything."""

    session: FetchSession
    target: FetchTarget
    high_watermark: Offset = -1
    log_start_offset: Offset = -1
    observed: Observers | None = None

    def on_news(self, *, is_urgent: bool) -> None:
        """To be looked at by the next request, or by the one that waits."""
        session = self.session
        session.awake[self.target.key] = self
        if is_urgent:
            for sleeper in session.sleepers:
                sleeper.wake()

    def rest_with(self, observers: Observers | None) -> None:
        """Wait to be told; with None it is looked at by every request."""
        if observers is not self.observed:
            if self.observed is not None:
                self.observed.discard(self)
            if observers is not None:
                observers.add(self)
            self.observed = observers

    def remember(self, data: FetchResponse.PartitionData) -> bool:
        """Take over what is about to be sent; True if the client must be told."""
        failed = data.error_code != ErrorCode.NONE
        has_news = (
            failed
            or bool(data.records)
            or self.high_watermark != data.high_watermark
            or self.log_start_offset != data.log_start_offset
            or data.preferred_read_replica != -1
            or data.diverging_epoch.epoch >= 0
        )
        self.log_start_offset = data.log_start_offset
        self.high_watermark = -1 if failed else data.high_watermark
        return has_news


class FetchSession(State, eq=False):
    """One client's list of partitions; its one writer is the context of the request in progress.

    Attributes:
        awake: the partitions that a request looks at, in that order. The others are at rest: the client has
            everything of them, and they say when there is something new.
        sleepers: the request in progress, while it waits.
    """

    session_id: int
    privileged: bool
    uses_topic_ids: bool
    created_ms: int
    last_used_ms: int
    times: FetchTimes
    epoch: int = INITIAL_EPOCH + 1
    partitions: dict[PartitionKey, _CachedPartition] = field(default_factory=dict)
    awake: dict[PartitionKey, _CachedPartition] = field(default_factory=dict)
    sleepers: set[Sleeper] = field(default_factory=set)
    size_when_touched: int = 0

    def begin(self, replies: Iterable[PartitionReply]) -> None:
        """The answer to the full request that it starts with."""
        for reply in replies:
            data = reply.data
            self._add(_CachedPartition(self, reply.target, data.high_watermark, data.log_start_offset))
            self._settle(reply)

    def update(self, targets: Iterable[FetchTarget], forgotten: Iterable[PartitionKey]) -> None:
        for target in targets:
            cached = self.partitions.get(target.key)
            if cached is None:
                self._add(_CachedPartition(self, target))
            else:
                cached.target = target
                cached.rest_with(None)
                self.awake[target.key] = cached
        for key in forgotten:
            cached = self.partitions.pop(key, None)
            if cached is not None:
                cached.rest_with(None)
                self.awake.pop(key, None)

    def _add(self, cached: _CachedPartition) -> None:
        self.partitions[cached.target.key] = self.awake[cached.target.key] = cached

    def _settle(self, reply: PartitionReply) -> None:
        """What was looked at rests from now on, or not. With data it goes to the end of the line, so that a
        busy partition cannot starve the others of a reply's byte limit."""
        key = reply.target.key
        cached = self.partitions[key]
        cached.rest_with(reply.observers)
        if reply.observers is not None:
            self.awake.pop(key, None)
        elif reply.data.records:
            self.awake.pop(key, None)
            self.awake[key] = cached

    def news(self, replies: list[PartitionReply]) -> list[PartitionReply]:
        """The replies that hold something new."""
        selected = []
        for reply in replies:
            if self.partitions[reply.target.key].remember(reply.data):
                selected.append(reply)
            self._settle(reply)
        return selected

    def close(self) -> None:
        """It is over: partitions have nothing to say to it any more."""
        for cached in self.partitions.values():
            cached.rest_with(None)


class FetchSessionCache:
    """At most ``max_sessions`` sessions; a new one may take the place of a stale or a smaller one.

    A session not used for longer than ``eviction_ms`` is stale. Followers' sessions (privileged) may displace
    any client's session that has lived for ``eviction_ms``; clients only smaller ones of other clients.
    """

    def __init__(self, max_sessions: int, eviction_ms: int, random_int: Callable[[int, int], int]) -> None:
        self._max_sessions = max_sessions
        self._eviction_ms = eviction_ms
        self._random_int = random_int
        self._sessions: OrderedDict[int, FetchSession] = OrderedDict()  # least recently used first

    def __len__(self) -> int:
        return len(self._sessions)

    def get(self, session_id: int) -> FetchSession | None:
        return self._sessions.get(session_id)

    def parts(self, session_id: int) -> list[tuple[TopicId, str, int]]:
        """What a session fetches: topic id, topic (empty where the client did not name it) and partition."""
        session = self._sessions.get(session_id)
        targets = [] if session is None else [cached.target for cached in session.partitions.values()]
        return [(target.topic_id, target.topic or "", target.partition) for target in targets]

    def remove(self, session_id: int) -> None:
        session = self._sessions.pop(session_id, None)
        if session is not None:
            session.close()

    def clear(self) -> None:
        for session_id in list(self._sessions):
            self.remove(session_id)

    def touch(self, session: FetchSession, now_ms: int) -> None:
        session.last_used_ms = now_ms
        session.size_when_touched = len(session.partitions)
        self._sessions.move_to_end(session.session_id)

    def create(
        self,
        replies: list[PartitionReply],
        *,
        privileged: bool,
        uses_topic_ids: bool,
        now_ms: int,
        times: FetchTimes,
    ) -> int:
        """The new session's id, or :data:`NO_SESSION` when the cache has no room for it."""
        if len(self._sessions) >= self._max_sessions and not self._evict(privileged, len(replies), now_ms):
            return NO_SESSION
        session_id = self._new_id()
        session = FetchSession(session_id, privileged, uses_topic_ids, now_ms, now_ms, times)
        session.begin(replies)
        self._sessions[session_id] = session
        self.touch(session, now_ms)
        return session_id

    def _new_id(self) -> int:
        while True:
            candidate = self._random_int(1, _MAX_EPOCH)
            if candidate not in self._sessions:
                return candidate

    def _evict(self, privileged: bool, size: int, now_ms: int) -> bool:
        if not self._sessions:
            return False
        oldest = next(iter(self._sessions.values()))
        if now_ms - oldest.last_used_ms > self._eviction_ms:
            self.remove(oldest.session_id)
            return True
        evictable = [
            session
            for session in self._sessions.values()
            if (privileged or not session.privileged) and now_ms - session.created_ms > self._eviction_ms
        ]
        if not evictable:
            return False
        victim = min(evictable, key=lambda session: (session.privileged, session.size_when_touched))
        if (privileged, size) < (victim.privileged, victim.size_when_touched):
            return False
        self.remove(victim.session_id)
        return True


class FetchOutcome(Value):
    """What a context makes of the partitions' replies."""

    error: ErrorCode
    session_id: int
    replies: list[PartitionReply]


class FetchContext:
    """One Fetch request's view of its session: the full list of targets, and the reply's selection."""

    __slots__ = ()
    error: ErrorCode = ErrorCode.NONE

    @property
    def times(self) -> FetchTimes:
        """When its session fetches; without a session nobody looks at them again."""
        return FetchTimes()

    def targets(self) -> Iterator[FetchTarget]:
        """What to look at now: not what is at rest."""
        raise NotImplementedError

    def sleepers(self) -> set[Sleeper] | None:
        """Where to wait for news of what is at rest; None when nothing is."""
        return None

    def finish(self, replies: list[PartitionReply], now_ms: int) -> FetchOutcome:
        raise NotImplementedError


class SessionErrorContext(Value, FetchContext):
    """The session is not usable: the whole request is answered with one code."""

    error: ErrorCode

    def targets(self) -> Iterator[FetchTarget]:
        return iter(())

    def finish(self, replies: list[PartitionReply], now_ms: int) -> FetchOutcome:  # noqa: ARG002
        return FetchOutcome(self.error, NO_SESSION, [])


class SessionlessContext(Value, FetchContext):
    """A full request that keeps nothing: epoch -1, which is also what versions below 7 mean."""

    requested: list[FetchTarget]

    def targets(self) -> Iterator[FetchTarget]:
        return iter(self.requested)

    def finish(self, replies: list[PartitionReply], now_ms: int) -> FetchOutcome:  # noqa: ARG002
        return FetchOutcome(ErrorCode.NONE, NO_SESSION, replies)


class FullContext(Value, FetchContext):
    """A full request that asks for a session."""

    cache: FetchSessionCache
    requested: list[FetchTarget]
    uses_topic_ids: bool
    privileged: bool
    times: FetchTimes = field(default_factory=FetchTimes)

    def targets(self) -> Iterator[FetchTarget]:
        return iter(self.requested)

    def finish(self, replies: list[PartitionReply], now_ms: int) -> FetchOutcome:
        session_id = self.cache.create(
            replies,
            privileged=self.privileged,
            uses_topic_ids=self.uses_topic_ids,
            now_ms=now_ms,
            times=self.times,
        )
        return FetchOutcome(ErrorCode.NONE, session_id, replies)


class IncrementalContext(Value, FetchContext):
    """A request that goes on with a session; ``expected_epoch`` is the session's once it was accepted."""

    session: FetchSession
    expected_epoch: int
    topic_name: Callable[[TopicId], str | None]

    @property
    def times(self) -> FetchTimes:
        return self.session.times

    def targets(self) -> Iterator[FetchTarget]:
        for cached in list(self.session.awake.values()):
            if cached.target.topic is None:
                cached.target.topic = self.topic_name(cached.target.topic_id)
            yield cached.target

    def sleepers(self) -> set[Sleeper]:
        return self.session.sleepers

    def finish(self, replies: list[PartitionReply], now_ms: int) -> FetchOutcome:  # noqa: ARG002
        if self.session.epoch != self.expected_epoch:
            return FetchOutcome(ErrorCode.INVALID_FETCH_SESSION_EPOCH, self.session.session_id, [])
        return FetchOutcome(ErrorCode.NONE, self.session.session_id, self.session.news(replies))


class FetchRequestView(Value):
    """What :func:`open_context` needs of a Fetch request."""

    session_id: int
    session_epoch: int
    targets: list[FetchTarget]
    forgotten: list[PartitionKey]
    uses_topic_ids: bool
    privileged: bool


def open_context(
    cache: FetchSessionCache,
    request: FetchRequestView,
    topic_name: Callable[[TopicId], str | None],
    now_ms: int,
) -> FetchContext:
    """The context in which a Fetch request is answered; updates the session that the request names."""
    if request.session_epoch in (INITIAL_EPOCH, FINAL_EPOCH):
        if request.session_id != NO_SESSION:
            cache.remove(request.session_id)
        if request.session_epoch == FINAL_EPOCH:
            return SessionlessContext(request.targets)
        times = FetchTimes(now_ms)
        return FullContext(cache, request.targets, request.uses_topic_ids, request.privileged, times)
    return _resume(cache, request, topic_name, now_ms)


def _resume(
    cache: FetchSessionCache,
    request: FetchRequestView,
    topic_name: Callable[[TopicId], str | None],
    now_ms: int,
) -> FetchContext:
    session = cache.get(request.session_id)
    if session is None:
        return SessionErrorContext(ErrorCode.FETCH_SESSION_ID_NOT_FOUND)
    if session.epoch != request.session_epoch:
        return SessionErrorContext(ErrorCode.INVALID_FETCH_SESSION_EPOCH)
    if session.uses_topic_ids != request.uses_topic_ids:
        return SessionErrorContext(ErrorCode.FETCH_SESSION_TOPIC_ID_ERROR)
    session.update(request.targets, request.forgotten)
    if not session.partitions:
        cache.remove(session.session_id)
        return SessionlessContext([])
    cache.touch(session, now_ms)
    session.times.last_ms = now_ms
    session.epoch = 1 if session.epoch == _MAX_EPOCH else session.epoch + 1
    return IncrementalContext(session, session.epoch, topic_name)
