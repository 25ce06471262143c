"""Who gets into a group, under which id, and when all are told of the new generation."""

from typing import Any

import pytest

from pybroker.coordination.group.calls import JoinedMember, JoinReply
from pybroker.model.errors import ErrorCode
from tests.coordination.group.dialogue import GROUP, RANGE, Dialogue, subscription


def test_the_first_member_waits_for_the_initial_delay_and_leads() -> None:
    talk = Dialogue()
    token = talk.join()
    talk.advance(2999)
    assert token not in talk.answers
    talk.advance(1)
    assert talk.joined(token) == JoinReply(
        member_id="c-id1",
        generation=1,
        protocol_type="consumer",
        protocol_name="range",
        leader="c-id1",
        members=(JoinedMember("c-id1", None, RANGE[0][1]),),
    )
    assert talk.state == "CompletingRebalance"


def test_the_initial_delay_begins_anew_for_each_newcomer_up_to_the_rebalance_timeout() -> None:
    talk = Dialogue(initial_rebalance_delay_ms=100)
    tokens = [talk.join(rebalance_timeout_ms=250)]
    for _ in range(2):
        talk.advance(99)
        tokens.append(talk.join(rebalance_timeout_ms=250))
        talk.advance(1)
        assert tokens[0] not in talk.answers
    talk.advance(49)
    assert tokens[0] not in talk.answers
    talk.advance(1)
    assert {talk.joined(token).generation for token in tokens} == {1}


def test_only_the_leader_is_told_of_the_members() -> None:
    talk = Dialogue()
    first, second = talk.join(), talk.join()
    talk.advance(6000)
    assert [one.member_id for one in talk.joined(first).members] == ["c-id1", "c-id2"]
    assert talk.joined(second).members == ()
    assert talk.joined(second).leader == "c-id1"


def test_a_dynamic_member_is_sent_back_for_an_id_first() -> None:
    talk = Dialogue()
    refused = talk.joined(talk.join(needs_member_id=True))
    assert (refused.error, refused.member_id) == (ErrorCode.MEMBER_ID_REQUIRED, "c-id1")
    assert talk.state == "Empty"
    token = talk.join("c-id1", needs_member_id=True)
    talk.advance(3000)
    assert talk.joined(token).member_id == "c-id1"


def test_an_id_with_which_nobody_joins_is_forgotten_after_the_session_timeout() -> None:
    talk = Dialogue()
    talk.join(needs_member_id=True)
    talk.advance(10_000)
    assert talk.joined(talk.join("c-id1")).error is ErrorCode.UNKNOWN_MEMBER_ID


def test_a_rebalance_waits_for_ids_that_were_given_out() -> None:
    talk = Dialogue()
    (leader,) = talk.stable()
    talk.join(needs_member_id=True, session_timeout_ms=8000)
    rejoin = talk.join(leader)
    assert rejoin not in talk.answers
    talk.advance(8000)
    assert talk.joined(rejoin).generation == 2


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"session_timeout_ms": 5999}, ErrorCode.INVALID_SESSION_TIMEOUT),
        ({"session_timeout_ms": 1_800_001}, ErrorCode.INVALID_SESSION_TIMEOUT),
        ({"member_id": "ghost"}, ErrorCode.UNKNOWN_MEMBER_ID),
        ({"protocols": ()}, ErrorCode.INCONSISTENT_GROUP_PROTOCOL),
        ({"protocol_type": ""}, ErrorCode.INCONSISTENT_GROUP_PROTOCOL),
    ],
)
def test_refusals_of_an_empty_group(fields: dict[str, Any], code: ErrorCode) -> None:
    talk = Dialogue()
    assert talk.joined(talk.join(**fields)).error is code


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"protocol_type": "connect"}, ErrorCode.INCONSISTENT_GROUP_PROTOCOL),
        ({"protocols": (("sticky", b""),)}, ErrorCode.INCONSISTENT_GROUP_PROTOCOL),
        ({"member_id": "ghost"}, ErrorCode.UNKNOWN_MEMBER_ID),
        ({"member_id": "c-id1", "instance_id": "i"}, ErrorCode.UNKNOWN_MEMBER_ID),
    ],
)
def test_refusals_of_a_stable_group(fields: dict[str, Any], code: ErrorCode) -> None:
    talk = Dialogue()
    talk.stable()
    assert talk.joined(talk.join(**fields)).error is code
    assert talk.state == "Stable"


