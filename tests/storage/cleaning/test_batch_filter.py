"""What is left of a batch after a clean."""

import pytest

from pybroker.records.batch import iter_records
from pybroker.records.control import (
    ControlRecordType,
    EndTransactionMarker,
    build_end_transaction_marker,
)
from pybroker.records.errors import InvalidRecords
from pybroker.records.header import CompressionType, Record, TimestampType, crc_is_valid
from pybroker.records.legacy import build_message_set, iter_message_set
from pybroker.storage.batch_scan import header_at
from pybroker.storage.cleaning.batch_filter import BatchFilter, KeptBatch, LastWrite
from pybroker.storage.transaction_index import AbortedTransaction
from tests.storage.cleaning.support import NOW_MS, batch_filter, header_of, raw

PAIRS = [(b"a", b"1"), (b"b", b"2"), (b"a", b"3"), (b"c", None), (b"d", b"4")]
"""At offsets 100 to 104."""
LATEST = {b"a": 102, b"b": 101, b"c": 103, b"d": 104}


def run(keeping: BatchFilter, batch: bytes) -> KeptBatch | None:
    return keeping.filter(header_of(batch), batch, keeps_legacy_deletes=True)


def marker(kind: ControlRecordType, offset: int, producer_id: int = 7) -> bytes:
    return build_end_transaction_marker(
        EndTransactionMarker(kind, 0),
        producer_id=producer_id,
        producer_epoch=0,
        timestamp_ms=NOW_MS,
        base_offset=offset,
    )


@pytest.mark.parametrize("compression", list(CompressionType))
@pytest.mark.parametrize("timestamp_type", list(TimestampType))
def test_the_latest_record_of_each_key_stays_with_offset_timestamp_headers_and_codec(
    compression: CompressionType, timestamp_type: TimestampType
) -> None:
    batch = raw(
        PAIRS,
        offset=100,
        compression=compression,
        timestamp_type=timestamp_type,
        producer=(9, 2, 40),
        leader_epoch=6,
    )
    kept = run(batch_filter({**LATEST, b"b": 200}), batch)
    assert kept is not None
    data, before = bytes(kept.data), list(iter_records(batch))
    assert crc_is_valid(data)
    assert list(iter_records(data)) == [before[2], before[3], before[4]]
    old, new = header_of(batch), header_of(data)
    assert new.compression is compression
    assert new.timestamp_type is timestamp_type
    for name in ("base_offset", "last_offset", "leader_epoch", "producer_id", "producer_epoch"):
        assert getattr(old, name) == getattr(new, name)
    assert (new.base_sequence, new.last_sequence, new.record_count) == (40, 44, 3)
    assert kept.max_timestamp == new.max_timestamp == max(record.timestamp for record in before[2:])


def test_a_batch_that_loses_nothing_is_copied_byte_for_byte() -> None:
    batch = raw(PAIRS[1:3], offset=100, compression=CompressionType.ZSTD)
    kept = run(batch_filter({b"a": 101, b"b": 100}), batch)
    assert kept is not None
    assert kept.data is batch


def test_the_largest_timestamp_is_that_of_the_records_left() -> None:
    batch = raw([(b"a", b"1"), (b"b", b"2")], offset=5, timestamp=1000)
    kept = run(batch_filter({b"a": 5, b"b": 9}), batch)
    assert kept is not None
    assert header_of(bytes(kept.data)).max_timestamp == 1000
    assert kept.last_offset == 6


def test_records_beyond_what_the_map_knows_stay_even_without_a_key() -> None:
    batch = raw([(b"a", b"1"), (b"a", b"2"), (None, b"3"), (b"a", None)], offset=100)
    kept = run(batch_filter({b"a": 500}, known_until=101), batch)
    assert kept is not None
    assert [record.offset for record in iter_records(bytes(kept.data))] == [102, 103]


def test_records_without_a_key_go_and_are_counted() -> None:
    keeping = batch_filter({})
    assert run(keeping, raw([(None, b"1"), (None, None)])) is None
    assert keeping.stats.without_key == 2


@pytest.mark.parametrize("compression", list(CompressionType))
def test_a_tombstone_gets_a_delete_horizon_and_goes_when_that_has_come(
    compression: CompressionType,
) -> None:
    batch = raw(PAIRS, offset=100, compression=compression, timestamp=NOW_MS - 1_000_000)
    first = run(batch_filter(LATEST, now_ms=NOW_MS, delete_retention_ms=1000), batch)
    assert first is not None
    once, before = bytes(first.data), list(iter_records(batch))
    assert header_of(once).delete_horizon_ms == NOW_MS + 1000
    assert list(iter_records(once)) == before[1:]
    second = run(batch_filter(LATEST, now_ms=NOW_MS + 999, delete_retention_ms=5), once)
    assert second is not None
    assert second.data is once
    third = run(batch_filter(LATEST, now_ms=NOW_MS + 1000), once)
    assert third is not None
    twice = bytes(third.data)
    assert list(iter_records(twice)) == [before[1], before[2], before[4]]
    assert crc_is_valid(twice)
    assert header_of(twice).delete_horizon_ms == NOW_MS + 1000


def test_a_timestamp_of_minus_one_survives_a_delete_horizon() -> None:
    batch = raw([(b"c", None)], offset=3, timestamp=-1)
    kept = run(batch_filter({b"c": 3}), batch)
    assert kept is not None
    assert [record.timestamp for record in iter_records(bytes(kept.data))] == [-1]


