"""A clean of a whole log: what consumers find afterwards, and what the files look like."""

import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from pybroker.records.batch import iter_records
from pybroker.records.header import CompressionType, iter_batch_headers
from pybroker.records.policy import Origin
from pybroker.storage import names
from pybroker.storage.cleaning.cleaner import run_job
from pybroker.storage.cleaning.job import Answer, CleanedGroup, CleanerLimits, DamagedLog
from pybroker.storage.cleaning.offset_map import BYTES_PER_SLOT
from pybroker.storage.cleaning.view import job_of
from pybroker.storage.context import StorageContext
from pybroker.storage.loader import open_log
from pybroker.storage.log import Log
from pybroker.storage.log_config import LogConfig
from tests.storage.cleaning.support import NOW_MS, choose, clean, files_with, keyed, leftovers, state_of
from tests.storage.conftest import PARTITION, Clock, OpenLog, all_offsets, all_records, marker
from tests.support.memory_files import MemoryFiles

CONFIG = LogConfig(
    segment_bytes=1000, index_interval_bytes=100, compact=True, delete=False, delete_retention_ms=1000
)
TINY = CleanerLimits(map_bytes=4 * BYTES_PER_SLOT, map_load_factor=0.8, buffer_bytes=64)


def fill(log: Log, count: int, *, keys: int = 7, seed: int = 1) -> None:
    """Batches of one to four records over a few keys, every sixth value a tombstone."""
    rng = random.Random(seed)
    for n in range(count):
        pairs = [
            (b"k%d" % rng.randrange(keys), b"v%d-%d" % (n, m) * 4 if rng.randrange(6) else None)
            for m in range(rng.randrange(1, 5))
        ]
        codec = CompressionType(rng.randrange(5))
        log.append_as_leader(keyed(pairs, compression=codec, timestamp=NOW_MS + n), 0)


def test_afterwards_a_consumer_finds_the_same_state_and_offsets_in_fewer_records(
    open_at: OpenLog, context: StorageContext
) -> None:
    log = open_at(CONFIG)
    fill(log, 200)
    state, before = state_of(log), {record.offset: record for record in all_records(log)}
    active = log.segments.active.base_offset
    done = clean(log, context)
    assert state_of(log) == state
    after = all_records(log)
    assert all(before[record.offset] == record for record in after)
    keys = [record.key for record in after if record.offset < active]
    assert len(keys) == len(set(keys)) == 7
    assert done.end_offset == log.cleaned_offset == active
    assert done.stats.records_kept == 7
    assert leftovers(context, log) == []
    assert not choose(log, context).is_due


@pytest.mark.parametrize("cold", [False, True])
def test_every_offset_can_be_looked_up_and_read_from(
    open_at: OpenLog, context: StorageContext, cold: bool
) -> None:
    log = open_at(CONFIG)
    fill(log, 300, keys=60)
    clean(log, context)
    if cold:
        log.close()
        log = open_at(CONFIG)
    offsets = all_offsets(log)
    for offset in range(log.log_start_offset, log.log_end_offset):
        read = log.read(offset, 1)
        assert read.slice is not None
        assert read.end_offset > offset
        read.slice.release()
    for record in all_records(log):
        found = log.find_offset_by_timestamp(record.timestamp)
        assert found is not None
        assert found.timestamp >= record.timestamp
        assert found.offset in offsets


def test_tombstones_vanish_when_their_retention_is_over(
    open_at: OpenLog, context: StorageContext, clock: Clock
) -> None:
    log = open_at(CONFIG)
    log.append_as_leader(keyed([(b"a", b"1"), (b"b", b"2"), (b"a", None)]), 0)
    log.roll()
    log.append_as_leader(keyed([(b"z", b"1")]), 0)
    clean(log, context)
    assert all_offsets(log) == [1, 2, 3]
    clock.now += 999
    log.roll()
    log.append_as_leader(keyed([(b"y", b"1")]), 0)
    clean(log, context)
    assert all_offsets(log) == [1, 2, 3, 4]
    clock.now += 1
    log.roll()
    log.append_as_leader(keyed([(b"x", b"1")]), 0)
    clean(log, context)
    assert all_offsets(log) == [1, 3, 4, 5]