def test_the_protocol_is_one_that_all_support_and_most_prefer() -> None:
    talk = Dialogue()
    tokens = [
        talk.join(protocols=(("a", b""), ("b", b""), ("c", b""))),
        talk.join(protocols=(("b", b""), ("c", b""))),
        talk.join(protocols=(("c", b""), ("b", b""))),
    ]
    talk.advance(9000)
    assert {talk.joined(token).protocol_name for token in tokens} == {"b"}


def test_a_group_takes_no_more_members_than_allowed() -> None:
    talk = Dialogue(max_size=2)
    kept = talk.stable({}, {})
    refused = talk.joined(talk.join())
    assert (refused.error, refused.member_id) == (ErrorCode.GROUP_MAX_SIZE_REACHED, "")
    assert list(talk.group.members) == kept
    assert talk.joined(talk.join(kept[1])).error is ErrorCode.NONE


def test_a_follower_that_repeats_its_join_is_told_the_current_generation() -> None:
    talk = Dialogue()
    _, follower = talk.stable({}, {})
    again = talk.joined(talk.join(follower))
    assert (again.generation, again.members, again.leader) == (1, (), "c-id1")
    assert talk.state == "Stable"


def test_a_leader_that_joins_again_begins_a_rebalance() -> None:
    talk = Dialogue()
    leader, follower = talk.stable({}, {})
    token = talk.join(leader)
    assert talk.state == "PreparingRebalance"
    assert talk.heartbeat(follower, 1) is ErrorCode.REBALANCE_IN_PROGRESS
    other = talk.join(follower)
    assert talk.joined(token).generation == talk.joined(other).generation == 2


def test_changed_metadata_begins_a_rebalance() -> None:
    talk = Dialogue()
    _, follower = talk.stable({}, {})
    talk.join(follower, protocols=(("range", subscription("payments")),))
    assert talk.state == "PreparingRebalance"


def test_a_member_that_does_not_join_in_time_is_out() -> None:
    talk = Dialogue()
    leader, follower = talk.stable({"session_timeout_ms": 100_000}, {"session_timeout_ms": 100_000})
    token = talk.join(follower, protocols=(("range", b"new"),), session_timeout_ms=100_000)
    talk.advance(60_000)
    reply = talk.joined(token)
    assert (reply.generation, reply.leader) == (2, follower)
    assert leader not in talk.group.members


def test_a_new_member_whose_join_is_never_answered_is_out_after_five_minutes() -> None:
    talk = Dialogue()
    long: dict[str, Any] = {"session_timeout_ms": 1_800_000, "rebalance_timeout_ms": 1_800_000}
    talk.stable(long)
    token = talk.join(**long)
    talk.advance(5 * 60 * 1000)
    assert talk.joined(token) == JoinReply("", ErrorCode.UNKNOWN_MEMBER_ID)


def test_a_join_that_its_client_repeats_does_not_leave_the_first_request_waiting() -> None:
    talk = Dialogue()
    leader, _ = talk.stable({}, {})
    first = talk.join(leader)
    second = talk.join(leader)
    assert talk.joined(first).error is ErrorCode.REBALANCE_IN_PROGRESS
    assert second not in talk.answers
    assert talk.group.awaiting_join_count == 1


