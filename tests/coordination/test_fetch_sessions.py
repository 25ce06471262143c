"""Incremental fetch sessions (KIP-227): the full list is remembered, and only news are answered."""

from collections.abc import Iterable
from itertools import count

import pytest

from pybroker.coordination.fetch_sessions import (
    FINAL_EPOCH,
    INITIAL_EPOCH,
    NO_SESSION,
    FetchContext,
    FetchRequestView,
    FetchSessionCache,
    FetchTarget,
    PartitionReply,
    open_context,
)
from pybroker.model.errors import ErrorCode
from pybroker.model.ids import ZERO_TOPIC_ID, TopicId
from pybroker.protocol.messages import FetchResponse
from pybroker.replication.observers import Observers

EVICTION_MS = 120_000


def make_cache(max_sessions: int = 10) -> FetchSessionCache:
    numbers = count(1)
    return FetchSessionCache(max_sessions, EVICTION_MS, lambda _low, _high: next(numbers))


def target(
    partition: int, *, offset: int = 0, topic: str | None = "t", topic_id: TopicId = ZERO_TOPIC_ID
) -> FetchTarget:
    return FetchTarget(
        topic=topic,
        topic_id=topic_id,
        partition=partition,
        fetch_offset=offset,
        max_bytes=1000,
        current_leader_epoch=-1,
        last_fetched_epoch=-1,
        log_start_offset=-1,
    )


def view(
    *targets: FetchTarget,
    session_id: int = NO_SESSION,
    epoch: int = INITIAL_EPOCH,
    forgotten: Iterable[int] = (),
    by_id: bool = False,
    privileged: bool = False,
) -> FetchRequestView:
    keys = [("t", partition) for partition in forgotten]
    return FetchRequestView(session_id, epoch, list(targets), list(keys), by_id, privileged)


def no_names(_topic_id: TopicId) -> str | None:
    return None


def open_(cache: FetchSessionCache, request: FetchRequestView, now_ms: int = 0) -> FetchContext:
    return open_context(cache, request, no_names, now_ms)


def reply(
    to: FetchTarget,
    *,
    high_watermark: int = 5,
    records: bytes = b"",
    error: ErrorCode = ErrorCode.NONE,
    observers: Observers | None = None,
) -> PartitionReply:
    data = FetchResponse.PartitionData(
        partition_index=to.partition,
        error_code=error,
        high_watermark=high_watermark,
        log_start_offset=0,
        records=records,
    )
    return PartitionReply(to, data, observers)


def start_session(cache: FetchSessionCache, *targets: FetchTarget, now_ms: int = 0, **flags: bool) -> int:
    context = open_(cache, view(*targets, **flags), now_ms)
    return context.finish([reply(one) for one in targets], now_ms).session_id


def test_a_final_epoch_reads_without_a_session_and_closes_the_one_it_names() -> None:
    cache = make_cache()
    session_id = start_session(cache, target(0))
    context = open_(cache, view(target(1), session_id=session_id, epoch=FINAL_EPOCH))
    assert [one.partition for one in context.targets()] == [1]
    assert context.finish([reply(target(1))], 0).session_id == NO_SESSION
    assert len(cache) == 0


def test_an_incremental_request_reads_all_that_the_session_remembers() -> None:
    cache = make_cache()
    session_id = start_session(cache, target(0), target(1))
    context = open_(cache, view(target(1, offset=9), target(2), session_id=session_id, epoch=1))
    assert [(one.partition, one.fetch_offset) for one in context.targets()] == [(0, 0), (1, 9), (2, 0)]


def test_forgotten_partitions_are_no_longer_read() -> None:
    cache = make_cache()
    session_id = start_session(cache, target(0), target(1))
    context = open_(cache, view(session_id=session_id, epoch=1, forgotten=[0]))
    assert [one.partition for one in context.targets()] == [1]


def test_a_session_that_forgets_everything_is_closed() -> None:
    cache = make_cache()
    session_id = start_session(cache, target(0))
    context = open_(cache, view(session_id=session_id, epoch=1, forgotten=[0]))
    assert list(context.targets()) == []
    assert len(cache) == 0


