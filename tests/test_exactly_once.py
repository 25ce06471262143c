"""Consume, transform, produce: the short form of ``make soak KIND=exactly-once``, with real processes."""

from collections.abc import Iterator

import pytest

from interop.soak.exactly_once import OneBroker, Soak


@pytest.fixture
def soak() -> Iterator[Soak]:
    soak = Soak(seed=7, brokers=OneBroker())
    yield soak
    soak.stop()


def test_each_record_is_copied_once_though_workers_and_broker_are_killed(soak: Soak) -> None:
    soak.run(rounds=3, pause_s=(0.5, 1.0))
    assert sum(soak.killed.values()) >= 3
    assert soak.wrong == [], "\n".join(worker.log_tail() for worker in soak.workers)
    assert soak.copied >= soak.load.acknowledged > 50
