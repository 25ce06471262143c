"""Which neighbouring segments are merged into one. Pure. Source: ``Cleaner.groupSegmentsBySize``."""

from collections.abc import Sequence

from pybroker.model.ids import Offset
from pybroker.model.values import Value
from pybroker.storage.segment import MAX_RELATIVE_OFFSET


class SegmentSizes(Value):
    """Bytes of a segment's files."""

    base_offset: Offset
    log: int
    offset_index: int = 0
    time_index: int = 0


def group_segments(
    segments: Sequence[SegmentSizes],
    *,
    max_bytes: int,
    max_index_bytes: int,
    first_uncleanable_offset: Offset,
) -> list[list[SegmentSizes]]:
    """Groups of which each fits into one segment even if all of its records stay.

    Args:
        max_bytes: ``segment.bytes``; a larger segment is a group of its own.
        first_uncleanable_offset: where the last segment ends, if no other follows.
    """
    ends = [segment.base_offset for segment in segments[1:]] + [first_uncleanable_offset]
    groups: list[list[SegmentSizes]] = []
    for segment, end in zip(segments, ends, strict=False):
        if groups and _fits(groups[-1], segment, end, max_bytes, max_index_bytes):
            groups[-1].append(segment)
        else:
            groups.append([segment])
    return groups


def _fits(
    group: list[SegmentSizes], segment: SegmentSizes, end: Offset, max_bytes: int, max_index_bytes: int
) -> bool:
    return (
        sum(one.log for one in group) + segment.log <= max_bytes
        and sum(one.offset_index for one in group) + segment.offset_index <= max_index_bytes
        and sum(one.time_index for one in group) + segment.time_index <= max_index_bytes
        # An empty one may join whatever its offsets: nothing of it is written.
        and (segment.log == 0 or end - 1 - group[0].base_offset <= MAX_RELATIVE_OFFSET)
    )
