"""Finding offsets by timestamp in a log's segments."""

from collections.abc import Sequence
from typing import NamedTuple

from pybroker.model.ids import LeaderEpoch, Offset
from pybroker.records.batch import iter_records
from pybroker.storage.segment import Segment


class TimestampOffset(NamedTuple):
    """A record found by its timestamp (ms), and the leader epoch of its batch (-1 unknown)."""

    offset: Offset
    timestamp: int
    leader_epoch: LeaderEpoch


def find_in_segment(segment: Segment, timestamp: int, start_offset: Offset) -> TimestampOffset | None:
    """The first record at or after ``start_offset`` whose timestamp is at least ``timestamp``."""
    near = max(segment.time_index.offset_before(timestamp), start_offset)
    for position, header in segment.headers(segment.offset_index.position_for(near)):
        if header.max_timestamp < timestamp or header.last_offset < start_offset:
            continue
        if header.magic < 2:
            return TimestampOffset(header.base_offset, header.max_timestamp, -1)
        for record in iter_records(segment.read(position, header.size_in_bytes)):
            if record.timestamp >= timestamp and record.offset >= start_offset:
                return TimestampOffset(record.offset, record.timestamp, header.leader_epoch)
    return None


def find_largest(segments: Sequence[Segment]) -> TimestampOffset | None:
    """The first record that has the largest timestamp of all; None when no record has one."""
    segment = max(segments, key=lambda candidate: candidate.max_timestamp)
    timestamp, near = segment.max_timestamp_and_offset
    if timestamp < 0:
        return None
    for position, header in segment.headers(segment.offset_index.position_for(near)):
        if header.max_timestamp != timestamp:
            continue
        if header.magic < 2:
            return TimestampOffset(header.base_offset, timestamp, -1)
        for record in iter_records(segment.read(position, header.size_in_bytes)):
            if record.timestamp == timestamp:
                return TimestampOffset(record.offset, timestamp, header.leader_epoch)
    return None
