"""Logs in a temporary directory, with a clock that the test turns."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pybroker.model.ids import TopicPartition
from pybroker.records.batch import iter_records
from pybroker.records.builder import build_batch
from pybroker.records.control import (
    ControlRecordType,
    EndTransactionMarker,
    build_end_transaction_marker,
)
from pybroker.records.header import CompressionType, Record, iter_batch_headers, read_batch_header
from pybroker.records.validation import ValidatedBatch
from pybroker.storage.context import StorageContext
from pybroker.storage.files import Files
from pybroker.storage.loader import open_log
from pybroker.storage.log import Log
from pybroker.storage.log_config import LogConfig

PARTITION = TopicPartition("orders", 3)


class Clock:
    """Milliseconds that only the test moves."""

    def __init__(self, now_ms: int = 1_700_000_000_000) -> None:
        self.now = now_ms

    def now_ms(self) -> int:
        return self.now


def validated(raw: bytes, log_append_time_ms: int = -1) -> ValidatedBatch:
    """A batch as the records room hands it over."""
    header = read_batch_header(raw)
    return ValidatedBatch(
        header,
        memoryview(bytearray(raw)),
        header.record_count,
        header.max_timestamp,
        header.last_offset_delta,
        log_append_time_ms,
    )


def batch(
    count: int = 1,
    *,
    timestamp: int = 1_700_000_000_000,
    size: int = 10,
    compression: CompressionType = CompressionType.NONE,
    producer: tuple[int, int, int] | None = None,
    transactional: bool = False,
) -> ValidatedBatch:
    """``count`` records, timestamps one apart; ``producer`` is (id, epoch, base sequence)."""
    producer_id, epoch, sequence = (-1, -1, -1) if producer is None else producer
    records = [Record(n, timestamp + n, b"k%d" % n, bytes([65 + n % 26]) * size) for n in range(count)]
    return validated(
        build_batch(
            records,
            compression=compression,
            producer_id=producer_id,
            producer_epoch=epoch,
            base_sequence=sequence,
            is_transactional=transactional,
        )
    )


def marker(
    producer_id: int,
    epoch: int,
    *,
    commit: bool,
    coordinator_epoch: int = 0,
    timestamp: int = 1_700_000_000_000,
) -> ValidatedBatch:
    """A transaction marker as the coordinator appends it."""
    kind = ControlRecordType.COMMIT if commit else ControlRecordType.ABORT
    return validated(
        build_end_transaction_marker(
            EndTransactionMarker(kind, coordinator_epoch),
            producer_id=producer_id,
            producer_epoch=epoch,
            timestamp_ms=timestamp,
        )
    )


def all_records(log: Log) -> list[Record]:
    """Every record from the log start to the end, read as a consumer would."""
    found: list[Record] = []
    offset = log.log_start_offset
    while offset < log.log_end_offset:
        read = log.read(offset, 1 << 20)
        if read.slice is None:
            break
        data = read.slice.read()
        read.slice.release()
        for position, header in iter_batch_headers(data):
            whole = data[position : position + header.size_in_bytes]
            found += [record for record in iter_records(whole) if record.offset >= log.log_start_offset]
            offset = header.next_offset
    return found


def all_offsets(log: Log) -> list[int]:
    """The offsets of :func:`all_records`."""
    return [record.offset for record in all_records(log)]


@pytest.fixture
def clock() -> Clock:
    """Turned by the test."""
    return Clock()


@pytest.fixture
def context(clock: Clock) -> StorageContext:
    """What logs share, over the real filesystem."""
    return StorageContext(now_ms=clock.now_ms, files=Files())


OpenLog = Callable[..., Log]


@pytest.fixture
def open_at(tmp_path: Path, context: StorageContext) -> Iterator[OpenLog]:
    """Opens the log of the test's one partition; keyword arguments as of ``open_log``."""
    opened = []
    directory = tmp_path / f"{PARTITION.topic}-{PARTITION.partition}"
    directory.mkdir()

    def open_here(config: LogConfig | None = None, **options: object) -> Log:
        options.setdefault("clean", True)
        log = open_log(str(directory), PARTITION, config or LogConfig(), context, **options)  # type: ignore[arg-type]
        opened.append(log)
        return log

    yield open_here
    for log in opened:
        log.close_handles()
