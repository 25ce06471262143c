"""Single records: walking and scanning agree, in whole buffers and in streams cut anywhere."""

import itertools
from collections.abc import Callable, Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pybroker.model.errors import ErrorCode
from pybroker.records.errors import InvalidRecords
from pybroker.records.header import Record
from pybroker.records.record import (
    check_lengths,
    encode_record,
    read_headers,
    scan_record,
    stream_records,
    walk_lengths,
)
from pybroker.records.varint import decode_varint
from tests.records.samples import record_lists


def _encode(records: list[Record]) -> bytes:
    return b"".join(
        encode_record(record.timestamp, record.offset, record.key, record.value, record.headers)
        for record in records
    )


def _cut(data: bytes, cuts: list[int]) -> Iterator[bytes]:
    places = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    return (data[start:end] for start, end in itertools.pairwise(places) if start < end)


def _decoded(buffer: bytes, position: int) -> tuple[Record, int]:
    fields = scan_record(buffer, position)
    record = Record(
        fields.offset_delta,
        fields.timestamp_delta,
        None if fields.key_size < 0 else buffer[fields.key_at : fields.key_at + fields.key_size],
        None if fields.value_size < 0 else buffer[fields.value_at : fields.value_at + fields.value_size],
        read_headers(buffer, fields),
    )
    return record, fields.end


@settings(deadline=None)
@given(record_lists())
def test_records_are_scanned_as_they_were_encoded(records: list[Record]) -> None:
    data = _encode(records)
    position = 0
    for record in records:
        decoded, position = _decoded(data, position)
        assert decoded == record
    assert position == len(data)
    assert walk_lengths(data, 0, len(records)) == (len(data), len(records))


@settings(deadline=None)
@given(record_lists(), st.lists(st.integers(0, 10_000), max_size=8))
def test_a_stream_cut_anywhere_holds_the_same_records(records: list[Record], cuts: list[int]) -> None:
    data = _encode(records)
    check_lengths(_cut(data, cuts), len(records))
    streamed = [
        (fields.offset_delta, buffer[fields.value_at : fields.value_at + max(fields.value_size, 0)])
        for buffer, fields in stream_records(_cut(data, cuts))
    ]
    assert streamed == [(record.offset, record.value or b"") for record in records]


@settings(deadline=None)
@given(record_lists(), st.lists(st.integers(0, 10_000), max_size=8), st.integers(1, 40))
def test_a_stream_that_ends_early_or_late_is_refused(
    records: list[Record], cuts: list[int], change: int
) -> None:
    data = _encode(records)
    for wrong in (data[: -min(change, len(data))], data + b"\x00" * change, data + b"\x80" * change):
        with pytest.raises(InvalidRecords) as refusal:
            check_lengths(_cut(wrong, cuts), len(records))
        assert refusal.value.code is ErrorCode.INVALID_RECORD
    for count in (len(records) - 1, len(records) + 1):
        with pytest.raises(InvalidRecords):
            check_lengths(_cut(data, cuts), count)


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=60), st.lists(st.integers(0, 100), max_size=3))
def test_noise_is_refused_or_read_to_its_end(data: bytes, cuts: list[int]) -> None:
    try:
        ends = [fields.end for _, fields in stream_records(iter([data]))]
    except InvalidRecords as refusal:
        assert refusal.code is ErrorCode.INVALID_RECORD
        ends = []
    try:
        count = sum(1 for _ in stream_records(_cut(data, cuts)))
    except InvalidRecords:
        assert not ends
    else:
        assert count == len(ends)


def test_a_length_of_two_gigabytes_is_refused_without_collecting_them() -> None:
    with pytest.raises(InvalidRecords):
        list(stream_records(iter([b"\xfe\xff\xff\xff\x0f" + bytes(100)])))
    with pytest.raises(InvalidRecords):
        check_lengths(iter([b"\xfe\xff\xff\xff\x0f" + bytes(100)]), 1)


@pytest.mark.parametrize("length", ["01", "00", "0a", "ffffffff0f", "8080808080808001"])
def test_an_impossible_length_ends_a_stream_at_once(length: str) -> None:
    def pieces() -> Iterator[bytes]:
        yield bytes.fromhex(length) + bytes(20)
        raise AssertionError("more was asked for")

    with pytest.raises(InvalidRecords):
        list(stream_records(pieces()))


@pytest.mark.parametrize("size", [5, 6, 63, 64, 8191, 8192, 1_048_575, 1_048_576, 2_000_000])
def test_lengths_of_every_width_are_walked(size: int) -> None:
    data = encode_record(0, 0, None, bytes(size)) * 3
    assert walk_lengths(data, 0, 3) == (len(data), 3)
    assert walk_lengths(memoryview(data), 0, 10) == (len(data), 3)
    check_lengths(iter([data]), 3)


RUNS = st.lists(
    st.tuples(st.sampled_from([0, 1, 56, 57, 100, 8190]), st.integers(1, 400)), min_size=1, max_size=6
)


@settings(deadline=None, max_examples=60)
@given(RUNS, st.integers(0, 2_000), st.integers(-3, 3), st.sampled_from([bytes, memoryview]))
def test_runs_of_records_of_one_size_are_walked_like_any_others(
    runs: list[tuple[int, int]], cut: int, more: int, kind: Callable[[bytes], bytes | memoryview]
) -> None:
    data = b"".join(encode_record(0, 0, None, bytes(size)) * count for size, count in runs)
    total = sum(count for _size, count in runs)
    data = data[: max(len(data) - cut, 0)]
    assert walk_lengths(kind(data), 0, max(total + more, 0)) == _walked_one_by_one(data, total + more)


def _walked_one_by_one(data: bytes, count: int) -> tuple[int, int]:
    position = done = 0
    while done < count and position < len(data):
        try:
            length, after = decode_varint(data, position)
        except (IndexError, ValueError):
            break  # the length itself is cut
        position = after + length
        done += 1
    return position, done


def test_header_names_keep_bytes_that_are_no_text() -> None:
    body = bytes.fromhex("0000000261026202" + "04fffe" + "0278")
    data = bytes([2 * len(body)]) + body
    [(name, value)] = _decoded(data, 0)[0].headers
    assert (name, value) == ("\udcff\udcfe", b"x")
    assert encode_record(0, 0, b"a", b"b", [(name, value)]) == data
