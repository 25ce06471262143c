"""Broker time: the one clock and the one queue of timers that everything but I/O time-outs lives by.

Broker time decides what a client can observe through data: append times, retention, sessions, rebalances,
transactions, expiry. I/O time (sockets, peers, long polls) is trio's own and never goes through here.
"""

import heapq
import logging
import time
from collections.abc import Callable, Collection
from weakref import WeakSet

log = logging.getLogger(__name__)


def wall_time_ms() -> int:
    """Milliseconds since the Unix epoch, from the operating system."""
    return time.time_ns() // 1_000_000


class Clock:
    """Broker time in milliseconds since the Unix epoch.

    It runs with the wall clock, shifted by :meth:`advance` and stopped by :meth:`freeze`. It may step back
    when the operating system's clock does; nothing may assume that two readings grow.
    """

    __slots__ = ("_frozen_at_ms", "_jumped", "_shift_ms", "_source")

    def __init__(self, source: Callable[[], int] = wall_time_ms) -> None:
        self._source = source
        self._shift_ms = 0
        self._frozen_at_ms: int | None = None
        self._jumped: list[Callable[[], None]] = []

    def now_ms(self) -> int:
        """The broker time now."""
        if self._frozen_at_ms is not None:
            return self._frozen_at_ms
        return self._source() + self._shift_ms

    @property
    def is_frozen(self) -> bool:
        return self._frozen_at_ms is not None

    def on_jump(self, callback: Callable[[], None]) -> None:
        """Calls back after every freeze, advance and resume, so that who sleeps by this clock looks again."""
        self._jumped.append(callback)

    def freeze(self, at_ms: int | None = None) -> None:
        """Stops the clock, at the given time or where it stands."""
        self._frozen_at_ms = self.now_ms() if at_ms is None else at_ms
        self._tell()

    def advance(self, by_ms: int) -> None:
        """Moves the clock on by ``by_ms`` (0 or more), frozen or not.

        Raises:
            ValueError: ``by_ms`` is negative.
        """
        if by_ms < 0:
            raise ValueError(f"broker time cannot go back by {-by_ms} ms")
        if self._frozen_at_ms is not None:
            self._frozen_at_ms += by_ms
        else:
            self._shift_ms += by_ms
        self._tell()

    def resume(self) -> None:
        """Lets a frozen clock run on from where it stands, so that broker time does not leap."""
        if self._frozen_at_ms is not None:
            self._shift_ms = self._frozen_at_ms - self._source()
            self._frozen_at_ms = None
            self._tell()

    def _tell(self) -> None:
        for callback in self._jumped:
            callback()


class Timer:
    """One callback that is due at a broker time. Made by :meth:`TimerQueue.schedule` only."""

    __slots__ = ("__weakref__", "_queue", "callback", "kind", "when_ms")

    def __init__(self, queue: "TimerQueue", kind: str, when_ms: int, callback: Callable[[], None]) -> None:
        self._queue: TimerQueue | None = queue
        self.kind = kind
        self.when_ms = when_ms
        self.callback = callback

    @property
    def is_pending(self) -> bool:
        """False once it has fired or was cancelled."""
        return self._queue is not None

    def cancel(self) -> None:
        """Makes sure that the callback is not called any more. Harmless when it already was."""
        if self._queue is not None:
            self._queue._forget(self)

    def _done(self) -> None:
        self._queue = None