def test_a_map_that_does_not_fit_takes_several_cleans(open_at: OpenLog, context: StorageContext) -> None:
    log = open_at(CONFIG)
    fill(log, 50, keys=12)
    state = state_of(log)
    active, ends = log.segments.active.base_offset, [0]
    while ends[-1] < active:
        ends.append(clean(log, context, TINY).end_offset)
        assert ends[-1] > ends[-2]
        assert state_of(log) == state
    assert len(ends) > 5
    keys = [record.key for record in all_records(log) if record.offset < active]
    assert len(keys) == len(set(keys))


def test_the_log_is_written_and_read_while_it_is_cleaned(open_at: OpenLog, context: StorageContext) -> None:
    log = open_at(CONFIG)
    fill(log, 200)
    held = log.read(0, 1 << 20)
    assert held.slice is not None
    bytes_before = held.slice.read()

    def meanwhile(_answer: Answer) -> None:
        fill(log, 30, seed=log.log_end_offset)

    clean(log, context, between=meanwhile)
    state = state_of(log)
    assert held.slice.read() == bytes_before
    held.slice.release()
    clean(log, context)
    assert state_of(log) == state


def test_neighbours_are_merged_and_the_old_files_wait_for_their_deletion(
    open_at: OpenLog, context: StorageContext, clock: Clock
) -> None:
    log = open_at(CONFIG)
    fill(log, 200)
    count = len(log.segments)
    clean(log, context)
    clean_again = clean(log, context)
    assert clean_again.stats.records_kept == 7
    assert len(log.segments) == 2
    deleted = files_with(context, log, names.LOG + names.DELETED)
    assert len(deleted) == count - 1
    assert context.trash.take_due(clock.now + CONFIG.file_delete_delay_ms - 1) == []
    for path in context.trash.take_due(clock.now + CONFIG.file_delete_delay_ms):
        context.files.unlink_if_exists(path)
    assert files_with(context, log, names.DELETED) == []
    snapshots = {int(name[:20]) for name in files_with(context, log, names.SNAPSHOT)}
    assert snapshots <= {segment.base_offset for segment in log.segments}


def test_cleaned_files_keep_the_time_of_the_last_one_that_went_into_them(
    open_at: OpenLog, context: StorageContext
) -> None:
    log = open_at(CONFIG)
    fill(log, 60)
    for n, segment in enumerate(log.segments):
        context.files.set_modified_ms(segment.path(), NOW_MS + 1000 * n)
    count = len(log.segments)
    groups: list[CleanedGroup] = []
    clean(log, context, between=lambda one: groups.append(one) if isinstance(one, CleanedGroup) else None)
    sizes = [len(group.bases) for group in groups]
    assert sum(sizes) == count - 1
    expected = [NOW_MS + 1000 * (sum(sizes[: n + 1]) - 1) for n in range(len(sizes))]
    assert [segment.modified_ms() for segment in log.segments][:-1] == expected


def test_only_decided_and_replicated_records_are_cleaned(open_at: OpenLog, context: StorageContext) -> None:
    log = open_at(CONFIG)
    fill(log, 100)
    log.append_as_leader(keyed([(b"k1", b"open")], producer=(5, 0, 0), transactional=True), 0)
    unstable = log.log_end_offset - 1
    fill(log, 100)
    before = [offset for offset in all_offsets(log) if offset >= unstable]
    clean(log, context)
    after = all_offsets(log)
    assert [offset for offset in after if offset >= unstable] == before
    assert len(after) < len(before) + unstable


def test_transactions_are_seen_alike_by_readers_of_committed_records(
    open_at: OpenLog, context: StorageContext, clock: Clock
) -> None:
    log = open_at(CONFIG)
    rng = random.Random(4)
    sequences = {5: 0, 6: 0}
    for n in range(150):
        for producer in sequences:
            pairs = [(b"k%d" % rng.randrange(9), b"v%d" % n * 5) for _ in range(rng.randrange(1, 3))]
            made = keyed(pairs, producer=(producer, 0, sequences[producer]), transactional=True)
            sequences[producer] += len(pairs)
            log.append_as_leader(made, 0)
            if rng.randrange(3) == 0:
                log.append_as_leader(marker(producer, 0, commit=rng.random() < 0.5), 0, Origin.COORDINATOR)
    for producer in sequences:
        log.append_as_leader(marker(producer, 0, commit=True), 0, Origin.COORDINATOR)
    log.on_high_watermark(log.log_end_offset)
    log.roll()
    state = committed_state(log)
    for _ in range(3):
        done = clean(log, context)
        assert committed_state(log) == state
        assert log.producers.get(5) is not None
        clock.now += 2000
        log.roll()
        log.append_as_leader(keyed([(b"filler%d" % clock.now, b"x")]), 0)
        state = committed_state(log)
    assert done.stats.records_kept < 20
    log.close()
    again = open_at(CONFIG)
    assert committed_state(again) == state