def test_only_partitions_with_news_are_answered() -> None:
    cache = make_cache()
    quiet, moved, full, failed = (target(partition) for partition in range(4))
    session_id = start_session(cache, quiet, moved, full, failed)
    context = open_(cache, view(session_id=session_id, epoch=1))
    outcome = context.finish(
        [
            reply(quiet),
            reply(moved, high_watermark=6),
            reply(full, records=b"data"),
            reply(failed, high_watermark=-1, error=ErrorCode.NOT_LEADER_OR_FOLLOWER),
        ],
        0,
    )
    assert [one.target.partition for one in outcome.replies] == [1, 2, 3]
    assert outcome.session_id == session_id


def test_a_partition_that_failed_is_answered_again_once_it_recovers() -> None:
    cache = make_cache()
    one = target(0)
    session_id = start_session(cache, one)
    failing = open_(cache, view(session_id=session_id, epoch=1))
    failing.finish([reply(one, error=ErrorCode.NOT_LEADER_OR_FOLLOWER)], 0)
    recovered = open_(cache, view(session_id=session_id, epoch=2))
    assert len(recovered.finish([reply(one)], 0).replies) == 1


def test_a_partition_that_gave_data_goes_to_the_end_of_the_line() -> None:
    cache = make_cache()
    first, second = target(0), target(1)
    session_id = start_session(cache, first, second)
    context = open_(cache, view(session_id=session_id, epoch=1))
    context.finish([reply(first, records=b"data"), reply(second)], 0)
    following = open_(cache, view(session_id=session_id, epoch=2))
    assert [one.partition for one in following.targets()] == [1, 0]


@pytest.mark.parametrize(
    ("epoch", "by_id", "session_offset", "code"),
    [
        (1, False, 1000, ErrorCode.FETCH_SESSION_ID_NOT_FOUND),
        (2, False, 0, ErrorCode.INVALID_FETCH_SESSION_EPOCH),
        (1, True, 0, ErrorCode.FETCH_SESSION_TOPIC_ID_ERROR),
    ],
)
def test_a_session_that_cannot_go_on_is_refused(
    epoch: int, by_id: bool, session_offset: int, code: ErrorCode
) -> None:
    cache = make_cache()
    session_id = start_session(cache, target(0)) + session_offset
    context = open_(cache, view(session_id=session_id, epoch=epoch, by_id=by_id))
    outcome = context.finish([], 0)
    assert (outcome.error, outcome.session_id) == (code, NO_SESSION)


def test_an_answer_that_a_newer_request_overtook_is_refused() -> None:
    cache = make_cache()
    one = target(0)
    session_id = start_session(cache, one)
    slow = open_(cache, view(session_id=session_id, epoch=1))
    open_(cache, view(session_id=session_id, epoch=2))
    outcome = slow.finish([reply(one)], 0)
    assert outcome.error is ErrorCode.INVALID_FETCH_SESSION_EPOCH


def test_a_topic_id_that_becomes_known_is_resolved_in_the_session() -> None:
    cache = make_cache()
    topic_id = bytes(range(16))
    unnamed = target(0, topic=None, topic_id=topic_id)
    session_id = start_session(cache, unnamed, by_id=True)
    context = open_context(
        cache, view(session_id=session_id, epoch=1, by_id=True), {topic_id: "t"}.get, now_ms=0
    )
    assert [one.topic for one in context.targets()] == ["t"]


def test_a_full_cache_gives_no_session_to_a_client_that_displaces_nobody() -> None:
    cache = make_cache(max_sessions=1)
    start_session(cache, target(0), now_ms=0)
    assert start_session(cache, target(1), now_ms=1) == NO_SESSION


def test_a_stale_session_makes_room() -> None:
    cache = make_cache(max_sessions=1)
    old = start_session(cache, target(0), now_ms=0)
    assert start_session(cache, target(1), now_ms=EVICTION_MS + 1) not in (NO_SESSION, old)
    assert cache.get(old) is None