class TimerQueue:
    """Timers by due time; those due at the same time fire in the order in which they were scheduled.

    Only the trio thread calls it. It never looks at a clock: :meth:`fire_due` is told the time.
    """

    __slots__ = ("_cancelled", "_heap", "_on_earlier", "_sequence", "kinds")

    def __init__(self) -> None:
        self._heap: list[tuple[int, int, Timer]] = []
        self.kinds: set[str] = set()
        """Every kind that was ever scheduled."""
        self._sequence = 0
        self._cancelled = 0
        self._on_earlier: Callable[[], None] | None = None

    def __len__(self) -> int:
        """How many timers are pending."""
        return len(self._heap) - self._cancelled

    def schedule(self, kind: str, when_ms: int, callback: Callable[[], None]) -> Timer:
        """Calls ``callback`` once, at broker time ``when_ms`` or soon after.

        ``kind`` names the purpose ("session", "rebalance", …) for logs and for the control interface.
        """
        self.kinds.add(kind)
        timer = Timer(self, kind, when_ms, callback)
        self._sequence += 1
        heap = self._heap
        heapq.heappush(heap, (when_ms, self._sequence, timer))
        if heap[0][2] is timer and self._on_earlier is not None:
            self._on_earlier()
        return timer

    def notify_earlier(self, callback: Callable[[], None] | None) -> None:
        """Calls back whenever a new timer is due before all others; the sleeping task uses it."""
        self._on_earlier = callback

    def next_deadline_ms(self) -> int | None:
        """The broker time at which the next timer is due; None when there is none."""
        heap = self._heap
        while heap and not heap[0][2].is_pending:
            heapq.heappop(heap)
            self._cancelled -= 1
        return heap[0][0] if heap else None

    def fire_due(self, now_ms: int, limit: int | None = None) -> int:
        """Calls back every timer that is due at ``now_ms`` (inclusive), at most ``limit``; returns how many.

        A timer that a callback schedules waits for the next call even when it is already due, so a callback
        that schedules itself again cannot keep this call going for ever. A callback that raises is logged
        and does not stop the others.
        """
        fired = 0
        newest = self._sequence
        later: list[tuple[int, int, Timer]] = []
        heap = self._heap
        while (deadline := self.next_deadline_ms()) is not None and deadline <= now_ms and fired != limit:
            entry = heapq.heappop(heap)
            if entry[1] > newest:
                later.append(entry)
                continue
            timer = entry[2]
            timer._done()
            fired += 1
            try:
                timer.callback()
            except Exception:  # the boundary of a bug: one purpose's failure is not the other timers'
                log.exception("timer %s, due at %d, failed", timer.kind, timer.when_ms)
        for entry in later:
            heapq.heappush(heap, entry)
        return fired

    def postpone(self, by_ms: int, but: Collection[str]) -> None:
        """Makes every pending timer due later by ``by_ms``, except those of some kinds: for these alone the
        clock's next leap is time that passed."""
        for position, (when_ms, sequence, timer) in enumerate(self._heap):
            if timer.kind not in but:
                timer.when_ms = when_ms + by_ms
                self._heap[position] = (timer.when_ms, sequence, timer)
        heapq.heapify(self._heap)

    def pending(self) -> dict[str, int]:
        """How many timers are pending, by kind."""
        counts: dict[str, int] = {}
        for _, _, timer in self._heap:
            if timer.is_pending:
                counts[timer.kind] = counts.get(timer.kind, 0) + 1
        return counts

    def _forget(self, timer: Timer) -> None:
        timer._done()
        self._cancelled += 1
        if self._cancelled > 64 and self._cancelled * 2 > len(self._heap):
            # In place, because fire_due may be walking it.
            self._heap[:] = [entry for entry in self._heap if entry[2].is_pending]
            heapq.heapify(self._heap)
            self._cancelled = 0


class BorrowedTimers(TimerQueue):
    """For one of several who share a queue, and who may end before the others: nothing of it fires then."""

    __slots__ = ("_lender", "_own")

    def __init__(self, lender: TimerQueue) -> None:
        super().__init__()
        self._lender = lender
        self._own: WeakSet[Timer] = WeakSet()

    def schedule(self, kind: str, when_ms: int, callback: Callable[[], None]) -> Timer:
        """As of the shared queue, which fires it."""
        timer = self._lender.schedule(kind, when_ms, callback)
        self._own.add(timer)
        return timer

    def cancel_all(self) -> None:
        """Its borrower is gone."""
        for timer in list(self._own):
            timer.cancel()
