"""Handing out assignments, heartbeats, and what happens to members that are not heard of."""

from typing import Any

import pytest

from pybroker.coordination.group.calls import LeavingMember, SyncReply
from pybroker.coordination.group.states import PREVIOUS_STATES, GroupState
from pybroker.model.errors import ErrorCode
from tests.coordination.group.dialogue import GROUP, Dialogue


def joined_pair(talk: Dialogue) -> tuple[str, str]:
    """Two members that have joined and not synced; the first leads."""
    tokens = [talk.join(), talk.join()]
    talk.advance(6000)
    first, second = (talk.joined(token).member_id for token in tokens)
    return first, second


def test_followers_wait_for_the_leader() -> None:
    talk = Dialogue()
    leader, follower = joined_pair(talk)
    waiting = talk.sync(follower, 1)
    assert waiting not in talk.answers
    own = talk.sync(leader, 1, {leader: b"a", follower: b"b"})
    assert talk.synced(own) == SyncReply(ErrorCode.NONE, "consumer", "range", b"a")
    assert talk.synced(waiting).assignment == b"b"
    assert talk.state == "Stable"


def test_members_that_the_leader_forgot_get_nothing() -> None:
    talk = Dialogue()
    leader, follower = joined_pair(talk)
    talk.sync(leader, 1, {leader: b"a", "ghost": b"x"})
    assert talk.synced(talk.sync(follower, 1)).assignment == b""


def test_assignments_are_told_only_once_they_are_stored() -> None:
    talk = Dialogue()
    leader, follower = joined_pair(talk)
    talk.holds = True
    tokens = [talk.sync(leader, 1, {leader: b"a"}), talk.sync(follower, 1)]
    assert not talk.answers.keys() & set(tokens)
    assert talk.state == "CompletingRebalance"
    talk.release()
    assert talk.synced(tokens[0]).assignment == b"a"


@pytest.mark.parametrize(
    ("failure", "code"),
    [
        (ErrorCode.NOT_ENOUGH_REPLICAS, ErrorCode.COORDINATOR_NOT_AVAILABLE),
        (ErrorCode.NOT_ENOUGH_REPLICAS_AFTER_APPEND, ErrorCode.COORDINATOR_NOT_AVAILABLE),
        (ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, ErrorCode.COORDINATOR_NOT_AVAILABLE),
        (ErrorCode.NOT_LEADER_OR_FOLLOWER, ErrorCode.NOT_COORDINATOR),
        (ErrorCode.KAFKA_STORAGE_ERROR, ErrorCode.NOT_COORDINATOR),
        (ErrorCode.REQUEST_TIMED_OUT, ErrorCode.REBALANCE_IN_PROGRESS),
        (ErrorCode.MESSAGE_TOO_LARGE, ErrorCode.UNKNOWN_SERVER_ERROR),
        (ErrorCode.CORRUPT_MESSAGE, ErrorCode.CORRUPT_MESSAGE),
    ],
)
def test_an_assignment_that_cannot_be_stored_makes_all_join_again(
    failure: ErrorCode, code: ErrorCode
) -> None:
    talk = Dialogue()
    leader, follower = joined_pair(talk)
    talk.error = failure
    tokens = [talk.sync(follower, 1), talk.sync(leader, 1, {})]
    assert [talk.synced(token) for token in tokens] == [SyncReply(code)] * 2
    assert talk.state == "PreparingRebalance"


def test_an_assignment_of_a_past_generation_changes_nothing() -> None:
    talk = Dialogue()
    leader, _ = joined_pair(talk)
    talk.holds = True
    token = talk.sync(leader, 1, {leader: b"a"})
    talk.join()
    assert talk.synced(token).error is ErrorCode.REBALANCE_IN_PROGRESS
    talk.release()
    assert talk.state == "PreparingRebalance"


def test_a_sync_that_its_client_repeats_does_not_leave_the_first_waiting() -> None:
    talk = Dialogue()
    _, follower = joined_pair(talk)
    first, second = talk.sync(follower, 1), talk.sync(follower, 1)
    assert talk.synced(first).error is ErrorCode.REBALANCE_IN_PROGRESS
    assert second not in talk.answers


def test_members_that_do_not_sync_within_the_rebalance_timeout_are_out() -> None:
    talk = Dialogue()
    leader, follower = joined_pair(talk)
    talk.sync(leader, 1, {leader: b"a"})
    for _ in range(12):
        talk.heartbeat(leader, 1)
        talk.heartbeat(follower, 1)
        talk.advance(5_000)
    assert talk.state == "PreparingRebalance"
    assert list(talk.group.members) == [leader]


class TestRefusals:
    @pytest.mark.parametrize(
        ("member", "generation", "fields", "code"),
        [
            ("ghost", 1, {}, ErrorCode.UNKNOWN_MEMBER_ID),
            ("c-id1", 2, {}, ErrorCode.ILLEGAL_GENERATION),
            ("c-id1", 0, {}, ErrorCode.ILLEGAL_GENERATION),
            ("c-id1", 1, {"protocol_type": "connect"}, ErrorCode.INCONSISTENT_GROUP_PROTOCOL),
            ("c-id1", 1, {"protocol_name": "sticky"}, ErrorCode.INCONSISTENT_GROUP_PROTOCOL),
            ("c-id1", 1, {"instance_id": "i"}, ErrorCode.UNKNOWN_MEMBER_ID),
            ("c-id1", 1, {"protocol_type": "consumer", "protocol_name": "range"}, ErrorCode.NONE),
        ],
    )
    def test_of_a_stable_group(
        self, member: str, generation: int, fields: dict[str, Any], code: ErrorCode
    ) -> None:
        talk = Dialogue()
        talk.stable()
        assert talk.synced(talk.sync(member, generation, **fields)).error is code

    def test_during_a_rebalance(self) -> None:
        talk = Dialogue()
        leader, follower = talk.stable({}, {})
        talk.join(leader)
        assert talk.synced(talk.sync(follower, 1)).error is ErrorCode.REBALANCE_IN_PROGRESS

    def test_of_no_group(self) -> None:
        talk = Dialogue()
        assert talk.synced(talk.sync("m", 1)).error is ErrorCode.UNKNOWN_MEMBER_ID
        assert talk.heartbeat("m", 1) is ErrorCode.UNKNOWN_MEMBER_ID
        assert talk.leave("m", "n") == [ErrorCode.UNKNOWN_MEMBER_ID] * 2