def test_a_batch_left_without_records_goes_unless_it_tells_its_producers_last_sequence() -> None:
    batch = raw(
        [(b"a", b"1"), (b"b", b"2")], offset=10, producer=(9, 2, 40), compression=CompressionType.GZIP
    )
    newer = {b"a": 50, b"b": 51}
    assert run(batch_filter(newer), batch) is None
    assert run(batch_filter(newer, last_writes={9: LastWrite(12, 2), 8: LastWrite(11, 2)}), batch) is None
    kept = run(batch_filter(newer, last_writes={9: LastWrite(11, 2)}), batch)
    assert kept is not None
    header = header_of(bytes(kept.data))
    assert crc_is_valid(bytes(kept.data))
    assert (header.record_count, header.attributes, len(kept.data)) == (0, 0, 61)
    assert (header.base_offset, header.last_offset, header.last_sequence) == (10, 11, 41)
    assert header.max_timestamp == header_of(batch).max_timestamp
    again = run(batch_filter(newer, last_writes={9: LastWrite(11, 2)}), bytes(kept.data))
    assert again is not None
    assert bytes(again.data) == bytes(kept.data)
    assert run(batch_filter(newer), bytes(kept.data)) is None


def test_data_of_an_aborted_transaction_goes_at_once_and_its_marker_later() -> None:
    aborted = [AbortedTransaction(7, 10, 12, 13)]
    data = raw([(b"a", b"1"), (b"b", b"2")], offset=10, producer=(7, 0, 0), transactional=True)
    abort = marker(ControlRecordType.ABORT, 12)
    first = batch_filter({}, aborted=aborted)
    assert run(first, data) is None
    kept = run(first, abort)
    assert kept is not None
    assert kept.data is abort
    assert first.transactions.retained == aborted
    # The transaction has no data left: from now on the marker's time runs.
    second = batch_filter({}, aborted=aborted, delete_retention_ms=1000)
    kept = run(second, abort)
    assert kept is not None
    marked = bytes(kept.data)
    assert header_of(marked).delete_horizon_ms == NOW_MS + 1000
    assert list(iter_records(marked)) == list(iter_records(abort))
    assert second.transactions.retained == []
    assert run(batch_filter({}, now_ms=NOW_MS + 999), marked) is not None
    assert run(batch_filter({}, now_ms=NOW_MS + 1000), marked) is None


def test_a_commit_marker_stays_while_data_of_its_transaction_was_seen() -> None:
    data = raw([(b"a", b"1")], offset=10, producer=(7, 0, 0), transactional=True)
    commit = marker(ControlRecordType.COMMIT, 11)
    first = batch_filter({b"a": 10})
    assert run(first, data) is not None
    kept = run(first, commit)
    assert kept is not None
    assert kept.data is commit
    alone = run(batch_filter({b"a": 99}), commit)
    assert alone is not None
    assert header_of(bytes(alone.data)).delete_horizon_ms is not None


def test_the_last_marker_of_a_producer_is_emptied_but_kept() -> None:
    commit = marker(ControlRecordType.COMMIT, 11)
    kept = run(batch_filter({}), commit)
    assert kept is not None

    def late() -> BatchFilter:
        return batch_filter({}, now_ms=NOW_MS + 5000, last_writes={7: LastWrite(-1, 0)})

    emptied = run(late(), bytes(kept.data))
    assert emptied is not None
    header = header_of(bytes(emptied.data))
    assert (header.record_count, header.is_control, header.is_transactional) == (0, True, True)
    assert run(late(), bytes(emptied.data)) is not None
    assert run(batch_filter({}, now_ms=NOW_MS), bytes(emptied.data)) is None


def test_two_transactions_of_one_producer_are_told_apart() -> None:
    keeping = batch_filter({b"a": 12}, aborted=[AbortedTransaction(7, 10, 11, 12)])
    assert run(keeping, raw([(b"a", b"1")], offset=10, producer=(7, 0, 0), transactional=True)) is None
    assert run(keeping, marker(ControlRecordType.ABORT, 11)) is not None
    assert run(keeping, raw([(b"a", b"2")], offset=12, producer=(7, 0, 1), transactional=True)) is not None
    assert run(keeping, marker(ControlRecordType.COMMIT, 13)) is not None


@pytest.mark.parametrize("magic", [0, 1])
@pytest.mark.parametrize("compression", [CompressionType.NONE, CompressionType.GZIP])
def test_old_messages_are_filtered_too(magic: int, compression: CompressionType) -> None:
    records = [Record(5, -1, b"a", b"1"), Record(6, -1, b"b", b"2"), Record(7, -1, b"c", None)]
    if magic:
        records = [record._replace(timestamp=1000 + record.offset) for record in records]
    whole = build_message_set(records, magic, compression=compression)
    kept, position = [], 0
    keeping = batch_filter({b"a": 9, b"b": 6, b"c": 7})
    while position < len(whole):
        header = header_at(whole, position)
        assert header is not None
        one = whole[position : position + header.size_in_bytes]
        left = keeping.filter(header, one, keeps_legacy_deletes=False)
        position += len(one)
        if left is not None:
            kept += list(iter_message_set(left.data))
            assert left.last_offset == 6
    assert [(record.offset, record.key, record.value) for record in kept] == [(6, b"b", b"2")]
    assert kept[0].timestamp == records[1].timestamp


def test_records_that_do_not_fit_their_batch_are_refused() -> None:
    damaged = bytearray(raw(PAIRS))
    damaged[61] = 0x7E
    with pytest.raises(InvalidRecords):
        run(batch_filter({}), bytes(damaged))
