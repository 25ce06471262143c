"""The cleaner's throttle: bytes per second on average."""

from pybroker.storage.cleaning.job import CleanerLimits
from pybroker.storage.cleaning.worker import Throttler


class Time:
    """Seconds that pass only in :meth:`sleep`, and when told."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def now(self) -> float:
        return self.now_s

    def sleep(self, seconds: float) -> None:
        self.now_s += seconds


def test_no_more_bytes_pass_than_allowed_on_average() -> None:
    time = Time()
    throttle = Throttler(1000.0, time.now, time.sleep)
    throttle(500)
    assert time.now_s == 100.5
    time.now_s += 2.0
    throttle(1000)
    assert time.now_s == 102.5
    throttle(2000)
    assert time.now_s == 103.5


def test_without_a_limit_nothing_waits() -> None:
    time = Time()
    Throttler(CleanerLimits().max_bytes_per_second, time.now, time.sleep)(1 << 60)
    assert time.now_s == 100.0
