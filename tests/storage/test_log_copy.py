"""A copy follows its log through appends, cuts and deletions, and ends up the same byte for byte."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from pybroker.records.policy import Origin
from pybroker.storage.context import StorageContext
from pybroker.storage.errors import CorruptRecords
from pybroker.storage.files import Files
from pybroker.storage.loader import create_log
from pybroker.storage.log import Log
from pybroker.storage.log_config import LogConfig
from pybroker.storage.log_copy import LogCopy, is_copy_of
from tests.storage.conftest import PARTITION, Clock, all_records, batch, marker

CONFIG = LogConfig(segment_bytes=1500, index_interval_bytes=200, retention_bytes=3000, retention_ms=-1)


@pytest.fixture
def logs(tmp_path: Path) -> Iterator[tuple[Log, Log]]:
    context = StorageContext(now_ms=Clock().now_ms, files=Files())
    made = [create_log(str(tmp_path / name), PARTITION, CONFIG, context) for name in ("source", "copy")]
    yield made[0], made[1]
    for log in made:
        log.close_handles()


def catch_up(copy: LogCopy) -> None:
    copy.follow()
    while not copy.is_complete:
        read = copy.next_piece()
        assert read.slice is not None
        copy.take(read.slice.read())
        read.slice.release()
        copy.follow()


def raw(log: Log) -> bytes:
    found = b""
    offset = log.segments.first.base_offset
    offset = max(offset, log.log_start_offset)
    while offset < log.log_end_offset:
        read = log.read(offset, 1 << 20)
        assert read.slice is not None
        found += read.slice.read()
        read.slice.release()
        offset = read.end_offset
    return found


def assert_same(source: Log, copy: Log) -> None:
    assert (copy.log_start_offset, copy.log_end_offset) == (source.log_start_offset, source.log_end_offset)
    assert raw(copy) == raw(source)
    assert copy.latest_epoch == source.latest_epoch
    assert copy.aborted_transactions(0, 1 << 40) == source.aborted_transactions(0, 1 << 40)
    assert copy.first_unstable_offset == source.first_unstable_offset
    entries = [
        {
            producer: (entry.producer_epoch, entry.last_sequence, entry.last_offset, entry.txn_first_offset)
            for producer, entry in log.producers.active().items()
        }
        for log in (source, copy)
    ]
    assert entries[0] == entries[1]


def write(log: Log, count: int, epoch: int) -> None:
    for _ in range(count):
        log.append_as_leader(batch(3, size=50), epoch)


def test_batches_producers_epochs_and_aborted_transactions_arrive(logs: tuple[Log, Log]) -> None:
    source, target = logs
    write(source, 5, 1)
    source.append_as_leader(batch(2, producer=(7, 0, 0)), 2)
    source.append_as_leader(batch(2, producer=(9, 0, 0), transactional=True), 2)
    source.append_as_leader(marker(9, 0, commit=False), 2, Origin.COORDINATOR)
    source.append_as_leader(batch(2, producer=(9, 0, 2), transactional=True), 3)
    write(source, 30, 4)
    copy = LogCopy(source, target)
    catch_up(copy)
    assert_same(source, target)
    assert len(source.segments) > 2
    write(source, 3, 5)
    assert copy.lag == 9
    catch_up(copy)
    assert_same(source, target)


def test_a_copy_begins_with_the_batch_that_holds_the_log_start(logs: tuple[Log, Log]) -> None:
    source, target = logs
    write(source, 20, 1)
    source.advance_log_start_offset(31)
    copy = LogCopy(source, target)
    catch_up(copy)
    assert_same(source, target)
    assert target.segments.first.base_offset == 30


def test_an_empty_log_is_copied_by_its_offsets(logs: tuple[Log, Log]) -> None:
    source, target = logs
    source.truncate_fully_and_start_at(42)
    copy = LogCopy(source, target)
    catch_up(copy)
    assert (target.log_start_offset, target.log_end_offset) == (42, 42)


def test_deleted_records_go_from_the_copy_too(logs: tuple[Log, Log]) -> None:
    source, target = logs
    write(source, 40, 1)
    copy = LogCopy(source, target)
    copy.follow()
    read = copy.next_piece()
    assert read.slice is not None
    copy.take(read.slice.read())
    source.advance_log_start_offset(target.log_end_offset - 1)
    copy.follow()
    assert target.log_start_offset == source.log_start_offset
    source.advance_log_start_offset(target.log_end_offset + 40)
    catch_up(copy)
    assert_same(source, target)


def test_a_cut_and_another_leaders_records_replace_what_was_copied(logs: tuple[Log, Log]) -> None:
    source, target = logs
    write(source, 5, 1)
    write(source, 10, 3)
    copy = LogCopy(source, target)
    catch_up(copy)
    source.truncate_to(24)
    write(source, 20, 5)
    assert copy.was_cut
    assert not copy.is_complete
    catch_up(copy)
    assert_same(source, target)
    source.truncate_to(9)
    write(source, 2, 6)
    catch_up(copy)
    assert_same(source, target)


def test_after_a_restart_a_copy_goes_on_where_it_was(logs: tuple[Log, Log]) -> None:
    source, target = logs
    write(source, 20, 1)
    catch_up(LogCopy(source, target))
    source.truncate_to(30)
    write(source, 5, 2)
    again = LogCopy(source, target)
    again.follow()
    assert target.log_end_offset == 30
    catch_up(again)
    assert_same(source, target)


def test_a_copy_without_known_epochs_begins_anew(logs: tuple[Log, Log]) -> None:
    source, target = logs
    write(source, 4, 1)
    target.append_as_leader(batch(2), -1)
    catch_up(LogCopy(source, target))
    assert_same(source, target)


def test_a_damaged_piece_is_refused(logs: tuple[Log, Log]) -> None:
    source, target = logs
    write(source, 2, 1)
    copy = LogCopy(source, target)
    copy.follow()
    read = copy.next_piece()
    assert read.slice is not None
    damaged = bytearray(read.slice.read())
    damaged[-1] ^= 1
    with pytest.raises(CorruptRecords):
        copy.take(bytes(damaged))
    assert target.log_end_offset == 0


def test_a_log_is_known_as_a_copy_by_its_last_batch(logs: tuple[Log, Log]) -> None:
    source, target = logs
    assert is_copy_of(target, source)
    write(source, 4, 1)
    catch_up(LogCopy(source, target))
    write(source, 4, 1)
    assert is_copy_of(target, source)
    assert not is_copy_of(source, target)
    target.append_as_leader(batch(3, size=51), 1)
    assert not is_copy_of(target, source)
    assert all_records(target)
