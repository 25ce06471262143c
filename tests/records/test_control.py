"""Transaction markers. Kafka's own bytes are in test_golden."""

import pytest

from pybroker.model.errors import ErrorCode
from pybroker.records.batch import iter_records, read_batch_header
from pybroker.records.builder import RecordBatchBuilder
from pybroker.records.control import (
    ControlRecordType,
    EndTransactionMarker,
    build_end_transaction_marker,
    control_record_type,
    parse_end_transaction_marker,
    read_end_transaction_marker,
)
from pybroker.records.errors import InvalidRecords


@pytest.mark.parametrize("kind", ControlRecordType)
def test_a_marker_is_a_transactional_control_batch_of_one_record(kind: ControlRecordType) -> None:
    marker = EndTransactionMarker(kind, 12)
    batch = build_end_transaction_marker(
        marker, producer_id=5, producer_epoch=3, timestamp_ms=77, base_offset=9
    )
    header = read_batch_header(batch)
    assert header.is_control
    assert header.is_transactional
    assert (header.producer_id, header.producer_epoch, header.base_sequence) == (5, 3, -1)
    assert (header.base_offset, header.record_count, header.max_timestamp) == (9, 1, 77)
    assert read_end_transaction_marker(batch) == marker
    [record] = iter_records(batch)
    assert parse_end_transaction_marker(record.key, record.value) == marker


@pytest.mark.parametrize("key", [None, b"", b"\x00\x00\x00", b"\xff\xff\x00\x00"])
def test_a_damaged_key_is_refused(key: bytes | None) -> None:
    with pytest.raises(InvalidRecords) as refusal:
        control_record_type(key)
    assert refusal.value.code is ErrorCode.INVALID_RECORD


@pytest.mark.parametrize(
    ("key", "value"),
    [
        (b"\x00\x00\x00\x01", None),
        (b"\x00\x00\x00\x01", b"\x00\x00\x00"),
        (b"\x00\x00\x00\x01", b"\xff\xff\x00\x00\x00\x01"),
        (b"\x00\x00\x00\x02", b"\x00\x00\x00\x00\x00\x01"),
    ],
)
def test_what_is_no_marker_is_refused(key: bytes, value: bytes | None) -> None:
    with pytest.raises(InvalidRecords):
        parse_end_transaction_marker(key, value)


def test_control_records_of_other_types_are_skipped() -> None:
    builder = RecordBatchBuilder(is_control=True)
    builder.append(b"\x00\x00\x00\x02", b"leader change", 1)
    assert read_end_transaction_marker(builder.build()) is None


def test_an_empty_control_batch_has_no_marker() -> None:
    assert read_end_transaction_marker(RecordBatchBuilder(is_control=True).build(last_offset_delta=0)) is None
