"""The stall gauge names the task that held the trio thread longest."""

import time

import trio

from pybroker.instruments.stalls import StallGauge


async def test_the_longest_stretch_is_found_with_its_task() -> None:
    async def hog() -> None:
        until = time.perf_counter() + 0.025
        while time.perf_counter() < until:
            pass

    gauge = StallGauge()
    trio.lowlevel.add_instrument(gauge)
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(hog, name="the hog")
            for _ in range(50):
                await trio.lowlevel.checkpoint()
    finally:
        trio.lowlevel.remove_instrument(gauge)
    assert gauge.worst_task == "the hog"
    assert 0.025 <= gauge.worst_s < 1
    assert 0 < gauge.worst_cpu_s <= gauge.most_cpu_s < 1
    assert gauge.long_stretches >= 1
    assert gauge.steps >= 50
    assert gauge.percentile_s(1.0) >= 0.025
    assert gauge.percentile_s(0.5) <= 0.01


def test_a_gauge_without_steps_reads_zero() -> None:
    assert StallGauge().percentile_s() == 0.0
