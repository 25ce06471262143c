"""Which log is cleaned, and which part of it, by tables."""

from typing import Any

import pytest
from msgspec.structs import replace

from pybroker.model.ids import Offset, TopicPartition
from pybroker.storage.cleaning.selection import LogFacts, SegmentFacts, assess, dirtiest

NOW_MS = 1_000_000
TP = TopicPartition("t", 0)
SEGMENTS = [
    SegmentFacts(0, 100, largest_timestamp_ms=100_000, first_timestamp_ms=90_000),
    SegmentFacts(100, 200, largest_timestamp_ms=500_000, first_timestamp_ms=400_000),
    SegmentFacts(200, 300, largest_timestamp_ms=900_000, first_timestamp_ms=800_000),
    SegmentFacts(300, 50, largest_timestamp_ms=990_000, first_timestamp_ms=980_000),
]
LOG = LogFacts(TP, SEGMENTS, 0, 350, 350, None)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, (0, 300)),
        ({"cleaned_offset": 0}, (0, 300)),
        ({"cleaned_offset": 100}, (100, 300)),
        ({"cleaned_offset": 150}, (150, 300)),
        ({"cleaned_offset": 300}, (300, 300)),
        ({"cleaned_offset": 340}, (340, 300)),
        ({"cleaned_offset": 351}, (0, 300)),
        ({"cleaned_offset": 50, "log_start_offset": 120}, (120, 300)),
        ({"log_start_offset": 120}, (120, 300)),
        ({"last_stable_offset": 300}, (0, 300)),
        ({"last_stable_offset": 299}, (0, 200)),
        ({"last_stable_offset": 100}, (0, 100)),
        ({"last_stable_offset": 0}, (0, 0)),
        ({"min_compaction_lag_ms": 99_999}, (0, 300)),
        ({"min_compaction_lag_ms": 100_001}, (0, 200)),
        ({"min_compaction_lag_ms": 500_001}, (0, 100)),
        ({"min_compaction_lag_ms": 950_000}, (0, 0)),
        ({"min_compaction_lag_ms": 950_000, "cleaned_offset": 150}, (150, 100)),
        ({"segments": SEGMENTS[:1]}, (0, 0)),
    ],
)
def test_the_range_to_clean_is_bounded_by_checkpoint_active_segment_stable_offset_and_lag(
    changes: dict[str, Any], expected: tuple[Offset, Offset]
) -> None:
    chosen = assess(replace(LOG, **changes), NOW_MS)
    assert (chosen.first_dirty_offset, chosen.first_uncleanable_offset) == expected


@pytest.mark.parametrize(
    ("changes", "clean_bytes", "cleanable_bytes"),
    [
        ({}, 0, 600),
        ({"cleaned_offset": 100}, 100, 500),
        ({"cleaned_offset": 150}, 300, 500),
        ({"cleaned_offset": 300}, 600, 0),
        ({"last_stable_offset": 299}, 0, 300),
        ({"last_stable_offset": 10}, 0, 0),
    ],
)
def test_whole_segments_count_as_clean_or_cleanable(
    changes: dict[str, Any], clean_bytes: int, cleanable_bytes: int
) -> None:
    chosen = assess(replace(LOG, **changes), NOW_MS)
    assert (chosen.clean_bytes, chosen.cleanable_bytes) == (clean_bytes, cleanable_bytes)


@pytest.mark.parametrize(
    ("changes", "is_due"),
    [
        ({}, True),
        ({"min_cleanable_dirty_ratio": 1.0}, False),
        ({"cleaned_offset": 200, "min_cleanable_dirty_ratio": 0.49}, True),
        ({"cleaned_offset": 200, "min_cleanable_dirty_ratio": 0.5}, False),
        ({"min_cleanable_dirty_ratio": 1.0, "max_compaction_lag_ms": 910_001}, False),
        ({"min_cleanable_dirty_ratio": 1.0, "max_compaction_lag_ms": 909_999}, True),
        # What has waited long is beyond the last stable offset.
        (
            {"min_cleanable_dirty_ratio": 1.0, "max_compaction_lag_ms": 1, "last_stable_offset": 1},
            False,
        ),
        ({"cleaned_offset": 300, "min_cleanable_dirty_ratio": 0.0}, False),
        ({"segments": [SegmentFacts(0, 0), SegmentFacts(0, 0)], "min_cleanable_dirty_ratio": 0.0}, False),
    ],
)
def test_a_log_is_due_when_dirty_enough_or_when_a_record_has_waited_too_long(
    changes: dict[str, Any], is_due: bool
) -> None:
    assert assess(replace(LOG, **changes), NOW_MS).is_due is is_due


def test_the_dirtiest_log_that_is_due_comes_first() -> None:
    def log(name: str, cleaned: Offset, min_ratio: float) -> LogFacts:
        return replace(
            LOG,
            topic_partition=TopicPartition(name, 0),
            cleaned_offset=cleaned,
            min_cleanable_dirty_ratio=min_ratio,
        )

    logs = [log("half", 200, 0.1), log("dirty", 100, 0.9), log("most", 100, 0.5), log("clean", 300, 0.0)]
    best = dirtiest(assess(one, NOW_MS) for one in logs)
    assert best is not None
    assert best.topic_partition.topic == "most"
    assert dirtiest([assess(logs[3], NOW_MS)]) is None
    assert dirtiest([]) is None