class TestSessions:
    def test_heartbeats_keep_a_member(self) -> None:
        talk = Dialogue()
        (member,) = talk.stable()
        for _ in range(5):
            talk.advance(9_999)
            assert talk.heartbeat(member, 1) is ErrorCode.NONE
        talk.advance(10_000)
        assert talk.heartbeat(member, 1) is ErrorCode.UNKNOWN_MEMBER_ID
        assert talk.state == "Empty"
        assert talk.group.generation == 2

    def test_a_commit_counts_as_a_heartbeat(self) -> None:
        talk = Dialogue()
        (member,) = talk.stable()
        talk.advance(9_999)
        talk.commit(1, 1, member)
        talk.advance(9_999)
        assert talk.state == "Stable"

    def test_the_others_rebalance_without_one_that_died(self) -> None:
        talk = Dialogue()
        leader, follower = talk.stable({}, {"session_timeout_ms": 100_000})
        talk.advance(10_000)
        assert talk.state == "PreparingRebalance"
        assert talk.heartbeat(follower, 1) is ErrorCode.REBALANCE_IN_PROGRESS
        reply = talk.joined(talk.join(follower))
        assert (reply.generation, reply.leader) == (2, follower)
        assert leader not in talk.group.members

    def test_one_that_joins_and_is_never_heard_of_again_is_out_after_its_session(self) -> None:
        talk = Dialogue()
        _, follower = joined_pair(talk)
        for _ in range(2):
            talk.advance(9_999)
            talk.heartbeat("c-id1", 1)
        assert list(talk.group.members) == ["c-id1"]
        assert follower not in talk.group.pending_syncs

    def test_who_waits_for_an_answer_need_not_send_heartbeats(self) -> None:
        talk = Dialogue()
        leader, follower = talk.stable({}, {"session_timeout_ms": 100_000})
        token = talk.join(leader)
        talk.advance(59_999)
        assert token not in talk.answers
        assert leader in talk.group.members
        talk.join(follower)
        assert talk.joined(token).error is ErrorCode.NONE


class TestLeaving:
    def test_the_last_one_leaves_an_empty_group(self) -> None:
        talk = Dialogue()
        (member,) = talk.stable()
        assert talk.leave(member) == [ErrorCode.NONE]
        assert (talk.state, talk.group.generation) == ("Empty", 2)
        assert talk.replayed().groups[GROUP].generation == 2
        assert not talk.timers

    def test_one_of_several_makes_the_others_rebalance(self) -> None:
        talk = Dialogue()
        leader, follower = talk.stable({}, {})
        assert talk.leave(leader, "ghost") == [ErrorCode.NONE, ErrorCode.UNKNOWN_MEMBER_ID]
        assert talk.state == "PreparingRebalance"
        assert talk.joined(talk.join(follower)).leader == follower

    def test_when_the_only_one_missing_leaves_the_others_need_not_wait(self) -> None:
        talk = Dialogue()
        leader, follower = talk.stable({}, {})
        token = talk.join(leader)
        assert token not in talk.answers
        talk.leave(follower)
        assert talk.joined(token).generation == 2

    def test_an_id_that_was_given_out_can_be_given_back(self) -> None:
        talk = Dialogue()
        pending = talk.joined(talk.join(needs_member_id=True)).member_id
        assert talk.leave(pending) == [ErrorCode.NONE]
        assert not talk.timers

    def test_static_members_are_removed_by_their_instance_id(self) -> None:
        talk = Dialogue()
        (member,) = talk.stable({"instance_id": "i1"})
        by_instance, unknown = LeavingMember("", "i1"), LeavingMember("", "i2")
        wrong = LeavingMember("ghost", "i1")
        assert talk.leave(wrong, unknown, LeavingMember("")) == [
            ErrorCode.FENCED_INSTANCE_ID,
            ErrorCode.UNKNOWN_MEMBER_ID,
            ErrorCode.UNKNOWN_MEMBER_ID,
        ]
        assert member in talk.group.members
        assert talk.leave(by_instance) == [ErrorCode.NONE]
        assert talk.state == "Empty"

    def test_requests_of_a_removed_member_are_answered(self) -> None:
        talk = Dialogue()
        leader, follower = talk.stable({}, {})
        join = talk.join(leader)
        talk.leave(leader)
        assert talk.joined(join).error is ErrorCode.UNKNOWN_MEMBER_ID
        tokens = [talk.join(), talk.join(follower)]
        second, _ = (talk.joined(token) for token in tokens)
        waiting = talk.sync(second.member_id, second.generation)
        talk.leave(second.member_id)
        assert talk.synced(waiting).error is ErrorCode.UNKNOWN_MEMBER_ID


def test_every_state_can_be_reached_only_as_the_table_says() -> None:
    talk = Dialogue()
    talk.stable()
    for target, allowed in PREVIOUS_STATES.items():
        for state in GroupState:
            talk.group.state = state
            if state in allowed:
                talk.group.enter(target, 0)
            else:
                with pytest.raises(AssertionError):
                    talk.group.enter(target, 0)
