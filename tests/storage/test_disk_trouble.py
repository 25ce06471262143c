"""Full disks, short writes, failing disks: an error to the producer, never a damaged log."""

import errno
import random

import pytest

from pybroker.records.policy import Origin
from pybroker.storage.context import StorageContext
from pybroker.storage.errors import DiskFull, LogDirFailed, OutOfOrderSequence, RecordsTooLarge
from pybroker.storage.loader import open_log
from pybroker.storage.log import Log
from pybroker.storage.log_config import LogConfig
from tests.storage.conftest import PARTITION, Clock, all_offsets, batch, marker
from tests.support.memory_files import MemoryFiles

DIRECTORY = f"/data/{PARTITION}"


class Disk:
    """A log on a disk in memory that keeps what it was told of failures."""

    def __init__(self) -> None:
        self.files = MemoryFiles()
        self.failures: list[tuple[str, OSError]] = []
        self.files.mkdir(DIRECTORY)

    def open(self, config: LogConfig, *, clean: bool = True) -> Log:
        context = StorageContext(
            now_ms=Clock().now_ms,
            files=self.files,
            handle_limit=4,
            on_failure=lambda path, error: self.failures.append((path, error)),
            random=random.Random(1),
        )
        return open_log(DIRECTORY, PARTITION, config, context, clean=clean)


@pytest.fixture
def disk() -> Disk:
    """Empty, healthy."""
    return Disk()


def test_a_batch_that_does_not_fit_leaves_nothing_and_the_next_that_fits_is_appended(disk: Disk) -> None:
    log = disk.open(LogConfig())
    log.append_as_leader(batch(2, producer=(1, 0, 0)), 0)
    size = log.size_in_bytes
    for free in range(0, 100, 7):
        disk.files.free_bytes = free
        with pytest.raises(DiskFull):
            log.append_as_leader(batch(2, producer=(1, 0, 2), size=500), 0)
        assert log.size_in_bytes == size
        assert disk.files.size(f"{DIRECTORY}/00000000000000000000.log") == size
        assert disk.files.free_bytes == free
    disk.files.free_bytes = None
    assert log.append_as_leader(batch(2, producer=(1, 0, 2)), 0).first_offset == 2
    with pytest.raises(OutOfOrderSequence):
        log.append_as_leader(batch(2, producer=(1, 0, 8)), 0)
    assert all_offsets(log) == [0, 1, 2, 3]
    assert disk.failures == [], "a full disk is not a failed one"


def test_a_full_disk_at_the_moment_of_a_roll(disk: Disk) -> None:
    config = LogConfig(segment_bytes=250, index_interval_bytes=50)
    log = disk.open(config)
    appended = 0
    for free in range(0, 400, 3):
        disk.files.free_bytes = free
        try:
            log.append_as_leader(batch(2, producer=(1, 0, 2 * appended)), 0)
            appended += 1
        except DiskFull:
            continue
    disk.files.free_bytes = None
    log.append_as_leader(batch(2, producer=(1, 0, 2 * appended)), 0)
    assert all_offsets(log) == list(range(2 * appended + 2))
    log.close_handles()
    again = disk.open(config, clean=False)
    assert all_offsets(again) == list(range(2 * appended + 2))


def test_an_aborted_transaction_is_known_though_its_index_entry_found_no_room(disk: Disk) -> None:
    log = disk.open(LogConfig())
    log.append_as_leader(batch(2, producer=(1, 0, 0), transactional=True), 0)
    end = marker(1, 0, commit=False)
    disk.files.free_bytes = len(end.buffer)
    log.append_as_leader(end, 0, Origin.COORDINATOR)
    assert [entry.producer_id for entry in log.aborted_transactions(0, 3)] == [1]
    disk.files.free_bytes = None
    log.close()
    assert [entry.producer_id for entry in disk.open(LogConfig()).aborted_transactions(0, 3)] == [1]


def test_short_writes_are_completed(disk: Disk) -> None:
    disk.files.short_writes = True
    log = disk.open(LogConfig(segment_bytes=500))
    for _ in range(5):
        log.append_as_leader(batch(3), 0)
    log.close()
    assert all_offsets(disk.open(LogConfig(segment_bytes=500))) == list(range(15))


def test_an_io_error_fails_the_directory_and_leaves_nothing_of_the_batch(disk: Disk) -> None:
    log = disk.open(LogConfig())
    log.append_as_leader(batch(1), 0)
    size = log.size_in_bytes
    disk.files.fail = lambda operation, _path: (
        OSError(errno.EIO, "I/O error") if operation == "write" else None
    )
    with pytest.raises(LogDirFailed):
        log.append_as_leader(batch(1), 0)
    assert [path for path, _ in disk.failures] == ["/data"]
    assert (log.size_in_bytes, log.log_end_offset) == (size, 1)
    with pytest.raises(LogDirFailed):
        log.close()


def test_a_failed_fsync_leaves_the_recovery_point_where_it_was(disk: Disk) -> None:
    log = disk.open(LogConfig())
    log.append_as_leader(batch(1), 0)
    disk.files.fail = lambda operation, _path: (
        OSError(errno.EIO, "I/O error") if operation == "fsync" else None
    )
    with pytest.raises(LogDirFailed):
        log.flush()
    assert log.recovery_point == 0


def test_a_batch_larger_than_a_segment_is_refused(disk: Disk) -> None:
    log = disk.open(LogConfig(segment_bytes=100))
    with pytest.raises(RecordsTooLarge):
        log.append_as_leader(batch(1, size=200), 0)
    assert log.log_end_offset == 0
