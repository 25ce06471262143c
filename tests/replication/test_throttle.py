"""Throttled replicas take so many bytes a second, measured over some samples, and no more (KIP-73)."""

import pytest

from pybroker.model.values import State
from pybroker.replication.throttle import ReplicationThrottle, names_replica

RATE = 1000


class Meter(State):
    """A throttle with a clock that the test moves."""

    now_ms: int = 1_000_000
    rate: int = RATE

    def throttle(self, samples: int = 11) -> ReplicationThrottle:
        return ReplicationThrottle(lambda: self.rate, lambda: self.now_ms, samples, 1000)


def test_nothing_is_held_back_before_anything_was_sent() -> None:
    assert not Meter(rate=0).throttle().is_exceeded


def test_at_the_rate_more_may_be_sent_and_above_it_nothing() -> None:
    throttle = Meter().throttle()
    throttle.record(RATE)
    assert not throttle.is_exceeded
    throttle.record(1)
    assert throttle.is_exceeded


def test_what_was_too_much_is_made_up_for_by_time() -> None:
    meter = Meter()
    throttle = meter.throttle()
    throttle.record(3 * RATE)
    meter.now_ms += 2999
    assert throttle.is_exceeded
    meter.now_ms += 1
    assert not throttle.is_exceeded


def test_old_samples_count_no_more() -> None:
    meter = Meter()
    throttle = meter.throttle(samples=2)
    throttle.record(1_000_000)
    meter.now_ms += 1000
    throttle.record(1)
    assert throttle.is_exceeded
    meter.now_ms += 1000
    assert not throttle.is_exceeded


def test_another_rate_is_obeyed_at_once() -> None:
    meter = Meter()
    throttle = meter.throttle()
    throttle.record(5 * RATE)
    assert throttle.is_exceeded
    meter.rate = 1 << 63
    assert not throttle.is_exceeded


def test_a_clock_that_steps_back_holds_nothing_back_for_ever() -> None:
    meter = Meter()
    throttle = meter.throttle()
    throttle.record(1_000_000)
    meter.now_ms -= 500_000
    assert not throttle.is_exceeded


@pytest.mark.parametrize(
    ("throttled", "is_named"),
    [((), False), (("*",), True), (("3:1",), True), (("3:2", "1:1"), False), (("0:7", "3:1"), True)],
)
def test_which_replicas_are_throttled(throttled: tuple[str, ...], is_named: bool) -> None:
    assert names_replica(throttled, partition=3, broker_id=1) is is_named
