"""What the cleaner needs to know of a live log."""

from pybroker.model.ids import Offset
from pybroker.storage.cleaning.batch_filter import LastWrite
from pybroker.storage.cleaning.job import CleanerLimits, CleanJob
from pybroker.storage.cleaning.selection import LogFacts, LogToClean, SegmentFacts
from pybroker.storage.log import Log
from pybroker.storage.segment import Segment


def facts_of(log: Log, last_stable_offset: Offset, now_ms: int) -> LogFacts:
    """What the choice of the dirtiest log looks at. Timestamps are read only where a setting needs them.

    Raises:
        OSError: the disk failed.
        CorruptRecords: a segment is damaged.
    """
    config = log.config
    needs_last = config.min_compaction_lag_ms > 0
    needs_first = config.max_compaction_lag_ms < now_ms

    def facts(segment: Segment) -> SegmentFacts:
        return SegmentFacts(
            segment.base_offset,
            segment.size,
            segment.largest_timestamp_ms() if needs_last else -1,
            segment.first_batch_timestamp() if needs_first else -1,
        )

    return LogFacts(
        log.topic_partition,
        [facts(segment) for segment in log.segments],
        log.log_start_offset,
        log.log_end_offset,
        last_stable_offset,
        log.cleaned_offset,
        config.min_cleanable_dirty_ratio,
        config.min_compaction_lag_ms,
        config.max_compaction_lag_ms,
    )


def segments_to_clean(log: Log, chosen: LogToClean) -> list[Segment]:
    """The segments that a clean reads, in order."""
    return [segment for segment in log.segments if segment.base_offset < chosen.first_uncleanable_offset]


def job_of(log: Log, chosen: LogToClean, now_ms: int, limits: CleanerLimits) -> CleanJob:
    """A clean of one log as its worker is told.

    Raises:
        LogDirFailed: the disk failed.
    """
    end = chosen.first_uncleanable_offset
    return CleanJob(
        log.directory,
        log.topic_partition,
        [(segment.base_offset, segment.size) for segment in segments_to_clean(log, chosen)],
        chosen.first_dirty_offset,
        end,
        log.config,
        now_ms,
        {
            producer_id: LastWrite(entry.last_offset, entry.producer_epoch)
            for producer_id, entry in log.producers.active().items()
        },
        log.aborted_transactions(log.segments.first.base_offset, end),
        limits,
    )
