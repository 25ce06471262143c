"""The timer task sleeps until the next timer is due by the broker's clock, whatever moves that clock."""

import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from pybroker.instruments.clock import Clock, TimerQueue
from pybroker.instruments.timer_task import run_timers


async def test_advancing_a_frozen_clock_fires_at_once(nursery: trio.Nursery) -> None:
    clock, timers, fired = Clock(), TimerQueue(), trio.Event()
    clock.freeze(at_ms=0)
    nursery.start_soon(run_timers, clock, timers)
    timers.schedule("test", 60_000, fired.set)
    await wait_all_tasks_blocked()
    assert not fired.is_set()
    clock.advance(60_000)
    with trio.fail_after(1):
        await fired.wait()


async def test_an_earlier_timer_wakes_the_sleeper(nursery: trio.Nursery) -> None:
    clock, timers, fired = Clock(), TimerQueue(), trio.Event()
    clock.freeze(at_ms=0)
    timers.schedule("test", 60_000, lambda: None)
    nursery.start_soon(run_timers, clock, timers)
    await wait_all_tasks_blocked()
    timers.schedule("test", 0, fired.set)
    with trio.fail_after(1):
        await fired.wait()


async def test_a_running_clock_fires_when_time_has_passed(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    timers, fired = TimerQueue(), trio.Event()
    clock = Clock(lambda: int(trio.current_time() * 1000))
    start_ms = clock.now_ms()
    timers.schedule("test", start_ms + 2500, fired.set)
    nursery.start_soon(run_timers, clock, timers)
    await fired.wait()
    assert 2500 <= clock.now_ms() - start_ms <= 2600


async def test_many_due_timers_let_other_tasks_in_between(nursery: trio.Nursery) -> None:
    clock, timers = Clock(lambda: 1000), TimerQueue()
    seen: list[int] = []
    for _ in range(1000):
        timers.schedule("test", 1, lambda: None)
    nursery.start_soon(run_timers, clock, timers)
    while len(timers):
        seen.append(len(timers))
        await trio.lowlevel.checkpoint()
    assert len(seen) > 5
