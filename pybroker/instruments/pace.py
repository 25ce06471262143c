"""Long work on the trio thread, cut into slices by the clock: while it runs nobody else is served."""

import time
from collections.abc import Callable

import trio

SLICE_S = 0.002
"""How long a slice may be before others get their turn: less than half of the 5 ms aimed at, as the last
step of a slice comes on top."""


class Pace:
    """Asked between the small steps of a long piece of work.

    Args:
        slice_s: seconds of real time, because others wait in real time.
        now_s: a clock that never steps back.
    """

    def __init__(self, slice_s: float = SLICE_S, now_s: Callable[[], float] = time.perf_counter) -> None:
        self._slice_s = slice_s
        self._now_s = now_s
        self._ends_s = now_s() + slice_s

    @property
    def is_over(self) -> bool:
        """Whether this slice is."""
        return self._now_s() >= self._ends_s

    async def rest(self) -> None:
        """Let others have their turn; a new slice begins after it."""
        await trio.lowlevel.checkpoint()
        self._ends_s = self._now_s() + self._slice_s