def committed_state(log: Log) -> dict[bytes | None, bytes | None]:
    """The latest value of each key among records that are not part of an aborted transaction."""
    state: dict[bytes | None, bytes | None] = {}
    for segment in log.segments:
        data = segment.read(0, segment.size)
        for position, header in iter_batch_headers(data):
            if header.is_control:
                continue
            aborted = log.aborted_transactions(header.base_offset, header.next_offset)
            if header.is_transactional and any(
                entry.producer_id == header.producer_id
                and entry.first_offset <= header.base_offset <= entry.last_offset
                for entry in aborted
            ):
                continue
            for record in iter_records(data[position : position + header.size_in_bytes]):
                state[record.key] = record.value
    return state


def test_an_idempotent_producer_goes_on_after_a_clean_and_a_rebuild_of_its_state(
    open_at: OpenLog, context: StorageContext
) -> None:
    log = open_at(CONFIG)
    for n in range(60):
        log.append_as_leader(keyed([(b"same", b"v%d" % n * 10)], producer=(5, 0, n)), 0)
    log.roll()
    log.append_as_leader(keyed([(b"same", b"newest")]), 0)
    clean(log, context)
    log.close()
    for name in files_with(context, log, names.SNAPSHOT):
        context.files.unlink(f"{log.directory}/{name}")
    again = open_at(CONFIG, clean=False)
    entry = again.producers.get(5)
    assert entry is not None
    assert entry.last_sequence == 59
    again.append_as_leader(keyed([(b"same", b"next")], producer=(5, 0, 60)), 0)


def test_a_recovered_log_is_the_same(open_at: OpenLog, context: StorageContext) -> None:
    log = open_at(CONFIG)
    fill(log, 200)
    clean(log, context)
    before, state = all_records(log), state_of(log)
    log.flush()
    log.close_handles()
    again = open_at(CONFIG, clean=False)
    assert all_records(again) == before
    clean(again, context)
    assert state_of(again) == state


def test_a_follower_takes_over_a_cleaned_log_with_its_gaps_and_empty_batches(
    open_at: OpenLog, context: StorageContext, tmp_path: Path
) -> None:
    log = open_at(CONFIG)
    for n in range(40):
        log.append_as_leader(keyed([(b"same", b"v%d" % n * 10)], producer=(5, 0, n)), 0)
    log.roll()
    log.append_as_leader(keyed([(b"same", b"newest")]), 0)
    clean(log, context)
    follower = open_log(str(tmp_path), PARTITION, CONFIG, context, clean=True)
    for segment in log.segments:
        follower.append_as_follower(memoryview(bytearray(segment.read(0, segment.size))))
    assert all_records(follower) == all_records(log)
    assert follower.log_end_offset == log.log_end_offset
    entry = follower.producers.get(5)
    assert entry is not None
    assert entry.last_sequence == 39
    follower.close_handles()


def test_records_before_the_log_start_are_not_dirty_and_retention_may_take_cleaned_segments(
    open_at: OpenLog, context: StorageContext, clock: Clock
) -> None:
    log = open_at(replace(CONFIG, delete=True, retention_ms=10_000, retention_bytes=-1))
    fill(log, 200, keys=40)
    log.advance_log_start_offset(50)
    assert choose(log, context).first_dirty_offset == 50
    clean(log, context)
    assert all(offset >= 50 for offset in all_offsets(log))
    log.advance_log_start_offset(log.segments.active.base_offset)
    deleted, _reason = log.apply_retention(log.log_end_offset)
    assert deleted >= 1
    assert log.log_start_offset == log.segments.first.base_offset
    state = state_of(log)
    clean(log, context)
    assert state_of(log) == state


def test_truncation_takes_back_what_counts_as_clean(open_at: OpenLog, context: StorageContext) -> None:
    log = open_at(CONFIG)
    fill(log, 200)
    clean(log, context)
    target = log.segments.first.base_offset + 20
    log.truncate_to(target)
    assert log.cleaned_offset is not None
    assert log.cleaned_offset <= target
    fill(log, 100, seed=2)
    state = state_of(log)
    clean(log, context)
    assert state_of(log) == state


