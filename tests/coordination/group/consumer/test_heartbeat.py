"""What members of a consumer group are told: joining, taking steps, being fenced, leaving (KIP-848)."""

from typing import Any

import pytest
from msgspec.structs import replace

from pybroker.config.group import GroupTimeouts
from pybroker.coordination.effects import Effects
from pybroker.coordination.group.calls import CommitCall, FetchCall, MemberEpoch
from pybroker.coordination.group.consumer.calls import ConsumerHeartbeatCall
from pybroker.coordination.group.consumer.rules import ConsumerRules
from pybroker.coordination.group.offsets import CommittedOffset
from pybroker.model.errors import ApiError, ErrorCode
from pybroker.model.ids import TopicPartition
from tests.coordination.group.consumer.scene import ORDERS, REBALANCE_MS, SESSION_MS, Scene, parts
from tests.coordination.group.dialogue import GROUP


def test_the_first_member_gets_everything() -> None:
    scene = Scene()
    joined = scene.enter("a")
    assert (joined.error, joined.member_id, joined.member_epoch) == (ErrorCode.NONE, "a", 2)
    assert joined.assignment == parts("orders", 0, 1, 2, 3)
    assert joined.heartbeat_interval_ms == 5000
    assert scene.consumers.state.value == "Stable"


def test_a_heartbeat_without_news_tells_no_assignment() -> None:
    scene = Scene()
    scene.enter("a")
    records = len(scene.log)
    assert scene.beat("a", 2).assignment is None
    assert len(scene.log) == records


def test_partitions_are_given_up_before_another_member_gets_them() -> None:
    scene = Scene()
    scene.enter("a")
    joined = scene.enter("b")
    assert (joined.member_epoch, joined.assignment) == (3, frozenset())
    told = scene.beat("a", 2)
    assert told.member_epoch == 2
    assert told.assignment is not None
    assert len(told.assignment) == 2
    assert scene.consumers.state.value == "Reconciling"
    assert scene.beat("b", 3).assignment is None
    assert scene.beat("a", 2, owned=told.assignment).member_epoch == 3
    got = scene.beat("b", 3).assignment
    assert got is not None
    assert got | told.assignment == parts("orders", 0, 1, 2, 3)
    assert not got & told.assignment
    assert scene.consumers.state.value == "Stable"


def test_a_group_is_assigned_anew_not_sooner_than_its_interval_allows() -> None:
    scene = Scene(ConsumerRules(GroupTimeouts(assignment_interval_ms=1000)))
    assert scene.enter("a").member_epoch == 2, "the first assignment waits for nothing"
    joined = scene.enter("b")
    assert (joined.member_epoch, joined.assignment) == (2, frozenset())
    assert scene.consumers.state.value == "Assigning"
    scene.advance(999)
    assert scene.beat("b", 2).member_epoch == 2
    assert scene.beat("a", 2).assignment is None
    scene.advance(1)
    assert scene.beat("b", 2).member_epoch == 3
    told = scene.beat("a", 2).assignment
    assert told is not None
    assert len(told) == 2


