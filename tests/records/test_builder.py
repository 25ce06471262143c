"""Building batches: offsets, limits, what the log cleaner overrides."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pybroker.records.batch import CompressionType, Record, crc_is_valid, iter_records, read_batch_header
from pybroker.records.builder import RecordBatchBuilder, build_batch
from tests.records.samples import CODECS, NOW, SAMPLE


def test_offsets_count_up_unless_told_otherwise() -> None:
    builder = RecordBatchBuilder(base_offset=100)
    assert builder.append(b"a", None, NOW) == 100
    assert builder.append(b"b", None, NOW, offset=105) == 105
    assert builder.next_offset == 106
    assert builder.append(b"c", None, NOW) == 106
    header = read_batch_header(builder.build())
    assert (header.base_offset, header.last_offset, header.record_count) == (100, 106, 3)


@pytest.mark.parametrize("offset", [99, 100, 100 + 2**31])
def test_offsets_must_grow_and_stay_near_the_base(offset: int) -> None:
    builder = RecordBatchBuilder(base_offset=100)
    builder.append(b"a", None, NOW)
    with pytest.raises(ValueError, match="offset delta"):
        builder.append(b"b", None, NOW, offset=offset)


def test_a_timestamp_below_minus_one_cannot_be_written() -> None:
    with pytest.raises(ValueError, match="negative"):
        RecordBatchBuilder().append(b"a", None, -2)
    with pytest.raises(ValueError, match="negative"):
        RecordBatchBuilder().extend([(b"a", None)], -2)


FIELD = st.none() | st.binary(max_size=3) | st.sampled_from([b"x" * 100, b"y" * 600, b"z" * 9000])


@settings(deadline=None)
@given(
    st.lists(
        st.tuples(
            st.lists(st.tuples(FIELD, FIELD), max_size=3), st.sampled_from([NOW, NOW - 5, NOW + 70_000])
        )
    )
)
def test_several_records_are_added_as_they_are_one_by_one(
    groups: list[tuple[list[tuple[bytes | None, bytes | None]], int]],
) -> None:
    at_once, one_by_one = RecordBatchBuilder(base_offset=7), RecordBatchBuilder(base_offset=7)
    for records, timestamp in groups:
        at_once.extend(records, timestamp)
        for key, value in records:
            one_by_one.append(key, value, timestamp)
    assert (len(at_once), at_once.next_offset) == (len(one_by_one), one_by_one.next_offset)
    if len(one_by_one):
        assert at_once.build() == one_by_one.build()


@pytest.mark.parametrize(
    "options",
    [
        {"is_transactional": True},
        {"producer_id": 1, "base_sequence": 0},
        {"producer_id": 1, "producer_epoch": 0},
    ],
)
def test_a_producers_fields_must_agree(options: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=r"producer id|epoch|sequence"):
        build_batch(SAMPLE, **options)  # type: ignore[arg-type]


def test_a_batch_needs_a_record() -> None:
    with pytest.raises(ValueError, match="needs a record"):
        build_batch([])
    with pytest.raises(ValueError, match="needs a record"):
        RecordBatchBuilder().build()


def test_the_cleaner_may_leave_a_header_alone_with_its_sequence_and_last_offset() -> None:
    builder = RecordBatchBuilder(
        base_offset=50,
        compression=CompressionType.GZIP,
        producer_id=4,
        producer_epoch=1,
        base_sequence=20,
    )
    batch = builder.build(last_offset_delta=9, max_timestamp=NOW)
    header = read_batch_header(batch)
    assert len(batch) == 61
    assert crc_is_valid(batch)
    assert (header.last_offset, header.last_sequence, header.record_count) == (59, 29, 0)
    assert (header.base_timestamp, header.max_timestamp) == (-1, NOW)
    assert header.compression is CompressionType.NONE
    assert list(iter_records(batch)) == []


@pytest.mark.parametrize("codec", CODECS)
def test_records_bring_their_own_offsets_and_gaps_survive(codec: CompressionType) -> None:
    records = [Record(offset, NOW + offset, b"k", b"v") for offset in (7, 8, 20)]
    batch = build_batch(records, base_offset=5, compression=codec)
    assert list(iter_records(batch)) == records
    assert read_batch_header(batch).base_offset == 5


def test_the_size_is_known_while_building() -> None:
    builder = RecordBatchBuilder()
    for record in SAMPLE:
        builder.append(record.key, record.value, record.timestamp, record.headers)
    assert len(builder) == len(SAMPLE)
    assert builder.size_bytes == len(builder.build())
