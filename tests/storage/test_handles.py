"""Descriptors: counted, bounded, never closed under a reader."""

from pathlib import Path

import pytest

from pybroker.storage.context import StorageContext
from pybroker.storage.loader import open_log
from pybroker.storage.log import Log
from pybroker.storage.log_config import LogConfig
from tests.storage.conftest import PARTITION, Clock, all_offsets, batch
from tests.support.memory_files import MemoryFiles

SMALL = LogConfig(segment_bytes=200)


@pytest.fixture
def files() -> MemoryFiles:
    """Counts open descriptors."""
    files = MemoryFiles()
    files.mkdir(f"/data/{PARTITION}")
    return files


def small_log(files: MemoryFiles, limit: int) -> Log:
    context = StorageContext(now_ms=Clock().now_ms, files=files, handle_limit=limit)
    log = open_log(f"/data/{PARTITION}", PARTITION, SMALL, context, clean=True)
    for _ in range(20):
        log.append_as_leader(batch(2), 0)
    return log


def test_no_more_files_are_open_than_allowed(files: MemoryFiles) -> None:
    log = small_log(files, 3)
    assert len(log.segments) > 8
    for _ in range(2):
        assert all_offsets(log) == list(range(40))
        assert files.open_count <= 3


def test_a_file_in_use_stays_open_and_readable_whatever_happens(files: MemoryFiles) -> None:
    log = small_log(files, 2)
    slices = [log.read(offset, 1).slice for offset in range(0, 40, 4)]
    expected = [piece.read() for piece in slices if piece is not None]
    assert len(expected) == 10
    all_offsets(log)
    log.truncate_to(20)
    log.truncate_fully_and_start_at(0)
    for path in log._context.trash.take_due(1 << 62):
        files.unlink(path)
    assert [piece.read() for piece in slices[:5] if piece is not None] == expected[:5]
    for piece in slices:
        assert piece is not None
        piece.release()
        piece.release()
        with pytest.raises(ValueError, match="released"):
            piece.fileno()
    log.close_handles()
    assert files.open_count == 0


def test_a_slice_that_is_dropped_gives_its_descriptor_back(files: MemoryFiles) -> None:
    log = small_log(files, 2)
    read = log.read(0, 1)
    log.close_handles()
    assert files.open_count == 1
    del read
    assert files.open_count == 0


def test_a_slice_of_a_truncated_file_is_short_not_wrong(tmp_path: Path) -> None:
    directory = tmp_path / str(PARTITION)
    directory.mkdir()
    log = open_log(str(directory), PARTITION, LogConfig(), StorageContext(now_ms=Clock().now_ms), clean=True)
    for _ in range(4):
        log.append_as_leader(batch(2), 0)
    piece = log.read(0, 1 << 20).slice
    assert piece is not None
    whole = piece.read()
    log.truncate_to(4)
    assert piece.read() == whole[: len(whole) // 2]
    assert len(piece) == len(whole)
    piece.release()
    log.close_handles()
