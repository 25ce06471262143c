"""Broker time comes from one clock, and timers fire by it, in order, once."""

import pytest

from pybroker.instruments.clock import BorrowedTimers, Clock, TimerQueue


def test_the_clock_runs_with_its_source() -> None:
    now = [1000]
    clock = Clock(lambda: now[0])
    now[0] = 1700
    assert clock.now_ms() == 1700


def test_a_frozen_clock_stands_until_it_is_advanced() -> None:
    now = [1000]
    clock = Clock(lambda: now[0])
    clock.freeze()
    now[0] = 99_000
    assert clock.now_ms() == 1000
    clock.advance(50)
    assert clock.now_ms() == 1050
    assert clock.is_frozen


def test_a_resumed_clock_goes_on_from_where_it_stood() -> None:
    now = [1000]
    clock = Clock(lambda: now[0])
    clock.freeze(at_ms=5000)
    now[0] = 2000
    clock.resume()
    assert clock.now_ms() == 5000
    now[0] = 2300
    assert clock.now_ms() == 5300


def test_broker_time_never_goes_back_on_request() -> None:
    with pytest.raises(ValueError, match="cannot go back by 1 ms"):
        Clock(lambda: 0).advance(-1)


def test_sleepers_are_told_of_every_jump() -> None:
    jumps: list[int] = []
    clock = Clock(lambda: 0)
    clock.on_jump(lambda: jumps.append(clock.now_ms()))
    clock.advance(5)
    clock.freeze()
    clock.advance(1)
    clock.resume()
    assert jumps == [5, 5, 6, 6]


def test_timers_fire_by_due_time_then_by_the_order_they_were_made_in() -> None:
    timers = TimerQueue()
    fired: list[str] = []
    for name, when_ms in (("late", 30), ("b", 20), ("a", 10), ("c", 20)):
        timers.schedule("test", when_ms, lambda name=name: fired.append(name))
    assert timers.next_deadline_ms() == 10
    assert timers.fire_due(20) == 3
    assert fired == ["a", "b", "c"]
    assert timers.next_deadline_ms() == 30
    assert len(timers) == 1


def test_a_timer_is_due_at_its_time_and_not_before() -> None:
    timers = TimerQueue()
    timers.schedule("test", 10, lambda: None)
    assert timers.fire_due(9) == 0
    assert timers.fire_due(10) == 1
    assert timers.fire_due(10) == 0


def test_a_cancelled_timer_never_fires() -> None:
    timers = TimerQueue()
    fired: list[int] = []
    timer = timers.schedule("test", 10, lambda: fired.append(1))
    timer.cancel()
    timer.cancel()
    assert not timer.is_pending
    assert len(timers) == 0
    assert timers.next_deadline_ms() is None
    assert timers.fire_due(100) == 0
    assert fired == []


def test_a_callback_may_cancel_another_timer_that_is_due() -> None:
    timers = TimerQueue()
    fired: list[str] = []
    timers.schedule("test", 10, lambda: second.cancel())
    second = timers.schedule("test", 10, lambda: fired.append("second"))
    assert timers.fire_due(10) == 1
    assert fired == []


def test_a_timer_made_by_a_callback_waits_for_the_next_call() -> None:
    timers = TimerQueue()
    fired: list[int] = []

    def again() -> None:
        fired.append(len(fired))
        timers.schedule("again", 0, again)

    timers.schedule("again", 0, again)
    assert timers.fire_due(100) == 1
    assert timers.fire_due(100) == 1
    assert fired == [0, 1]


def test_a_limit_leaves_the_rest_for_later() -> None:
    timers = TimerQueue()
    for when_ms in range(5):
        timers.schedule("test", when_ms, lambda: None)
    assert timers.fire_due(10, limit=2) == 2
    assert timers.fire_due(10, limit=0) == 0
    assert timers.fire_due(10) == 3


def test_a_callback_that_fails_is_logged_and_does_not_stop_the_others(
    caplog: pytest.LogCaptureFixture,
) -> None:
    timers = TimerQueue()
    fired: list[str] = []
    timers.schedule("session", 1, lambda: 1 // 0)
    timers.schedule("session", 2, lambda: fired.append("second"))
    assert timers.fire_due(2) == 2
    assert fired == ["second"]
    assert "timer session, due at 1, failed" in caplog.text


def test_many_cancelled_timers_do_not_pile_up() -> None:
    timers = TimerQueue()
    keep = timers.schedule("keep", 10**9, lambda: None)
    for when_ms in range(10_000):
        timers.schedule("session", when_ms, lambda: None).cancel()
    assert len(timers) == 1
    assert len(timers._heap) < 200
    assert timers.pending() == {"keep": 1}
    keep.cancel()


def test_compaction_inside_a_callback_loses_nothing() -> None:
    timers = TimerQueue()
    victims = [timers.schedule("victim", 500, lambda: None) for _ in range(200)]
    fired: list[str] = []
    timers.schedule("killer", 1, lambda: [victim.cancel() for victim in victims] and None)
    timers.schedule("survivor", 2, lambda: fired.append("survivor"))
    assert timers.fire_due(1000) == 2
    assert fired == ["survivor"]


def test_the_sleeper_is_told_only_of_earlier_deadlines() -> None:
    timers = TimerQueue()
    told: list[int | None] = []
    timers.notify_earlier(lambda: told.append(timers.next_deadline_ms()))
    timers.schedule("test", 50, lambda: None)
    timers.schedule("test", 60, lambda: None)
    timers.schedule("test", 40, lambda: None)
    assert told == [50, 40]


def test_a_callback_that_cancels_many_timers_does_not_lose_the_others() -> None:
    timers = TimerQueue()
    fired: list[str] = []
    doomed = [timers.schedule("doomed", 5, lambda: fired.append("doomed")) for _ in range(200)]

    def cancel_all() -> None:
        for timer in doomed:
            timer.cancel()

    timers.schedule("first", 1, cancel_all)
    timers.schedule("kept", 6, lambda: fired.append("kept"))
    timers.fire_due(10)
    assert fired == ["kept"]
    assert len(timers) == 0


def test_a_leap_for_some_kinds_leaves_the_others_their_distance() -> None:
    timers = TimerQueue()
    fired: list[str] = []
    for kind, when_ms in (("session", 10), ("retention", 20), ("rebalance", 5)):
        timers.schedule(kind, when_ms, lambda kind=kind: fired.append(kind))
    timers.postpone(100, but=("retention",))
    assert timers.fire_due(100) == 1
    assert fired == ["retention"]
    assert timers.fire_due(110) == 2
    assert fired == ["retention", "rebalance", "session"]


def test_what_a_borrower_has_planned_goes_with_it() -> None:
    timers = TimerQueue()
    fired: list[str] = []
    one, other = BorrowedTimers(timers), BorrowedTimers(timers)
    one.schedule("session", 1, lambda: fired.append("one, before its end"))
    one.schedule("session", 10, lambda: fired.append("one"))
    other.schedule("session", 10, lambda: fired.append("other"))
    timers.fire_due(5)
    one.cancel_all()
    timers.fire_due(10)
    assert fired == ["one, before its end", "other"]
    assert len(timers) == 0
