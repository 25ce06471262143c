"""The pass over a segment: the loop for plain batches takes nothing that the general way would not."""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pybroker.model.ids import TopicPartition
from pybroker.records.header import patch_offset_and_epoch
from pybroker.records.legacy import build_message
from pybroker.storage import bulk_read
from pybroker.storage.context import StorageContext
from pybroker.storage.files import system_files
from pybroker.storage.leader_epochs import LeaderEpochs
from pybroker.storage.names import TXN_INDEX
from pybroker.storage.producer_state import ProducerEntry, ProducerState
from pybroker.storage.segment import LogPlace, Segment
from pybroker.storage.segment_check import SegmentCheck
from tests.storage.conftest import batch, marker

LOG_NAME = "00000000000000000000.log"
BATCH_BYTES = len(batch(1).buffer)
PLAIN, PRODUCED, TRANSACTIONAL, COMMIT, ABORT, OLD = range(6)

piece = st.tuples(
    st.sampled_from((PLAIN, PLAIN, PRODUCED, PRODUCED, TRANSACTIONAL, COMMIT, ABORT, OLD)),
    st.integers(1, 3),  # the producer's id
    st.integers(0, 1),  # the producer's epoch
    st.sampled_from((0, 0, 0, 0, 1)),  # by how much the leader epoch grows
    st.sampled_from((0, 0, 0, 5, -1)),  # a gap of offsets before it, or a step back
    st.integers(1, 4),  # records
    st.integers(-20, 20),  # milliseconds
)
run = st.tuples(st.sampled_from((1, 1, 1, 9)), piece).map(lambda drawn: [drawn[1]] * drawn[0])


class GeneralWay(SegmentCheck):
    """Leaves every batch to the general way."""

    def _check_plain(self, _chunk: memoryview, start: int, _chunk_position: int) -> int:
        return start


def written(pieces: list[tuple[int, ...]]) -> bytearray:
    """A ``.log``, which need not be a good one."""
    log, offset, leader_epoch, sequences = bytearray(), 0, 0, dict.fromkeys(range(1, 4), 0)
    for kind, producer, epoch, elections, gap, count, time in pieces:
        offset, leader_epoch, timestamp = (
            max(0, offset + gap),
            leader_epoch + elections,
            1_700_000_000_000 + time,
        )
        if kind == OLD:
            log += build_message(1, offset, timestamp, None, bytes(count))
            offset += 1
            continue
        if kind in (COMMIT, ABORT):
            made = marker(producer, epoch, commit=kind == COMMIT, timestamp=timestamp)
        else:
            sequence = (producer, epoch, sequences[producer]) if kind != PLAIN else None
            made = batch(count, timestamp=timestamp, producer=sequence, transactional=kind == TRANSACTIONAL)
            sequences[producer] += count
        patch_offset_and_epoch(made.buffer, offset, leader_epoch)
        log += made.buffer
        offset += made.header.last_offset_delta + 1
    return log


def findings(way: type[SegmentCheck], path: Path, interval_bytes: int) -> tuple[object, ...]:
    """All that one pass over the segment finds."""
    context = StorageContext(now_ms=lambda: 0, files=system_files())
    size = context.files.size(str(path / LOG_NAME))
    segment = Segment(LogPlace(str(path)), 0, context, size=size, index_interval=interval_bytes)
    segment.reset_indexes()
    context.files.unlink_if_exists(segment.path(TXN_INDEX))
    state, epochs = ProducerState(TopicPartition("orders", 3)), LeaderEpochs()
    check = way(context.files, segment, state, epochs)
    check.run()
    segment.close_handle()
    return (
        check.valid_bytes,
        check.next_offset,
        segment.offset_index.items(),
        segment.time_index.items(),
        segment.max_timestamp_and_offset,
        segment.bytes_since_index,
        segment.aborted.entries(),
        epochs.entries,
        [
            [getattr(entry, name) for name in ProducerEntry.__slots__]
            for _id, entry in sorted(state.active().items())
        ],
        state.first_unstable_offset,
    )


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    runs=st.lists(run, max_size=20),
    interval_batches=st.sampled_from((1, 3, 10)),
    damage=st.none() | st.tuples(st.integers(0, 1 << 20), st.integers(1, 255)),
    cut=st.integers(0, 100),
    read_bytes=st.sampled_from((61, 300, 1000, 1 << 16)),
)
def test_plain_batches_are_found_as_the_general_way_finds_them(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    runs: list[list[tuple[int, ...]]],
    interval_batches: int,
    damage: tuple[int, int] | None,
    cut: int,
    read_bytes: int,
) -> None:
    monkeypatch.setattr(bulk_read, "READ_BYTES", read_bytes)
    log = written([drawn for run in runs for drawn in run])
    if damage is not None and log:
        log[damage[0] % len(log)] ^= damage[1]
    if damage is None and cut:
        del log[len(log) - min(cut, len(log)) :]
    (tmp_path / LOG_NAME).write_bytes(log)
    interval = interval_batches * BATCH_BYTES
    assert findings(SegmentCheck, tmp_path, interval) == findings(GeneralWay, tmp_path, interval)


def test_all_of_a_good_segment_is_valid_however_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = written([(PRODUCED, n % 3 + 1, 0, 0, 0, n % 4 + 1, n) for n in range(60)])
    (tmp_path / LOG_NAME).write_bytes(log)
    found = []
    for read_bytes in (61, 100, 1000, 1 << 16):
        monkeypatch.setattr(bulk_read, "READ_BYTES", read_bytes)
        found.append(findings(SegmentCheck, tmp_path, 5 * BATCH_BYTES))
    assert found == found[:1] * 4
    assert found[0][:2] == (len(log), 150)
