"""The trio shell of the timer queue: a task that sleeps until the next timer is due."""

import trio

from pybroker.instruments.clock import Clock, TimerQueue

LONGEST_SLEEP_S = 1.0
"""The wall clock may be set while we sleep; it is looked at again at least this often."""

SLICE = 64
"""Timers fired in one stretch on the trio thread, before others get their turn."""


async def run_timers(clock: Clock, timers: TimerQueue) -> None:
    """Fires timers as they fall due, until cancelled."""
    changed = trio.Event()

    def wake() -> None:
        changed.set()

    clock.on_jump(wake)
    timers.notify_earlier(wake)
    try:
        while True:
            changed = trio.Event()
            if timers.fire_due(clock.now_ms(), SLICE):
                await trio.lowlevel.checkpoint()
                continue
            with trio.move_on_after(_sleep_s(clock, timers)):
                await changed.wait()
    finally:
        timers.notify_earlier(None)


def _sleep_s(clock: Clock, timers: TimerQueue) -> float:
    deadline_ms = timers.next_deadline_ms()
    if deadline_ms is None:
        return LONGEST_SLEEP_S
    return min(LONGEST_SLEEP_S, max(0.0, (deadline_ms - clock.now_ms()) / 1000))
