"""Waiting for a condition of another process, with a deadline instead of a sleep."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

POLL_INTERVAL_S = 0.05


class DeadlineExceeded(AssertionError):
    """The condition did not hold in time; the message says which and what was seen last."""


class Deadline:
    """A point in time `seconds` from now, on the monotonic clock."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._end = time.monotonic() + seconds

    @property
    def remaining(self) -> float:
        """Seconds left, never negative."""
        return max(0.0, self._end - time.monotonic())

    @property
    def passed(self) -> bool:
        return time.monotonic() >= self._end


def wait_until(condition: Callable[[], T | None], what: str, timeout_s: float = 30.0) -> T:
    """Poll `condition` until it is truthy and return its value; raises DeadlineExceeded."""
    deadline = Deadline(timeout_s)
    while True:
        value = condition()
        if value:
            return value
        if deadline.passed:
            raise DeadlineExceeded(f"{what}: not within {timeout_s:g} s (last seen: {value!r})")
        time.sleep(POLL_INTERVAL_S)
