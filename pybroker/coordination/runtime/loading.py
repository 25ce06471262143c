"""A coordinator's log, read from its start to its end in slices."""

import logging
from collections.abc import Callable, Iterable, Iterator
from typing import Protocol, TypeVar

from pybroker.coordination.runtime.log_port import CoordinatorLog
from pybroker.instruments.collector import set_aside
from pybroker.instruments.pace import Pace
from pybroker.model.ids import Offset
from pybroker.records.batch import iter_records
from pybroker.records.errors import InvalidRecords
from pybroker.records.header import BatchHeader, Buffer, Record, iter_batch_headers

logger = logging.getLogger(__name__)

READ_BYTES = 64 * 1024
"""How much is read at a time; one batch at least."""

RECORDS_PER_LOOK = 32
"""So many records of a batch between two looks at the clock."""

LARGE_AFTER_SLICES = 10
"""What is made in so many slices is little enough for the garbage collector."""

T = TypeVar("T")


class Replay(Protocol):
    """Collects what a log holds."""

    def control(self, header: BatchHeader, batch: Buffer) -> None: ...

    def apply(self, header: BatchHeader, record: Record, first_offset: Offset) -> None: ...


async def read_log(log: CoordinatorLog, replay: Replay, pace: Pace, is_over: Callable[[], bool]) -> None:
    """Hand everything to ``replay``, until ``is_over``. Damaged batches are passed over, with a line.

    Raises:
        StorageError: the log cannot be read.
    """
    offset = log.log_start_offset
    while offset < log.log_end_offset:
        data = log.read(offset, READ_BYTES)
        if not data:
            return
        for position, header in iter_batch_headers(data):
            offset = header.next_offset
            for _ in _read_batch(replay, header, data[position : position + header.size_in_bytes]):
                if pace.is_over:
                    await pace.rest()
                    if is_over():
                        return


def _read_batch(replay: Replay, header: BatchHeader, batch: bytes) -> Iterator[None]:
    """Yields whenever it is time to look at the clock."""
    yield
    if header.is_control:
        replay.control(header, batch)
        return
    first_offset: Offset | None = None
    try:
        for count, record in enumerate(iter_records(batch, header), 1):
            if first_offset is None:
                first_offset = record.offset
            replay.apply(header, record, first_offset)
            if count % RECORDS_PER_LOOK == 0:
                yield
    except InvalidRecords as error:
        logger.error("batch at offset %d is damaged: %s", header.base_offset, error)


async def in_slices(steps: Iterable[T], pace: Pace, carry_out: Callable[[T], None]) -> None:
    """Carry out one step after the other: what they make stays in memory.

    Of a large log each slice is handed to the garbage collector once, while it is young, and then set aside;
    unloading still frees it, because it holds no cycles.
    """
    slices = 0
    for step in steps:
        carry_out(step)
        if pace.is_over:
            slices += 1
            if slices >= LARGE_AFTER_SLICES:
                set_aside()
            await pace.rest()
