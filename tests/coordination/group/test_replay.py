"""Out of the log comes what went in: groups, offsets, transactions, and nothing of what was removed."""

from typing import Any

import pytest

from pybroker.coordination.group.calls import JoinReply
from pybroker.coordination.group.group import ClassicGroup
from pybroker.coordination.group.offsets import CommittedOffset, commit_of
from pybroker.coordination.group.records import group_key, offset_key, offset_value
from pybroker.coordination.group.replay import GroupReplay
from pybroker.model.errors import ErrorCode
from pybroker.model.ids import TopicPartition
from pybroker.records.batch import iter_records
from pybroker.records.builder import RecordBatchBuilder
from pybroker.records.control import ControlRecordType, EndTransactionMarker, build_end_transaction_marker
from pybroker.records.header import read_batch_header
from tests.coordination.dialogue import START_MS
from tests.coordination.group.dialogue import GROUP, ORDERS, Dialogue, replay


def commit(number: int) -> CommittedOffset:
    return CommittedOffset(number, -1, "", START_MS)


def apply(reading: GroupReplay, base: int, *numbers: int | None, producer: int = -1) -> None:
    """One batch of commits for the same partition; None is a tombstone."""
    fields: dict[str, Any] = {}
    if producer >= 0:
        fields = {"producer_id": producer, "producer_epoch": 0, "base_sequence": 0, "is_transactional": True}
    builder = RecordBatchBuilder(base_offset=base, **fields)
    for number in numbers:
        value = None if number is None else offset_value(commit(number))
        builder.append(offset_key(GROUP, ORDERS), value, START_MS)
    batch = builder.build()
    header = read_batch_header(batch)
    for record in iter_records(batch):
        reading.apply(header, record, base)


def end(reading: GroupReplay, producer: int, kind: ControlRecordType) -> None:
    marker = EndTransactionMarker(kind, 0)
    batch = build_end_transaction_marker(marker, producer_id=producer, producer_epoch=0, timestamp_ms=0)
    reading.control(read_batch_header(batch), batch)


def finished(reading: GroupReplay) -> dict[str, ClassicGroup]:
    return {group.group_id: group for group in reading.finish(START_MS) if group is not None}


def stored(reading: GroupReplay) -> int | None:
    group = finished(reading).get(GROUP)
    found = None if group is None else group.offsets.stored.get(ORDERS)
    return None if found is None else commit_of(found).offset


def test_the_last_commit_counts() -> None:
    reading = GroupReplay()
    apply(reading, 0, 1, 2)
    apply(reading, 2, 3)
    assert stored(reading) == 3


def test_a_tombstone_removes() -> None:
    reading = GroupReplay()
    apply(reading, 0, 1, None)
    assert stored(reading) is None
    assert finished(reading) == {}


def test_offsets_without_a_group_make_an_empty_one() -> None:
    reading = GroupReplay()
    apply(reading, 0, 1)
    group = finished(reading)[GROUP]
    assert (group.state.value, group.protocol_type, group.generation) == ("Empty", None, 0)


@pytest.mark.parametrize(
    ("kind", "expected"), [(ControlRecordType.COMMIT, 5), (ControlRecordType.ABORT, 1), (None, 1)]
)
def test_offsets_of_transactions_wait_for_their_end(kind: ControlRecordType | None, expected: int) -> None:
    reading = GroupReplay()
    apply(reading, 0, 1)
    apply(reading, 1, 5, producer=9)
    if kind is not None:
        end(reading, 9, kind)
    offsets = finished(reading)[GROUP].offsets
    assert commit_of(offsets.stored[ORDERS]).offset == expected
    assert list(offsets.transactional) == ([9] if kind is None else [])


def test_a_transaction_does_not_undo_a_later_commit() -> None:
    """Its place in the log counts, not that of its end."""
    reading = GroupReplay()
    apply(reading, 0, 5, producer=9)
    apply(reading, 1, 7)
    end(reading, 9, ControlRecordType.COMMIT)
    assert stored(reading) == 7


def test_a_stable_group_goes_on_where_it_was() -> None:
    talk = Dialogue()
    leader, follower = talk.stable({}, {})
    talk.commit(1, 1, follower)
    talk.shard = talk.replayed()
    assert talk.heartbeat(leader, 1) is ErrorCode.NONE
    assert talk.synced(talk.sync(follower, 1)).assignment == b"for " + follower.encode()
    assert talk.answers[talk.commit(2, 1, follower)] == {ORDERS: ErrorCode.NONE}


def test_a_group_over_its_size_rebalances_when_it_is_loaded() -> None:
    talk = Dialogue()
    talk.stable({}, {})
    smaller = Dialogue(max_size=1)
    shard = replay(talk.log, smaller.rules, START_MS)
    assert shard.groups[GROUP].state.value == "PreparingRebalance"


def test_who_waits_is_sent_to_the_new_coordinator() -> None:
    talk = Dialogue()
    leader, follower = talk.stable({}, {})
    joining = talk.join(leader)
    talk.move()
    assert talk.joined(joining) == JoinReply(leader, ErrorCode.NOT_COORDINATOR)
    tokens = [talk.join(leader), talk.join(follower)]
    waiting = talk.sync(follower, talk.joined(tokens[1]).generation)
    talk.move()
    assert talk.synced(waiting).error is ErrorCode.NOT_COORDINATOR
    talk.advance(10_000)
    assert talk.state == "Empty"


def test_what_cannot_be_read_is_passed_over(caplog: pytest.LogCaptureFixture) -> None:
    known = (offset_key(GROUP, ORDERS), offset_value(commit(1)))
    records = [
        known,
        (b"", b""),
        (offset_key(GROUP, TopicPartition("x", 0)), b"\0\x63"),
        (group_key("h"), b"\0\3"),
        (b"\0\x0b\0\1g", b"\0\0"),
    ]
    shard = replay(records, Dialogue().rules, START_MS)
    assert list(shard.groups) == [GROUP]
    assert len(caplog.records) == 3
