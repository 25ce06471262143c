"""Neighbouring segments are merged as long as the result fits into one segment, by tables."""

import pytest

from pybroker.storage.cleaning.grouping import SegmentSizes, group_segments

FAR = (1 << 31) - 1


@pytest.mark.parametrize(
    ("segments", "end", "expected"),
    [
        ([], 0, []),
        ([(0, 40, 0, 0), (10, 60, 0, 0)], 20, [[0, 10]]),
        ([(0, 40, 0, 0), (10, 61, 0, 0)], 20, [[0], [10]]),
        ([(0, 500, 0, 0), (10, 10, 0, 0), (20, 10, 0, 0)], 30, [[0], [10, 20]]),
        ([(0, 10, 6, 0), (10, 10, 4, 0), (20, 10, 1, 0)], 30, [[0, 10], [20]]),
        ([(0, 10, 0, 6), (10, 10, 0, 4), (20, 10, 0, 1)], 30, [[0, 10], [20]]),
        # Offsets of a segment are relative and have 31 bits.
        ([(0, 10, 0, 0), (10, 10, 0, 0)], FAR + 1, [[0, 10]]),
        ([(0, 10, 0, 0), (10, 10, 0, 0)], FAR + 2, [[0], [10]]),
        ([(5, 10, 0, 0), (10, 10, 0, 0), (FAR + 6, 10, 0, 0)], FAR + 9, [[5, 10], [FAR + 6]]),
        ([(5, 10, 0, 0), (10, 10, 0, 0), (FAR + 7, 10, 0, 0)], FAR + 9, [[5], [10, FAR + 7]]),
        # An empty one has no offsets.
        ([(0, 10, 0, 0), (10, 0, 0, 0), (FAR + 50, 10, 0, 0)], FAR + 60, [[0, 10], [FAR + 50]]),
    ],
)
def test_groups_respect_segment_bytes_index_bytes_and_the_range_of_offsets(
    segments: list[tuple[int, int, int, int]], end: int, expected: list[list[int]]
) -> None:
    groups = group_segments(
        [SegmentSizes(*one) for one in segments],
        max_bytes=100,
        max_index_bytes=10,
        first_uncleanable_offset=end,
    )
    assert [[one.base_offset for one in group] for group in groups] == expected
