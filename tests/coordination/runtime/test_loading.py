"""A log is read in slices: others have their turn, and what they decide is heard."""

import trio
import trio.testing

from pybroker.coordination.runtime.loading import RECORDS_PER_LOOK, in_slices, read_log
from pybroker.instruments.pace import Pace
from pybroker.model.ids import Offset
from pybroker.records.builder import RecordBatchBuilder
from pybroker.records.header import BatchHeader, Buffer, Record
from tests.coordination.runtime.memory_log import MemoryLog

RECORDS = 10 * RECORDS_PER_LOOK


class Reading:
    def __init__(self) -> None:
        self.seen: list[tuple[Offset, Offset]] = []

    def control(self, header: BatchHeader, batch: Buffer) -> None:
        raise AssertionError("there is no marker")

    def apply(self, header: BatchHeader, record: Record, first_offset: Offset) -> None:
        self.seen.append((record.offset, first_offset))


def log_of(*sizes: int) -> MemoryLog:
    log = MemoryLog()
    for size in sizes:
        builder = RecordBatchBuilder()
        for _ in range(size):
            builder.append(b"k", b"v", 0)
        log.append(builder.build(), all_replicas=False)
    return log


async def turns_of_others(until: trio.Event) -> int:
    turns = 0
    while not until.is_set():
        turns += 1
        await trio.lowlevel.checkpoint()
    return turns


async def test_a_large_batch_is_read_in_slices(nursery: trio.Nursery) -> None:
    reading, done = Reading(), trio.Event()

    async def read() -> None:
        await read_log(log_of(2, RECORDS), reading, Pace(0), lambda: False)
        done.set()

    nursery.start_soon(read)
    assert await turns_of_others(done) >= RECORDS // RECORDS_PER_LOOK
    assert reading.seen == [(0, 0), (1, 0), *((n, 2) for n in range(2, 2 + RECORDS))]


async def test_reading_ends_with_leadership() -> None:
    reading = Reading()
    await read_log(log_of(RECORDS), reading, Pace(0), lambda: len(reading.seen) >= RECORDS_PER_LOOK)
    assert len(reading.seen) == RECORDS_PER_LOOK


async def test_a_quick_read_does_not_rest() -> None:
    reading = Reading()
    with trio.testing.assert_no_checkpoints():
        await read_log(log_of(1, 1), reading, Pace(60), lambda: False)
    assert len(reading.seen) == 2


async def test_steps_are_carried_out_in_order_and_in_slices(nursery: trio.Nursery) -> None:
    carried: list[int] = []
    done = trio.Event()

    async def carry() -> None:
        await in_slices(range(100), Pace(0), carried.append)
        done.set()

    nursery.start_soon(carry)
    assert await turns_of_others(done) >= 100
    assert carried == list(range(100))