def test_a_larger_client_displaces_a_smaller_one_that_lived_long_enough() -> None:
    cache = make_cache(max_sessions=1)
    small = start_session(cache, target(0), now_ms=0)
    later = EVICTION_MS + 1
    open_(cache, view(session_id=small, epoch=1), now_ms=later)
    assert start_session(cache, target(0), target(1), now_ms=later) != NO_SESSION
    assert cache.get(small) is None


def test_a_client_never_displaces_a_follower() -> None:
    cache = make_cache(max_sessions=1)
    follower = start_session(cache, target(0), now_ms=0, privileged=True)
    later = EVICTION_MS + 1
    open_(cache, view(session_id=follower, epoch=1), now_ms=later)
    assert start_session(cache, target(0), target(1), now_ms=later) == NO_SESSION


class Follower:
    """A follower's session over some partitions that say when they have news."""

    def __init__(self, cache: FetchSessionCache, size: int) -> None:
        self.cache = cache
        self.partitions = [Observers() for _ in range(size)]
        self.epoch = INITIAL_EPOCH
        self.session_id = NO_SESSION
        self.woken = 0

    def wake(self) -> None:
        self.woken += 1

    def fetch(self, *targets: FetchTarget, forgotten: Iterable[int] = ()) -> FetchContext:
        request = view(
            *targets, session_id=self.session_id, epoch=self.epoch, forgotten=forgotten, privileged=True
        )
        self.epoch += 1
        return open_(self.cache, request)

    def has_everything(self, context: FetchContext) -> list[int]:
        """Answers that it does, for all that is looked at: which were those?"""
        looked_at = list(context.targets())
        replies = [reply(one, observers=self.partitions[one.partition]) for one in looked_at]
        self.session_id = context.finish(replies, 0).session_id
        return [one.partition for one in looked_at]


def test_what_a_follower_has_everything_of_is_looked_at_again_when_there_is_news() -> None:
    follower = Follower(make_cache(), 1000)
    everything = follower.fetch(*(target(number) for number in range(1000)))
    assert len(follower.has_everything(everything)) == 1000
    assert follower.has_everything(follower.fetch()) == []
    follower.partitions[700].tell(is_urgent=False)
    follower.partitions[70].tell(is_urgent=True)
    assert follower.has_everything(follower.fetch()) == [700, 70]
    assert follower.has_everything(follower.fetch()) == []
    assert follower.has_everything(follower.fetch(target(5, offset=3))) == [5]


def test_news_wake_the_request_that_waits_unless_they_can_wait() -> None:
    follower = Follower(make_cache(), 2)
    follower.has_everything(follower.fetch(target(0), target(1)))
    waiting = follower.fetch()
    sleepers = waiting.sleepers()
    assert sleepers is not None
    sleepers.add(follower)
    follower.partitions[0].tell(is_urgent=False)
    assert follower.woken == 0
    follower.partitions[0].tell(is_urgent=True)
    assert follower.woken == 1
    assert [one.partition for one in waiting.targets()] == [0]


def test_a_follower_that_is_behind_is_looked_at_every_time() -> None:
    follower = Follower(make_cache(), 1)
    follower.has_everything(follower.fetch(target(0)))
    behind = follower.fetch(target(0, offset=1))
    behind.finish([reply(one, records=b"batch") for one in behind.targets()], 0)
    assert len(follower.partitions[0]) == 0
    assert [one.partition for one in follower.fetch().targets()] == [0]


def test_a_session_that_is_over_and_what_it_forgets_are_told_nothing_more() -> None:
    cache = make_cache(max_sessions=1)
    follower = Follower(cache, 3)
    follower.has_everything(follower.fetch(target(0), target(1), target(2)))
    follower.has_everything(follower.fetch(forgotten=[1]))
    assert [len(observers) for observers in follower.partitions] == [1, 0, 1]
    other = Follower(cache, 3)
    stale = open_(cache, view(target(0), privileged=True), EVICTION_MS + 1)
    stale.finish([reply(target(0), observers=other.partitions[0])], EVICTION_MS + 1)
    assert [len(observers) for observers in follower.partitions] == [0, 0, 0]
    cache.clear()
    assert [len(observers) for observers in other.partitions] == [0, 0, 0]
