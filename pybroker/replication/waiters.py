"""Requests that sleep until a partition has news.

A :class:`Waiter` belongs to one request and is hung on every partition that could satisfy it. Waking is
cheap and says only "look again": the request plans anew, and sleeps again if there is still too little.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Protocol

import trio


class Waiter:
    """One sleeping request. Woken any number of times; each sleep consumes the wake-ups so far."""

    __slots__ = ("_task", "_woken")

    def __init__(self) -> None:
        self._woken = False
        self._task: trio.lowlevel.Task | None = None

    def wake(self) -> None:
        """Let the request look again. Callable any number of times, from the trio thread."""
        self._woken = True
        task, self._task = self._task, None
        if task is not None:
            trio.lowlevel.reschedule(task)

    async def sleep(self) -> None:
        """Return at the first wake-up since the last sleep; at once if there was one already."""
        if not self._woken:
            self._task = trio.lowlevel.current_task()
            await trio.lowlevel.wait_task_rescheduled(self._abort)
        self._woken = False

    def _abort(self, _raise_cancel: trio.lowlevel.RaiseCancelT) -> trio.lowlevel.Abort:
        self._task = None
        return trio.lowlevel.Abort.SUCCEEDED


class WaiterSet:
    """The waiters of one partition. Its one writer is the trio thread."""

    __slots__ = ("_waiters",)

    def __init__(self) -> None:
        self._waiters: set[Waiter] = set()

    def __len__(self) -> int:
        return len(self._waiters)

    def add(self, waiter: Waiter) -> None:
        self._waiters.add(waiter)

    def discard(self, waiter: Waiter) -> None:
        self._waiters.discard(waiter)

    def wake_all(self) -> None:
        for waiter in self._waiters:
            waiter.wake()


class Wakers(Protocol):
    """Where a waiter can hang: the set of a partition, or of whoever hears of many."""

    def add(self, waiter: Waiter, /) -> None: ...

    def discard(self, waiter: Waiter, /) -> None: ...


@contextmanager
def waiting_on(sets: Iterable[Wakers]) -> Iterator[Waiter]:
    """A waiter that hangs on all ``sets`` while the block runs."""
    waiter = Waiter()
    held = tuple(sets)
    for waiters in held:
        waiters.add(waiter)
    try:
        yield waiter
    finally:
        for waiters in held:
            waiters.discard(waiter)