def test_a_member_that_does_not_give_up_in_time_is_out() -> None:
    scene = Scene()
    scene.enter("a")
    scene.enter("b")
    scene.beat("a", 2)
    for _ in range(REBALANCE_MS // 5000 + 1):
        scene.advance(5000)
        scene.beat("a", 2)
        scene.beat("b", 3)
    assert list(scene.consumers.members) == ["b"]
    assert scene.beat("a", 2).error is ErrorCode.UNKNOWN_MEMBER_ID
    scene.beat("b", 3)
    assert scene.consumers.members["b"].current.assigned.keys() == parts("orders", 0, 1, 2, 3)


def test_a_member_that_is_silent_is_out() -> None:
    scene = Scene()
    scene.enter("a")
    scene.advance(SESSION_MS - 1)
    assert scene.beat("a", 2).error is ErrorCode.NONE
    scene.advance(SESSION_MS)
    assert not scene.consumers.members
    assert scene.consumers.state.value == "Empty"


@pytest.mark.parametrize(("epoch", "owned", "error"), [
    (4, None, ErrorCode.FENCED_MEMBER_EPOCH),
    (1, None, ErrorCode.FENCED_MEMBER_EPOCH),
    (0, frozenset(), ErrorCode.NONE),
    (2, parts("orders", 3), ErrorCode.FENCED_MEMBER_EPOCH),
    (2, None, ErrorCode.FENCED_MEMBER_EPOCH),
    (2, frozenset(), ErrorCode.NONE),
])  # fmt: skip
def test_which_epochs_pass(epoch: int, owned: Any, error: ErrorCode) -> None:
    """The previous one passes with nothing but what the member has: its answer may have been lost."""
    scene = Scene()
    scene.enter("a")
    scene.change_cluster(orders=2)
    scene.beat("a", 2)
    scene.beat("a", 2, owned=parts("orders", 0, 1))
    assert scene.consumers.members["a"].current.epoch == 3
    fields = {"topic_names": ORDERS, "rebalance_timeout_ms": 1000} if epoch == 0 else {}
    assert scene.beat("a", epoch, owned=owned, **fields).error is error


EITHER = "Either SubscribedTopicNames or SubscribedTopicRegex must be non-null when (re-)joining."
NO_SUCH_ASSIGNOR = "ServerAssignor best is not supported. Supported assignors: uniform, range."


@pytest.mark.parametrize(("fields", "message"), [
    ({"group_id": ""}, "GroupId can't be empty."),
    ({"member_id": ""}, "MemberId can't be empty."),
    ({"instance_id": " "}, "InstanceId can't be empty."),
    ({"rack_id": ""}, "RackId can't be empty."),
    ({"rebalance_timeout_ms": -1}, "RebalanceTimeoutMs must be provided in first request."),
    ({"owned": None}, "TopicPartitions must be empty when (re-)joining."),
    ({"owned": parts("orders", 1)}, "TopicPartitions must be empty when (re-)joining."),
    ({"topic_names": None}, EITHER),
    ({"member_epoch": -2}, "InstanceId can't be null."),
    ({"member_epoch": -3}, "MemberEpoch is invalid."),
    ({"server_assignor": "best"}, NO_SUCH_ASSIGNOR),
])  # fmt: skip
def test_requests_that_make_no_sense(fields: dict[str, Any], message: str) -> None:
    scene = Scene()
    joining = ConsumerHeartbeatCall(
        GROUP, "a", 0, rebalance_timeout_ms=1, topic_names=ORDERS, owned=frozenset()
    )
    answer = scene.answers[scene.call(replace(joining, **fields))]
    code = ErrorCode.UNSUPPORTED_ASSIGNOR if "server_assignor" in fields else ErrorCode.INVALID_REQUEST
    assert (answer.error, answer.message) == (code, message)
    assert not scene.shard.groups


def test_only_a_member_that_joins_makes_a_group() -> None:
    scene = Scene()
    assert scene.beat("a", 3).error is ErrorCode.GROUP_ID_NOT_FOUND
    assert scene.beat("a", -1).error is ErrorCode.GROUP_ID_NOT_FOUND


def test_a_full_group_takes_nobody() -> None:
    scene = Scene(ConsumerRules(max_size=1))
    scene.enter("a")
    assert scene.enter("b").error is ErrorCode.GROUP_MAX_SIZE_REACHED
    assert scene.beat("a", 2).error is ErrorCode.NONE


def test_who_leaves_frees_its_partitions() -> None:
    scene = Scene()
    scene.enter("a")
    scene.enter("b")
    left = scene.beat("a", -1)
    assert (left.error, left.member_epoch) == (ErrorCode.NONE, -1)
    assert scene.beat("b", 3).assignment == parts("orders", 0, 1, 2, 3)


def test_an_old_client_is_given_a_member_id() -> None:
    scene = Scene()
    joined = scene.enter("", makes_own_id=False)
    assert joined.member_id == "id1"


# -- static members ----------------------------------------------------------------------------------


def test_a_static_member_that_leaves_for_a_while_comes_back_to_its_partitions() -> None:
    scene = Scene()
    scene.enter("a1", instance_id="a")
    scene.enter("b")
    kept = scene.beat("a1", 2).assignment
    scene.beat("a1", 2, owned=kept)
    epoch = scene.consumers.epoch
    assert scene.beat("a1", -2, instance_id="a").member_epoch == -2
    back = scene.enter("a2", instance_id="a")
    assert (back.assignment, back.member_epoch) == (kept, 3)
    assert scene.consumers.epoch == epoch
    assert scene.beat("a1", 3, instance_id="a").error is ErrorCode.FENCED_INSTANCE_ID
    assert set(scene.consumers.members) == {"a2", "b"}


def test_a_static_members_place_is_taken_until_it_leaves() -> None:
    scene = Scene()
    scene.enter("a1", instance_id="a")
    assert scene.enter("a2", instance_id="a").error is ErrorCode.UNRELEASED_INSTANCE_ID
    assert scene.beat("x", 2, instance_id="unknown").error is ErrorCode.UNKNOWN_MEMBER_ID


def test_a_static_member_that_stays_away_is_out() -> None:
    scene = Scene()
    scene.enter("a1", instance_id="a")
    scene.beat("a1", -2, instance_id="a")
    scene.advance(SESSION_MS)
    assert not scene.consumers.members
    assert scene.enter("a2", instance_id="a").assignment == parts("orders", 0, 1, 2, 3)


# -- topics ------------------------------------------------------------------------------------------


def test_new_partitions_are_assigned() -> None:
    scene = Scene()
    scene.enter("a")
    scene.change_cluster(orders=6)
    told = scene.beat("a", 2)
    assert (told.member_epoch, told.assignment) == (3, parts("orders", 0, 1, 2, 3, 4, 5))


def test_a_deleted_topic_is_given_up() -> None:
    scene = Scene(orders=2, other=1)
    scene.enter("a", topic_names=frozenset({"orders", "other"}))
    scene.change_cluster(orders=2)
    told = scene.beat("a", 2)
    assert told.assignment == parts("orders", 0, 1)
    assert scene.beat("a", 2, owned=told.assignment).member_epoch == 3


def test_a_topic_that_appears_is_assigned() -> None:
    scene = Scene(orders=1)
    assert scene.enter("a", topic_names=frozenset({"later"})).assignment == frozenset()
    scene.change_cluster(orders=1, later=1)
    assert scene.beat("a", scene.consumers.members["a"].current.epoch).assignment == parts("later", 0)


def test_a_pattern_takes_whole_names_now_and_later() -> None:
    scene = Scene(orders=1, reorders=1, **{"orders-2": 1})
    joined = scene.enter("a", topic_names=None, topic_regex="orders.*")
    assert joined.assignment == parts("orders", 0) | parts("orders-2", 0)
    scene.change_cluster(orders=1, reorders=1, **{"orders-2": 1, "orders-3": 1})
    told = scene.beat("a", joined.member_epoch)
    assert told.assignment == parts("orders", 0) | parts("orders-2", 0) | parts("orders-3", 0)
    assert scene.consumers.regexes["orders.*"].topics == {"orders", "orders-2", "orders-3"}


def test_a_pattern_that_nobody_uses_is_forgotten() -> None:
    scene = Scene()
    scene.enter("a", topic_names=None, topic_regex="o.*")
    scene.enter("b", topic_names=None, topic_regex="o.*")
    scene.beat("a", -1)
    assert list(scene.consumers.regexes) == ["o.*"]
    epoch = scene.consumers.members["b"].current.epoch
    scene.beat("b", epoch, topic_regex="", topic_names=ORDERS, owned=frozenset())
    assert not scene.consumers.regexes


@pytest.mark.parametrize("regex", ["(", "a(?=b)", r"\1", "[z-a]", "x{5000}"])
def test_a_pattern_that_is_none_is_refused(regex: str) -> None:
    """RE2 has no look-around and no references back, and bounds what it repeats."""
    scene = Scene()
    refused = scene.enter("a", topic_names=None, topic_regex=regex)
    assert refused.error is ErrorCode.INVALID_REGULAR_EXPRESSION
    assert refused.message is not None
    assert refused.message.startswith(f"SubscribedTopicRegex `{regex}` is not a valid regular expression: ")
    assert not scene.shard.groups


def test_an_assignor_that_most_ask_for_is_used() -> None:
    scene = Scene(a=3, b=3)
    both = {"topic_names": frozenset({"a", "b"}), "server_assignor": "range"}
    scene.enter("m1", **both)
    scene.enter("m2", **both)
    scene.enter("m3", **both)
    description = scene.shard.describe_consumer_group(GROUP)
    assert description is not None
    assert description.assignor == "range"
    assert {one.member.member_id: one.target for one in description.members} == {
        f"m{at + 1}": parts("a", at) | parts("b", at) for at in range(3)
    }


# -- offsets -----------------------------------------------------------------------------------------

TP = TopicPartition("orders", 0)


def commit(scene: Scene, member_id: str, epoch: int, **fields: Any) -> ErrorCode:
    offsets = {TP: CommittedOffset(7, -1, "", scene.now_ms)}
    token = scene.request(scene.shard.commit, CommitCall(GROUP, offsets, epoch, member_id, **fields))
    code: ErrorCode = scene.answers[token][TP]
    return code


def test_members_commit_in_their_epoch() -> None:
    scene = Scene()
    scene.enter("a")
    assert commit(scene, "a", 2) is ErrorCode.NONE
    assert commit(scene, "a", 3) is ErrorCode.STALE_MEMBER_EPOCH
    assert commit(scene, "a", 1) is ErrorCode.STALE_MEMBER_EPOCH
    assert commit(scene, "x", 2) is ErrorCode.UNKNOWN_MEMBER_ID
    assert commit(scene, "", -1) is ErrorCode.UNKNOWN_MEMBER_ID
    assert commit(scene, "a", 2, knows_member_epochs=False) is ErrorCode.UNSUPPORTED_VERSION


def test_an_older_epoch_may_commit_what_was_assigned_since() -> None:
    scene = Scene()
    scene.enter("a")
    scene.change_cluster(orders=6)
    assert scene.beat("a", 2).member_epoch == 3
    assert commit(scene, "a", 2) is ErrorCode.NONE


def test_outsiders_commit_while_a_group_is_empty() -> None:
    scene = Scene()
    scene.enter("a")
    scene.beat("a", -1)
    assert commit(scene, "", -1) is ErrorCode.NONE


@pytest.mark.parametrize(("asking", "error"), [
    (MemberEpoch(), None),
    (MemberEpoch("a", 2), None),
    (MemberEpoch("a", 1), ErrorCode.STALE_MEMBER_EPOCH),
    (MemberEpoch("x", 2), ErrorCode.UNKNOWN_MEMBER_ID),
])  # fmt: skip
def test_who_may_fetch(asking: MemberEpoch, error: ErrorCode | None) -> None:
    scene = Scene()
    scene.enter("a")
    commit(scene, "a", 2)
    if error is None:
        assert scene.shard.fetch(FetchCall(GROUP, [TP], asking=asking))[TP].offset == 7
    else:
        with pytest.raises(ApiError) as refused:
            scene.shard.fetch(FetchCall(GROUP, [TP], asking=asking))
        assert refused.value.code is error


def test_offsets_of_topics_that_nobody_reads_expire_and_an_empty_group_goes() -> None:
    scene = Scene()
    scene.enter("a")
    commit(scene, "a", 2)
    scene.advance(1)
    scene.beat("a", -1)
    scene.advance(scene.rules.offsets_retention_ms)
    assert scene.expire() == 1
    assert GROUP not in scene.shard.groups
    assert GROUP not in scene.replayed().groups


def test_a_group_with_members_is_not_deleted() -> None:
    scene = Scene()
    scene.enter("a")
    commit(scene, "a", 2)
    effects = Effects(scene.now_ms)
    assert scene.shard.delete_group(GROUP, effects) is ErrorCode.NON_EMPTY_GROUP
    assert scene.shard.delete_offsets(GROUP, [TP], effects)[1] == {TP: ErrorCode.GROUP_SUBSCRIBED_TO_TOPIC}
    scene.beat("a", -1)
    assert scene.shard.delete_group(GROUP, effects) is ErrorCode.NONE
    scene.carry_out(effects)
    assert not scene.replayed().groups


# -- the log -----------------------------------------------------------------------------------------


def test_what_cannot_be_written_did_not_happen() -> None:
    scene = Scene()
    scene.enter("a")
    before = vars(scene.consumers.copy())
    scene.error = ErrorCode.NOT_ENOUGH_REPLICAS
    assert scene.enter("b").error is ErrorCode.COORDINATOR_NOT_AVAILABLE
    assert vars(scene.consumers.copy()) == before
    scene.error = ErrorCode.NONE
    assert scene.enter("b").error is ErrorCode.NONE


def test_the_log_tells_the_whole_group() -> None:
    scene = Scene()
    scene.enter("a", instance_id="i", rack_id="r")
    scene.enter("b", topic_names=None, topic_regex="o.*")
    scene.beat("a", 2)
    scene.move()
    group = scene.consumers
    assert set(group.members) == {"a", "b"}
    assert group.static_members == {"i": "a"}
    assert scene.beat("a", 2).error is ErrorCode.NONE
    scene.advance(SESSION_MS)
    assert not scene.consumers.members


def test_a_heartbeat_waits_for_what_was_written_before() -> None:
    scene = Scene()
    scene.enter("a")
    scene.holds = True
    joined = scene.ask("b", 0, topic_names=ORDERS, rebalance_timeout_ms=1000, owned=frozenset())
    assert joined not in scene.answers
    scene.release()
    assert scene.answers[joined].error is ErrorCode.NONE