class TestStaticMembers:
    """KIP-345: members that keep their place under their instance id."""

    def test_one_that_comes_back_to_a_stable_group_takes_its_place_without_a_rebalance(self) -> None:
        talk = Dialogue()
        old, other = talk.stable({"instance_id": "i1"}, {"instance_id": "i2"})
        reply = talk.joined(talk.join(instance_id="i1"))
        assert (reply.error, reply.generation, reply.member_id) == (ErrorCode.NONE, 1, "i1-id3")
        assert reply.leader == old, "an old client must not believe that it leads"
        assert talk.state == "Stable"
        assert talk.group.leader_id == "i1-id3"
        assert set(talk.replayed().groups[GROUP].members) == {"i1-id3", other}
        assert talk.synced(talk.sync("i1-id3", 1)).assignment == b"for " + old.encode()

    def test_a_leader_that_comes_back_may_skip_the_assignment(self) -> None:
        talk = Dialogue()
        talk.stable({"instance_id": "i1"}, {"instance_id": "i2"})
        reply = talk.joined(talk.join(instance_id="i1", can_skip_assignment=True))
        assert reply.skip_assignment
        assert reply.leader == reply.member_id == "i1-id3"
        assert {one.instance_id for one in reply.members} == {"i1", "i2"}

    def test_a_follower_that_comes_back_does_not_lead(self) -> None:
        talk = Dialogue()
        leader, _ = talk.stable({"instance_id": "i1"}, {"instance_id": "i2"})
        reply = talk.joined(talk.join(instance_id="i2", can_skip_assignment=True))
        assert (reply.skip_assignment, reply.leader, reply.members) == (False, leader, ())

    def test_the_one_that_was_replaced_is_fenced(self) -> None:
        talk = Dialogue()
        (old,) = talk.stable({"instance_id": "i1"})
        talk.join(instance_id="i1")
        assert talk.heartbeat(old, 1, "i1") is ErrorCode.FENCED_INSTANCE_ID
        assert talk.heartbeat(old, 1) is ErrorCode.UNKNOWN_MEMBER_ID
        assert talk.synced(talk.sync(old, 1, instance_id="i1")).error is ErrorCode.FENCED_INSTANCE_ID
        assert talk.joined(talk.join(old, instance_id="i1")).error is ErrorCode.FENCED_INSTANCE_ID

    def test_a_waiting_join_of_the_same_instance_is_fenced(self) -> None:
        talk = Dialogue()
        first = talk.join(instance_id="i1")
        second = talk.join(instance_id="i1")
        assert talk.joined(first) == JoinReply("i1-id1", ErrorCode.FENCED_INSTANCE_ID)
        talk.advance(6000)
        assert talk.joined(second).member_id == "i1-id2"

    def test_coming_back_while_the_leader_assigns_begins_a_rebalance(self) -> None:
        talk = Dialogue()
        tokens = [talk.join(instance_id="i1"), talk.join(instance_id="i2")]
        talk.advance(6000)
        waiting = talk.sync(talk.joined(tokens[1]).member_id, 1)
        talk.join(instance_id="i1")
        assert talk.state == "PreparingRebalance"
        assert talk.synced(waiting).error is ErrorCode.REBALANCE_IN_PROGRESS

    def test_coming_back_with_another_protocol_begins_a_rebalance(self) -> None:
        talk = Dialogue()
        both = (("range", b""), ("sticky", b""))
        talk.stable({"instance_id": "i1", "protocols": both})
        talk.join(instance_id="i1", protocols=(("sticky", b""), ("range", b"")))
        assert talk.state == "CompletingRebalance"
        assert talk.group.generation == 2

    def test_without_a_log_the_old_member_keeps_its_place(self) -> None:
        talk = Dialogue()
        (old,) = talk.stable({"instance_id": "i1"})
        talk.error = ErrorCode.NOT_ENOUGH_REPLICAS
        reply = talk.joined(talk.join(instance_id="i1"))
        assert (reply.error, reply.member_id) == (ErrorCode.COORDINATOR_NOT_AVAILABLE, "")
        assert list(talk.group.members) == [old]
        assert talk.heartbeat(old, 1, "i1") is ErrorCode.NONE

    def test_a_rebalance_that_overtakes_the_log_answers_instead(self) -> None:
        talk = Dialogue()
        _, other = talk.stable({"instance_id": "i1"}, {"instance_id": "i2"})
        talk.holds = True
        token = talk.join(instance_id="i1")
        talk.join(other, instance_id="i2", protocols=(("range", b"new"),))
        assert talk.joined(token).generation == 2
        talk.error = ErrorCode.REQUEST_TIMED_OUT
        talk.release()
        assert set(talk.group.members) == {"i1-id3", other}

    def test_one_that_is_away_during_a_rebalance_stays_until_its_session_ends(self) -> None:
        talk = Dialogue()
        away, here = talk.stable(
            {"instance_id": "i1", "session_timeout_ms": 100_000},
            {"instance_id": "i2", "session_timeout_ms": 100_000},
        )
        token = talk.join(here, instance_id="i2", protocols=(("range", b"new"),), session_timeout_ms=100_000)
        talk.advance(60_000)
        assert talk.joined(token).leader == here
        assert set(talk.group.members) == {away, here}
        talk.sync(here, 2, {})
        assert talk.state == "Stable"
        talk.heartbeat(here, 2)
        talk.advance(100_000)
        assert away not in talk.group.members

    def test_ids_given_out_are_not_for_static_members(self) -> None:
        talk = Dialogue()
        pending = talk.joined(talk.join(needs_member_id=True)).member_id
        assert talk.joined(talk.join(pending, instance_id="i")).error is ErrorCode.UNKNOWN_SERVER_ERROR
