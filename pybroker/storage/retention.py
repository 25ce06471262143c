"""Which of a log's oldest segments may go. Pure: facts in, a count out. Source:
``UnifiedLog.deleteOldSegments``."""

from collections.abc import Sequence
from enum import StrEnum

from pybroker.model.ids import Offset
from pybroker.model.values import Value


class DeletionReason(StrEnum):
    """Why segments go; the value is for the log line."""

    LOG_START = "the log start offset has passed them"
    SIZE = "the log is larger than retention.bytes"
    TIME = "they are older than retention.ms"


class SegmentFacts(Value):
    """What retention looks at. ``end_offset`` is exclusive; ``largest_timestamp_ms`` falls back to the
    file's age."""

    base_offset: Offset
    end_offset: Offset
    size: int
    largest_timestamp_ms: int


class RetentionPolicy(Value):
    """Limits in ms and bytes; -1 is none. With ``delete`` false only the log start offset counts."""

    delete: bool
    retention_ms: int
    retention_bytes: int


def deletable_segments(
    segments: Sequence[SegmentFacts],
    policy: RetentionPolicy,
    *,
    log_start_offset: Offset,
    high_watermark: Offset,
    now_ms: int,
) -> tuple[int, DeletionReason | None]:
    """How many of the oldest segments may be deleted, and the last reason that applied.

    Never one that reaches beyond the high watermark, and never an empty last one.
    """
    limit = 0
    for number, segment in enumerate(segments):
        is_last = number == len(segments) - 1
        if high_watermark < segment.end_offset or (is_last and segment.size == 0):
            break
        limit = number + 1
    count, reason = 0, None
    while count < min(limit, len(segments) - 1) and segments[count].end_offset <= log_start_offset:
        count, reason = count + 1, DeletionReason.LOG_START
    if not policy.delete:
        return count, reason
    if policy.retention_bytes >= 0:
        excess = sum(segment.size for segment in segments[count:]) - policy.retention_bytes
        while count < limit and excess - segments[count].size >= 0:
            excess -= segments[count].size
            count, reason = count + 1, DeletionReason.SIZE
    if policy.retention_ms >= 0:
        while count < limit and now_ms - segments[count].largest_timestamp_ms > policy.retention_ms:
            count, reason = count + 1, DeletionReason.TIME
    return count, reason
