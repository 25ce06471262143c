"""What a follower tells its leader again, and what not."""

from pybroker.model.errors import ErrorCode
from pybroker.model.ids import TopicPartition
from pybroker.replication.leader_session import Asked, LeaderSession

A, B = TopicPartition("a", 0), TopicPartition("b", 0)
ID, OTHER_ID = bytes(range(16)), bytes(range(1, 17))


def asked(offset: int, topic_id: bytes = ID) -> Asked:
    return Asked(topic_id, offset, 0, 1, 1)


def established() -> LeaderSession:
    session = LeaderSession()
    request = session.begin({A: asked(0), B: asked(0)}, uses_topic_ids=True)
    assert (request.session_id, request.session_epoch, set(request.asked)) == (0, 0, {A, B})
    assert session.answered(ErrorCode.NONE, 77)
    return session


def test_only_what_has_changed_is_said_again() -> None:
    session = established()
    request = session.go_on({A: asked(5), B: asked(0)}, ())
    assert (request.session_id, request.session_epoch) == (77, 1)
    assert (request.asked, request.forgotten) == ({A: asked(5)}, {})
    session.answered(ErrorCode.NONE, 77)
    request = session.go_on({}, ())
    assert (request.session_epoch, request.asked) == (2, {})


def test_partitions_come_and_go() -> None:
    session = established()
    request = session.go_on({}, (B,))
    assert (request.asked, request.forgotten) == ({}, {B: ID})
    request = session.go_on({B: asked(9)}, ())
    assert (request.asked, request.forgotten) == ({B: asked(9)}, {})


def test_a_topic_that_was_made_anew_replaces_the_old_one() -> None:
    request = established().go_on({A: asked(0, OTHER_ID)}, ())
    assert (request.asked, request.forgotten) == ({A: asked(0, OTHER_ID)}, {A: ID})


def test_a_session_that_is_lost_begins_anew() -> None:
    session = established()
    session.go_on({A: asked(5)}, ())
    assert not session.answered(ErrorCode.FETCH_SESSION_ID_NOT_FOUND, 0)
    assert session.is_new
    request = session.begin({A: asked(5), B: asked(0)}, uses_topic_ids=True)
    assert (request.session_id, request.session_epoch) == (0, 0)


def test_after_a_broken_connection_the_old_session_is_given_up() -> None:
    session = established()
    session.broke()
    assert session.is_new
    assert session.begin({A: asked(0)}, uses_topic_ids=True).session_id == 77


def test_a_leader_without_room_for_sessions_is_told_everything_each_time() -> None:
    session = LeaderSession()
    session.begin({A: asked(0)}, uses_topic_ids=True)
    assert session.answered(ErrorCode.NONE, 0)
    assert session.is_new
