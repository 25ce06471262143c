"""The power goes at every write, rename and fsync of a clean; afterwards no key has lost its value."""

import random

import pytest
from msgspec.structs import replace

from pybroker.records.header import Record
from pybroker.storage import names
from pybroker.storage.context import StorageContext
from pybroker.storage.loader import open_log
from pybroker.storage.log import Log
from pybroker.storage.log_config import LogConfig
from tests.storage.cleaning.support import clean, keyed, leftovers, state_of
from tests.storage.conftest import PARTITION, Clock, all_records, marker
from tests.support.memory_files import MemoryFiles, PowerCut

DIRECTORY = f"/data/{PARTITION}"
CONFIG = LogConfig(
    segment_bytes=600,
    index_interval_bytes=100,
    compact=True,
    delete=False,
    delete_retention_ms=1000,
    file_delete_delay_ms=0,
)


def opened(files: MemoryFiles, *, clean_stop: bool) -> tuple[Log, StorageContext]:
    context = StorageContext(now_ms=Clock().now_ms, files=files, handle_limit=4)
    files.mkdir("/data")
    files.mkdir(DIRECTORY)
    return open_log(DIRECTORY, PARTITION, CONFIG, context, clean=clean_stop), context


def filled(keys: int, segment_bytes: int) -> tuple[MemoryFiles, Log, StorageContext]:
    """A durable log of small segments, which a clean merges; with aborted transactions and tombstones."""
    files = MemoryFiles()
    log, context = opened(files, clean_stop=True)
    rng = random.Random(2)
    for n in range(9):
        pairs = [(b"k%d" % rng.randrange(keys), b"v%d" % n * 8) for _ in range(3)]
        log.append_as_leader(keyed([*pairs, (b"gone", None)]), 0)
    log.append_as_leader(keyed([(b"k1", b"aborted")], producer=(5, 0, 0), transactional=True), 0)
    log.append_as_leader(marker(5, 0, commit=False), 0)
    log.on_high_watermark(log.log_end_offset)
    log.roll()
    log.append_as_leader(keyed([(b"k2", b"last")]), 0)
    log.flush()
    log.update_config(replace(CONFIG, segment_bytes=segment_bytes))
    return files, log, context


def committed(log: Log) -> dict[bytes | None, bytes]:
    state = state_of(log)
    state.pop(b"k1", None)
    return state


def clean_all(log: Log, context: StorageContext) -> None:
    clean(log, context)
    for path in context.trash.take_due(1 << 62):
        context.files.unlink_if_exists(path)


def check(files: MemoryFiles, records: dict[int, Record], state: dict[bytes | None, bytes], end: int) -> None:
    for clean_stop in (False, True):
        survivor = files.after_power_cut(None, keep_all=True)
        log, context = opened(survivor, clean_stop=clean_stop)
        assert leftovers(context, log) == []
        assert not [path for path in survivor.names if path.endswith(names.DELETED)]
        assert log.log_end_offset == end
        found = all_records(log)
        assert all(records[record.offset] == record for record in found)
        assert committed(log) == state
        log.append_as_leader(keyed([(b"new", b"value")]), 0)
        clean_all(log, context)
        assert committed(log) == {**state, b"new": b"value"}
        log.close()
        again, _context = opened(survivor, clean_stop=True)
        assert committed(again) == {**state, b"new": b"value"}


@pytest.mark.parametrize(
    ("keys", "segment_bytes"),
    [(2, 600), (40, 1500), (40, 1 << 20)],
    ids=["emptied segments", "several groups", "one group"],
)
def test_a_clean_may_stop_anywhere(keys: int, segment_bytes: int) -> None:
    files, log, context = filled(keys, segment_bytes)
    records = {record.offset: record for record in all_records(log)}
    state, end, before = committed(log), log.log_end_offset, files.changes
    clean_all(log, context)
    assert committed(log) == state
    assert len(all_records(log)) < len(records)
    total = files.changes - before
    for cut_at in range(total):
        files, log, context = filled(keys, segment_bytes)
        files.cut_at = files.changes + cut_at
        with pytest.raises(PowerCut):
            clean_all(log, context)
        check(files.after_power_cut(None, keep_all=True), records, state, end)
        check(files.after_power_cut(None), records, state, end)
        check(files.after_power_cut(random.Random(cut_at)), records, state, end)
