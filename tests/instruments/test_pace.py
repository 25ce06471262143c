"""Long work rests when its slice is over, and not before."""

import trio
import trio.testing

from pybroker.instruments.pace import Pace


async def test_a_slice_ends_by_the_clock_and_begins_anew_after_a_rest() -> None:
    now_s = 10.0
    pace = Pace(0.5, lambda: now_s)
    assert not pace.is_over
    now_s = 10.5
    assert pace.is_over
    with trio.testing.assert_checkpoints():
        await pace.rest()
    assert not pace.is_over
    now_s = 11.0
    assert pace.is_over