def test_what_was_cleaned_of_a_log_that_changed_is_not_taken(
    open_at: OpenLog, context: StorageContext
) -> None:
    log = open_at(CONFIG)
    fill(log, 200)
    old = list(log.segments)[:3]
    log.advance_log_start_offset(old[1].base_offset)
    log.apply_retention(log.log_end_offset)
    files = files_with(context, log, "")
    with pytest.raises(ValueError, match="not sealed segments"):
        log.replace_segments(old, 10, has_txn_index=False)
    with pytest.raises(ValueError, match="not sealed segments"):
        log.replace_segments([log.segments.active], 10, has_txn_index=False)
    assert files_with(context, log, "") == files


def damage(path: str, position: int) -> None:
    data = bytearray(Path(path).read_bytes())
    data[position] ^= 0x55
    Path(path).write_bytes(data)


@pytest.mark.parametrize("position", [0, 7, 8, 11, 16, 20, 26, 80])
def test_a_damaged_batch_is_reported_and_nothing_is_replaced(
    open_at: OpenLog, context: StorageContext, position: int
) -> None:
    log = open_at(CONFIG)
    fill(log, 100)
    damage(log.segments.first.path(), position)
    job = job_of(log, choose(log, context), context.now_ms(), CleanerLimits())
    assert [type(answer) for answer in run_job(job, context.files)] == [DamagedLog]


def test_a_shorter_file_is_reported(open_at: OpenLog, context: StorageContext) -> None:
    log = open_at(CONFIG)
    fill(log, 100)
    job = job_of(log, choose(log, context), context.now_ms(), TINY)
    path = Path(log.segments.first.path())
    path.write_bytes(path.read_bytes()[:-7])
    assert [type(answer) for answer in run_job(job, context.files)] == [DamagedLog]


def test_a_missing_file_is_an_error_of_the_disk(open_at: OpenLog, context: StorageContext) -> None:
    log = open_at(CONFIG)
    fill(log, 100)
    job = job_of(log, choose(log, context), context.now_ms(), CleanerLimits())
    Path(log.segments.first.path()).unlink()
    assert [type(answer) for answer in run_job(job, context.files)] == [FileNotFoundError]


_values = st.one_of(st.none(), st.binary(max_size=12))
_batches = st.lists(st.tuples(st.integers(0, 5), _values), min_size=1, max_size=4)
_steps = st.one_of(
    st.tuples(st.just("append"), _batches, st.sampled_from(CompressionType)),
    st.tuples(st.just("roll")),
    st.tuples(st.just("clean"), st.booleans()),
    st.tuples(st.just("wait"), st.integers(1, 1500)),
    st.tuples(st.just("reopen"), st.booleans()),
)


@settings(max_examples=40, deadline=None)
@given(st.lists(_steps, max_size=40))
def test_whatever_happens_the_state_equals_that_of_a_dictionary(steps: list[tuple[object, ...]]) -> None:
    clock = Clock()
    files = MemoryFiles(clock.now_ms)
    context = StorageContext(now_ms=clock.now_ms, files=files, handle_limit=16)
    directory = f"/data/{PARTITION}"
    files.mkdir("/data")
    files.mkdir(directory)
    log = open_log(directory, PARTITION, CONFIG, context, clean=True)
    model: dict[bytes | None, bytes] = {}
    written: dict[int, object] = {}
    for step in steps:
        match step:
            case ("append", pairs, codec):
                named = [(b"key%d" % key, value) for key, value in pairs]  # type: ignore[attr-defined]
                log.append_as_leader(keyed(named, compression=codec, timestamp=clock.now), 0)
                for key, value in named:
                    if value is None:
                        model.pop(key, None)
                    else:
                        model[key] = value
            case ("roll",):
                log.roll()
            case ("clean", tiny):
                written |= {record.offset: record for record in all_records(log)}
                clean(log, context, TINY if tiny else None)
            case ("wait", milliseconds):
                clock.now += milliseconds  # type: ignore[operator]
            case ("reopen", is_clean):
                cleaned = log.cleaned_offset
                log.close()
                log = open_log(directory, PARTITION, CONFIG, context, clean=bool(is_clean))
                log.cleaned_offset = cleaned
        assert state_of(log) == model
    assert all(written.get(record.offset, record) == record for record in all_records(log))
    log.close()
