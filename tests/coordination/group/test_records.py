"""Groups and offsets as bytes: what Kafka 3.9 writes, and everything that it may find."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pybroker.coordination.group.offsets import CommittedOffset
from pybroker.coordination.group.records import (
    GroupKey,
    OffsetKey,
    UnreadableRecord,
    group_key,
    group_value,
    offset_key,
    offset_records,
    offset_value,
    read_group_value,
    read_key,
    read_offset_value,
)
from pybroker.model.ids import TopicPartition
from pybroker.protocol.codec import encode
from pybroker.protocol.messages import GroupMetadataValue, OffsetCommitValue
from tests.coordination.dialogue import START_MS
from tests.coordination.group.dialogue import Dialogue

TP = TopicPartition("t", 3)


def text(value: str) -> bytes:
    return len(value).to_bytes(2, "big") + value.encode()


def number(value: int, size: int) -> bytes:
    return value.to_bytes(size, "big", signed=True)


def test_keys() -> None:
    assert offset_key("g", TP) == b"\0\1" + text("g") + text("t") + number(3, 4)
    assert group_key("g") == b"\0\2" + text("g")
    assert read_key(offset_key("g", TP)) == OffsetKey("g", TP)
    assert read_key(b"\0\0" + offset_key("g", TP)[2:]) == OffsetKey("g", TP)
    assert read_key(group_key("g")) == GroupKey("g")
    assert read_key(b"\0\3" + text("g")) is None, "groups of the consumer protocol are not ours"


@pytest.mark.parametrize("key", [None, b"", b"\0", b"\0\1", b"\0\2\0\5g"])
def test_what_is_no_key(key: bytes | None) -> None:
    with pytest.raises(UnreadableRecord):
        read_key(key)


COMMITS = st.dictionaries(
    st.builds(TopicPartition, st.sampled_from(["a", "b", "ä"]), st.integers(0, 2**31 - 1)),
    st.builds(
        CommittedOffset,
        st.integers(-(2**63), 2**63 - 1),
        st.sampled_from([-1, 3]),
        st.sampled_from(["", "note", "ä" * 200]),
        st.sampled_from([0, 1_700_000_000_000]),
        st.sampled_from([None, 1_700_000_000_001]),
    ),
)


@settings(deadline=None)
@given(COMMITS)
def test_the_records_of_a_commit_are_those_of_its_offsets_one_by_one(
    commits: dict[TopicPartition, CommittedOffset],
) -> None:
    one_by_one = [(offset_key("g", tp), offset_value(commit)) for tp, commit in commits.items()]
    assert offset_records("g", commits) == one_by_one


def test_an_offset_is_version_3() -> None:
    value = offset_value(CommittedOffset(42, 5, "note", START_MS))
    assert value == b"\0\3" + number(42, 8) + number(5, 4) + text("note") + number(START_MS, 8)


def test_an_offset_with_an_expiry_is_version_1_without_an_epoch() -> None:
    value = offset_value(CommittedOffset(42, 5, "note", START_MS, START_MS + 1))
    assert value == b"\0\1" + number(42, 8) + text("note") + number(START_MS, 8) + number(START_MS + 1, 8)


@pytest.mark.parametrize("version", range(5))
def test_offsets_of_every_version_are_read(version: int) -> None:
    written = OffsetCommitValue(offset=42, leader_epoch=5, metadata="note", commit_timestamp=START_MS)
    value = number(version, 2) + encode(written, version)
    assert read_offset_value(value) == CommittedOffset(42, 5 if version >= 3 else -1, "note", START_MS)


@pytest.mark.parametrize("value", [b"", b"\0", b"\0\5", b"\0\3\0", b"\xff\xff"])
def test_what_is_no_offset(value: bytes) -> None:
    with pytest.raises(UnreadableRecord):
        read_offset_value(value)
    with pytest.raises(UnreadableRecord):
        read_group_value("g", value, 0)


def test_a_group_is_version_3() -> None:
    talk = Dialogue(initial_rebalance_delay_ms=0)
    talk.stable({"instance_id": "i", "protocols": (("range", b"S"),)})
    ((key, value),) = talk.log
    assert key == group_key("g")
    assert value == (
        b"\0\3"
        + text("consumer")
        + number(1, 4)
        + text("range")
        + text("i-id1")
        + number(START_MS, 8)
        + number(1, 4)
        + text("i-id1")
        + text("i")
        + text("c")
        + text("/10.0.0.1")
        + number(60_000, 4)
        + number(10_000, 4)
        + number(1, 4)
        + b"S"
        + number(9, 4)
        + b"for i-id1"
    )


def test_an_empty_group_keeps_its_type_and_has_neither_protocol_nor_leader() -> None:
    talk = Dialogue(initial_rebalance_delay_ms=0)
    (member,) = talk.stable()
    talk.leave(member)
    null = number(-1, 2)
    assert talk.log[-1][1] == (
        b"\0\3" + text("consumer") + number(2, 4) + null + null + number(START_MS, 8) + number(0, 4)
    )


@pytest.mark.parametrize("version", range(5))
def test_groups_of_every_version_are_read(version: int) -> None:
    member = GroupMetadataValue.MemberMetadata(
        member_id="m",
        group_instance_id="i",
        client_id="c",
        client_host="/h",
        rebalance_timeout=2,
        session_timeout=1,
        subscription=b"S",
        assignment=b"A",
    )
    written = GroupMetadataValue(
        protocol_type="consumer",
        generation=4,
        protocol="range",
        leader="m",
        current_state_timestamp=START_MS,
        members=[member],
    )
    group = read_group_value("g", number(version, 2) + encode(written, version), 0)
    assert group.state.value == "Stable"
    assert (group.generation, group.leader_id, group.protocol_name) == (4, "m", "range")
    assert group.state_since_ms == (START_MS if version >= 2 else None)
    read = group.members["m"]
    assert read.rebalance_timeout_ms == {0: 1}.get(version, 2)
    assert read.instance_id == ("i" if version >= 3 else None)
    assert (read.metadata("range"), read.assignment) == (b"S", b"A")


def test_what_is_read_is_written_again_as_it_was() -> None:
    talk = Dialogue()
    talk.stable({"instance_id": "i"}, {})
    value = talk.log[-1][1]
    assert value is not None
    group = read_group_value("g", value, 0)
    assert group_value(group, {name: one.assignment for name, one in group.members.items()}) == value
