"""Which log needs cleaning most, and which part of it. Pure: facts in, a decision out.

Source: ``LogCleanerManager`` of Kafka 3.9.
"""

from collections.abc import Iterable, Sequence
from operator import attrgetter

from pybroker.model.ids import Offset, TopicPartition
from pybroker.model.values import Value


class SegmentFacts(Value):
    """What the choice looks at in a segment. A timestamp that no setting asks for may be -1."""

    base_offset: Offset
    size: int
    largest_timestamp_ms: int = -1
    first_timestamp_ms: int = -1
    """Of its first batch."""


class LogFacts(Value):
    """What the choice looks at in a log. The last of ``segments`` is the active one."""

    topic_partition: TopicPartition
    segments: Sequence[SegmentFacts]
    log_start_offset: Offset
    log_end_offset: Offset
    last_stable_offset: Offset
    cleaned_offset: Offset | None
    """Everything before it was cleaned once; None when nothing was."""
    min_cleanable_dirty_ratio: float = 0.5
    min_compaction_lag_ms: int = 0
    max_compaction_lag_ms: int = (1 << 63) - 1

    def sealed_from(self, offset: Offset) -> Sequence[SegmentFacts]:
        """The sealed segments from the one that holds ``offset`` on."""
        return _between(self.segments, offset, self.segments[-1].base_offset)


class LogToClean(Value):
    """A log with the range that a clean would work on: [first dirty, first uncleanable)."""

    topic_partition: TopicPartition
    first_dirty_offset: Offset
    first_uncleanable_offset: Offset
    clean_bytes: int
    cleanable_bytes: int
    must_be_cleaned: bool
    """Whether a record has waited longer than ``max.compaction.lag.ms``."""
    min_ratio: float

    @property
    def cleanable_ratio(self) -> float:
        """The dirty share of what a clean would read; 0 for an empty log."""
        total = self.clean_bytes + self.cleanable_bytes
        return self.cleanable_bytes / total if total else 0.0

    @property
    def is_due(self) -> bool:
        """Whether it is dirty enough, or has waited long enough."""
        return (self.must_be_cleaned and self.cleanable_bytes > 0) or self.cleanable_ratio > self.min_ratio


def assess(log: LogFacts, now_ms: int) -> LogToClean:
    """The range of a log that may be cleaned now."""
    first_dirty = first_dirty_offset(log)
    bound = max(first_dirty, _first_uncleanable(log, first_dirty, now_ms))
    sealed = log.sealed_from(bound)
    first_uncleanable = (sealed[0] if sealed else log.segments[-1]).base_offset
    cleanable = _between(log.segments, min(first_dirty, first_uncleanable), first_uncleanable)
    return LogToClean(
        log.topic_partition,
        first_dirty,
        first_uncleanable,
        sum(segment.size for segment in log.segments if segment.base_offset < first_dirty),
        sum(segment.size for segment in cleanable),
        _has_waited_too_long(log, first_dirty, now_ms),
        log.min_cleanable_dirty_ratio,
    )


def first_dirty_offset(log: LogFacts) -> Offset:
    """Where the dirty part begins: at the checkpoint, unless the log lies elsewhere by now."""
    cleaned = log.cleaned_offset
    if cleaned is None or not log.log_start_offset <= cleaned <= log.log_end_offset:
        return log.log_start_offset
    return cleaned


def dirtiest(candidates: Iterable[LogToClean]) -> LogToClean | None:
    """The log to clean next; None when no one is due."""
    return max((log for log in candidates if log.is_due), key=attrgetter("cleanable_ratio"), default=None)


def _between(segments: Sequence[SegmentFacts], start: Offset, end: Offset) -> Sequence[SegmentFacts]:
    """Segments that begin before ``end``, from the one that holds ``start`` on."""
    if start >= end:
        return ()
    first = max((n for n, segment in enumerate(segments) if segment.base_offset <= start), default=0)
    return [segment for segment in segments[first:] if segment.base_offset < end]


def _first_uncleanable(log: LogFacts, first_dirty: Offset, now_ms: int) -> Offset:
    """Nothing that is undecided, active, or younger than ``min.compaction.lag.ms``."""
    bound = min(log.last_stable_offset, log.segments[-1].base_offset)
    if log.min_compaction_lag_ms > 0:
        newest = now_ms - log.min_compaction_lag_ms
        for segment in log.sealed_from(first_dirty):
            if segment.largest_timestamp_ms > newest:
                return min(bound, segment.base_offset)
    return bound


def _has_waited_too_long(log: LogFacts, first_dirty: Offset, now_ms: int) -> bool:
    oldest = now_ms - max(0, log.max_compaction_lag_ms)
    return any(0 < segment.first_timestamp_ms < oldest for segment in log.sealed_from(first_dirty))
