"""After an unclean stop: each kind of damage, made here, and what the next start makes of it."""

from pathlib import Path

import pytest

from pybroker.records.header import iter_batch_headers
from pybroker.records.policy import Origin
from pybroker.storage.context import StorageContext
from pybroker.storage.log import Log
from pybroker.storage.log_config import LogConfig
from tests.storage.conftest import PARTITION, OpenLog, all_offsets, all_records, batch, marker

SMALL = LogConfig(segment_bytes=600, index_interval_bytes=100)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """The partition's directory."""
    return tmp_path / str(PARTITION)


def fill(log: Log) -> None:
    """Several segments, with producers, an aborted and an open transaction, and two leader epochs."""
    for n in range(12):
        log.append_as_leader(batch(2, producer=(1, 0, 2 * n), timestamp=1_700_000_000_000 + n), n // 6)
        log.append_as_leader(batch(1, producer=(2, 0, n), transactional=True), n // 6)
        if n == 7:
            log.append_as_leader(marker(2, 0, commit=False), 1, Origin.COORDINATOR)


def contents(home: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in home.iterdir()}


def stop_unclean(log: Log) -> None:
    log.close_handles()


def test_recovery_makes_the_very_files_that_a_clean_close_leaves(open_at: OpenLog, home: Path) -> None:
    log = open_at(SMALL)
    fill(log)
    stop_unclean(log)
    killed = contents(home)
    log.close()
    closed = contents(home)
    for path in home.iterdir():
        path.unlink()
    for name, data in killed.items():
        (home / name).write_bytes(data)
    open_at(SMALL, clean=False)
    assert contents(home) == closed


@pytest.mark.parametrize(
    "lost", [".index", ".timeindex", ".snapshot", ".txnindex", "leader-epoch-checkpoint"]
)
def test_what_is_derived_is_rebuilt_when_it_is_missing(open_at: OpenLog, home: Path, lost: str) -> None:
    log = open_at(SMALL)
    fill(log)
    before = all_records(log)
    aborted, unstable = log.aborted_transactions(0, 100), log.first_unstable_offset
    log.close()
    for path in home.iterdir():
        if path.name.endswith(lost):
            path.unlink()
    again = open_at(SMALL, clean=False)
    assert all_records(again) == before
    assert again.aborted_transactions(0, 100) == aborted
    again.on_high_watermark(again.log_end_offset)
    log.on_high_watermark(log.log_end_offset)
    assert again.first_unstable_offset == log.first_unstable_offset
    assert unstable == 2
    assert again.end_offset_for_epoch(0) == log.end_offset_for_epoch(0)
    assert again.producers.active().keys() == log.producers.active().keys()


@pytest.mark.parametrize("suffix", [".index", ".timeindex"])
@pytest.mark.parametrize("damage", [b"", b"\xff" * 240, b"\0" * 2400, b"\x01" * 7])
def test_an_insane_index_is_rebuilt_even_after_a_clean_stop(
    open_at: OpenLog, home: Path, suffix: str, damage: bytes
) -> None:
    log = open_at(SMALL)
    fill(log)
    before = all_records(log)
    log.close()
    for path in home.glob(f"*{suffix}"):
        path.write_bytes(damage)
    again = open_at(SMALL)
    assert again.log_end_offset == log.log_end_offset
    assert all_records(again) == before


def test_a_preallocated_tail_of_zeros_in_an_index_is_accepted(open_at: OpenLog, home: Path) -> None:
    log = open_at(SMALL)
    fill(log)
    log.close()
    sizes = {path: path.stat().st_size for path in home.glob("*index")}
    for path in sizes:
        if not path.name.endswith(".txnindex"):
            path.write_bytes(path.read_bytes() + bytes(240))
    again = open_at(SMALL)
    assert all_offsets(again) == all_offsets(log)
    again.close()


def test_a_torn_tail_is_cut_at_every_byte_of_the_last_batch(open_at: OpenLog, home: Path) -> None:
    log = open_at()
    for _ in range(3):
        log.append_as_leader(batch(2), 0)
    stop_unclean(log)
    path = home / "00000000000000000000.log"
    whole = path.read_bytes()
    last = [position for position, _ in iter_batch_headers(whole)][-1]
    for size in range(last, len(whole)):
        path.write_bytes(whole[:size])
        again = open_at(clean=False)
        assert again.log_end_offset == 4
        assert path.stat().st_size == last
        assert again.append_as_leader(batch(1), 0).first_offset == 4
        again.close_handles()


def test_a_tail_of_zeros_or_garbage_is_cut(open_at: OpenLog, home: Path) -> None:
    log = open_at()
    log.append_as_leader(batch(2), 0)
    stop_unclean(log)
    path = home / "00000000000000000000.log"
    whole = path.read_bytes()
    for tail in (bytes(4096), b"\xff" * 4096, whole[:-1] + b"\0", whole):
        path.write_bytes(whole + tail)
        again = open_at(clean=False)
        assert again.log_end_offset == 2, "a repeated offset goes backwards, so it is cut as well"
        assert path.read_bytes() == whole
        again.close_handles()


def test_every_flipped_bit_in_a_batch_cuts_the_log_there(open_at: OpenLog, home: Path) -> None:
    log = open_at()
    for _ in range(3):
        log.append_as_leader(batch(1), 0)
    stop_unclean(log)
    path = home / "00000000000000000000.log"
    whole = path.read_bytes()
    second = len(whole) // 3
    for position in range(second, 2 * second):
        if position < second + 8 or second + 12 <= position < second + 16:
            continue  # base offset and leader epoch are outside the CRC, as Kafka has it
        broken = bytearray(whole)
        broken[position] ^= 0x10
        path.write_bytes(broken)
        again = open_at(clean=False)
        assert again.log_end_offset == 1
        again.close_handles()
        for leftover in home.glob("*.snapshot"):
            leftover.unlink()


def test_a_bad_batch_in_the_middle_drops_the_segments_behind_it(open_at: OpenLog, home: Path) -> None:
    log = open_at(SMALL)
    fill(log)
    stop_unclean(log)
    segments = sorted(home.glob("*.log"))
    assert len(segments) > 3
    data = bytearray(segments[1].read_bytes())
    data[-1] ^= 1
    segments[1].write_bytes(data)
    again = open_at(SMALL, clean=False)
    assert sorted(home.glob("*.log")) == segments[:2]
    assert all_offsets(again) == list(range(again.log_end_offset))
    assert again.append_as_leader(batch(1), 9).first_offset == again.log_end_offset - 1


def test_only_segments_from_the_recovery_point_on_are_checked(open_at: OpenLog, home: Path) -> None:
    log = open_at(SMALL)
    fill(log)
    log.flush()
    stop_unclean(log)
    segments = sorted(home.glob("*.log"))
    data = bytearray(segments[0].read_bytes())
    data[-1] ^= 1
    segments[0].write_bytes(data)
    again = open_at(SMALL, clean=False, recovery_point=log.recovery_point)
    assert again.log_end_offset == log.log_end_offset


def test_a_log_that_ends_before_its_start_offset_begins_anew_there(open_at: OpenLog) -> None:
    log = open_at()
    log.append_as_leader(batch(3), 0)
    stop_unclean(log)
    again = open_at(clean=False, log_start_offset=10)
    assert (again.log_start_offset, again.log_end_offset) == (10, 10)
    assert again.append_as_leader(batch(1), 0).first_offset == 10


def test_an_orphaned_index_and_files_waiting_for_deletion_are_removed(open_at: OpenLog, home: Path) -> None:
    log = open_at(SMALL)
    fill(log)
    log.close()
    (home / "00000000000000009999.index").write_bytes(b"")
    (home / "00000000000000000000.log.deleted").write_bytes(b"x")
    (home / "00000000000000000000.log.cleaned").write_bytes(b"x")
    (home / "leader-epoch-checkpoint.tmp").write_bytes(b"x")
    open_at(SMALL)
    assert not [path for path in home.iterdir() if path.suffix in (".deleted", ".cleaned", ".tmp")]
    assert not (home / "00000000000000009999.index").exists()


def test_a_found_swap_set_replaces_the_segments_that_it_covers(open_at: OpenLog, home: Path) -> None:
    log = open_at(LogConfig(segment_bytes=200, compact=True))
    for _ in range(6):
        log.append_as_leader(batch(2), 0)
    log.close()
    logs = sorted(home.glob("*.log"))
    merged = logs[0].read_bytes() + logs[1].read_bytes()
    (home / (logs[0].name + ".swap")).write_bytes(merged)
    again = open_at(LogConfig(segment_bytes=200, compact=True))
    assert logs[0].read_bytes() == merged
    assert not logs[1].exists()
    assert all_offsets(again) == list(range(12))


def test_swap_files_of_an_unfinished_split_are_dropped(open_at: OpenLog, home: Path) -> None:
    log = open_at()
    log.append_as_leader(batch(2), 0)
    log.close()
    (home / "00000000000000000000.log.swap").write_bytes(b"")
    (home / "00000000000000000000.log.cleaned").write_bytes(b"")
    assert all_offsets(open_at()) == [0, 1]


def test_recovery_tells_how_far_it_is(home: Path, open_at: OpenLog, context: StorageContext) -> None:
    from pybroker.storage.recovery import recover_partition

    log = open_at(SMALL)
    fill(log)
    stop_unclean(log)
    told: list[tuple[int, int]] = []
    report = recover_partition(
        str(home),
        PARTITION,
        SMALL,
        context.files,
        now_ms=0,
        progress=lambda done, total: told.append((done, total)),
    )
    count = len(log.segments)
    assert told == [(n + 1, count) for n in range(count)]
    assert (report.segments_recovered, report.truncated_bytes) == (count, 0)
    assert report.log_end_offset == log.log_end_offset
