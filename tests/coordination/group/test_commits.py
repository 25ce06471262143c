"""Who may commit when, what is fetched, and how long offsets are kept."""

import gc

import pytest

from pybroker.coordination.effects import Effects, Writer
from pybroker.coordination.group.calls import FetchCall, FetchedOffset
from pybroker.coordination.group.offsets import CommittedOffset, GroupOffsets, commit_of, stored_offset
from pybroker.model.errors import ErrorCode
from pybroker.model.ids import TopicPartition
from tests.coordination.dialogue import START_MS
from tests.coordination.group.dialogue import GROUP, ORDERS, Dialogue

DAY_MS = 24 * 3600 * 1000
PAYMENTS = TopicPartition("payments", 0)


def offset(number: int, metadata: str = "", **fields: int) -> CommittedOffset:
    return CommittedOffset(number, -1, metadata, START_MS, **fields)


def code(talk: Dialogue, token: int, tp: TopicPartition = ORDERS) -> ErrorCode:
    answer: ErrorCode = talk.answers[token][tp]
    return answer


def fetched(talk: Dialogue, *partitions: TopicPartition, stable: bool = False) -> dict[str, FetchedOffset]:
    found = talk.shard.fetch(FetchCall(GROUP, partitions or None, stable))
    return {tp.topic: one for tp, one in found.items()}


class TestWhoMayCommit:
    def test_anybody_to_a_group_without_members(self) -> None:
        talk = Dialogue()
        assert code(talk, talk.commit(7)) is ErrorCode.NONE
        assert code(talk, talk.commit(8, member_id="whoever")) is ErrorCode.NONE
        assert fetched(talk) == {"orders": FetchedOffset(8)}

    @pytest.mark.parametrize(
        ("generation", "member", "instance", "expected"),
        [
            (1, "c-id1", None, ErrorCode.NONE),
            (0, "c-id1", None, ErrorCode.ILLEGAL_GENERATION),
            (2, "c-id1", None, ErrorCode.ILLEGAL_GENERATION),
            (-1, "c-id1", None, ErrorCode.ILLEGAL_GENERATION),
            (1, "ghost", None, ErrorCode.UNKNOWN_MEMBER_ID),
            (1, "", None, ErrorCode.UNKNOWN_MEMBER_ID),
            (-1, "", None, ErrorCode.UNKNOWN_MEMBER_ID),
            (1, "c-id1", "i", ErrorCode.UNKNOWN_MEMBER_ID),
        ],
    )
    def test_members_of_the_generation_to_a_stable_group(
        self, generation: int, member: str, instance: str | None, expected: ErrorCode
    ) -> None:
        talk = Dialogue()
        talk.stable()
        assert code(talk, talk.commit(7, generation, member, instance_id=instance)) is expected

    def test_a_fenced_instance_may_not(self) -> None:
        talk = Dialogue()
        (old,) = talk.stable({"instance_id": "i1"})
        talk.join(instance_id="i1")
        assert code(talk, talk.commit(7, 1, old, instance_id="i1")) is ErrorCode.FENCED_INSTANCE_ID

    def test_during_a_rebalance_until_the_new_generation_begins(self) -> None:
        talk = Dialogue()
        leader, follower = talk.stable({}, {})
        talk.join(leader)
        assert code(talk, talk.commit(7, 1, follower)) is ErrorCode.NONE
        talk.join(follower)
        assert talk.state == "CompletingRebalance"
        assert code(talk, talk.commit(7, 2, follower)) is ErrorCode.REBALANCE_IN_PROGRESS

    def test_not_to_a_group_that_does_not_exist_with_a_generation(self) -> None:
        talk = Dialogue()
        assert code(talk, talk.commit(7, 1, "m")) is ErrorCode.ILLEGAL_GENERATION
        assert GROUP not in talk.shard.groups


def test_long_texts_are_refused_one_by_one() -> None:
    talk = Dialogue(max_metadata_length=4)
    token = talk.commit(offsets={ORDERS: offset(1, "long!"), PAYMENTS: offset(2, "😀😀")})
    assert talk.answers[token] == {ORDERS: ErrorCode.OFFSET_METADATA_TOO_LARGE, PAYMENTS: ErrorCode.NONE}
    token = talk.commit(offsets={ORDERS: offset(1, "😀😀x")})
    assert talk.answers[token] == {ORDERS: ErrorCode.OFFSET_METADATA_TOO_LARGE}
    assert len(talk.log) == 1


@pytest.mark.parametrize(
    ("failure", "expected"),
    [
        (ErrorCode.NOT_ENOUGH_REPLICAS, ErrorCode.COORDINATOR_NOT_AVAILABLE),
        (ErrorCode.NOT_LEADER_OR_FOLLOWER, ErrorCode.NOT_COORDINATOR),
        (ErrorCode.RECORD_LIST_TOO_LARGE, ErrorCode.INVALID_COMMIT_OFFSET_SIZE),
        (ErrorCode.REQUEST_TIMED_OUT, ErrorCode.REQUEST_TIMED_OUT),
        (ErrorCode.NETWORK_EXCEPTION, ErrorCode.COORDINATOR_LOAD_IN_PROGRESS),
    ],
)
def test_a_commit_that_cannot_be_stored(failure: ErrorCode, expected: ErrorCode) -> None:
    talk = Dialogue()
    talk.error = failure
    assert code(talk, talk.commit(7)) is expected
    assert fetched(talk, ORDERS, stable=True) == {"orders": FetchedOffset()}


def test_a_commit_under_way_is_unstable_and_not_yet_seen() -> None:
    talk = Dialogue()
    talk.commit(7)
    talk.holds = True
    talk.commit(8)
    assert fetched(talk) == {"orders": FetchedOffset(7)}
    assert fetched(talk, ORDERS, PAYMENTS, stable=True) == {
        "orders": FetchedOffset(error=ErrorCode.UNSTABLE_OFFSET_COMMIT),
        "payments": FetchedOffset(),
    }
    talk.release()
    assert fetched(talk, ORDERS, stable=True) == {"orders": FetchedOffset(8)}


def test_commits_that_complete_out_of_order_end_with_the_later_one() -> None:
    talk = Dialogue()
    talk.commit(0)
    stored = talk.group.offsets
    first, second = {ORDERS: offset(1)}, {ORDERS: offset(2)}
    stored.prepare(first)
    stored.prepare(second)
    stored.apply(second, 11)
    assert stored.is_unstable(ORDERS)
    stored.apply(first, 10)
    assert not stored.pending
    assert commit_of(stored.stored[ORDERS]) == offset(2)


def test_what_is_stored_of_a_commit_is_nothing_to_the_garbage_collector() -> None:
    """100,000 offsets are otherwise a walk of 150 ms, over and over while they are committed anew."""
    talk = Dialogue()
    talk.commit(7)
    assert not gc.is_tracked(talk.group.offsets.stored[ORDERS])


@pytest.mark.parametrize("expire_ms", [None, 0, 2**62])
@pytest.mark.parametrize("metadata", ["", "seen by ö€𝄞", "\0" * 4096])
def test_what_is_stored_of_a_commit_is_all_of_it(metadata: str, expire_ms: int | None) -> None:
    commit = CommittedOffset(2**63 - 1, -1, metadata, 2**62, expire_ms)
    assert commit_of(stored_offset(commit, 5)) == commit


def test_a_partition_removed_while_its_commit_is_under_way_stays_removed() -> None:
    talk = Dialogue()
    talk.commit(7)
    talk.holds = True
    talk.commit(8)
    talk.shard.forget_partitions(GROUP, [ORDERS], Effects(talk.now_ms))
    talk.release()
    assert fetched(talk, ORDERS) == {"orders": FetchedOffset()}


def test_a_commit_that_fails_takes_nothing_from_its_transaction() -> None:
    talk = Dialogue()
    writer = Writer(producer_id=9, producer_epoch=0)
    assert code(talk, talk.commit(5, writer=writer)) is ErrorCode.NONE
    talk.error = ErrorCode.NOT_ENOUGH_REPLICAS
    assert code(talk, talk.commit(6, writer=writer)) is ErrorCode.COORDINATOR_NOT_AVAILABLE
    assert fetched(talk, ORDERS, stable=True)["orders"].error is ErrorCode.UNSTABLE_OFFSET_COMMIT
    talk.shard.complete_transaction(9, is_commit=True)
    assert fetched(talk, ORDERS, stable=True) == {"orders": FetchedOffset(5)}


def test_a_commit_that_fails_takes_nothing_from_one_of_its_transaction_that_is_under_way() -> None:
    stored = GroupOffsets()
    first, second = {ORDERS: offset(1)}, {ORDERS: offset(2)}
    stored.prepare_transactional(9, first)
    stored.prepare_transactional(9, second)
    stored.fail_transactional(9, second)
    stored.stage_transactional(9, first, 10)
    stored.complete_transaction(9, commit=True)
    assert stored.stored == {ORDERS: stored_offset(offset(1), 10)}
    assert not stored.is_unstable(ORDERS)


def test_a_commit_under_way_does_not_count_when_its_transaction_is_over() -> None:
    talk = Dialogue()
    talk.commit(5, writer=Writer(9, 0))
    talk.holds = True
    token = talk.commit(6, writer=Writer(9, 0))
    talk.shard.complete_transaction(9, is_commit=True)
    talk.release()
    assert code(talk, token) is ErrorCode.NONE
    assert fetched(talk, ORDERS, stable=True) == {"orders": FetchedOffset(5)}


def test_offsets_of_an_open_transaction_count_when_it_commits() -> None:
    talk = Dialogue()
    talk.commit(1)
    offsets = talk.group.offsets
    offsets.transactional[9] = {ORDERS: stored_offset(offset(5), 100)}
    offsets.transactional[8] = {ORDERS: stored_offset(offset(6), 101)}
    assert fetched(talk, ORDERS, stable=True)["orders"].error is ErrorCode.UNSTABLE_OFFSET_COMMIT
    offsets.complete_transaction(8, commit=False)
    offsets.complete_transaction(9, commit=True)
    assert fetched(talk, ORDERS, stable=True) == {"orders": FetchedOffset(5)}


class TestExpiry:
    def test_of_a_simple_consumer_counts_from_each_commit(self) -> None:
        talk = Dialogue()
        talk.commit(1)
        talk.advance(DAY_MS)
        talk.commit(2, offsets={PAYMENTS: CommittedOffset(2, -1, "", talk.now_ms)})
        talk.advance(6 * DAY_MS - 1)
        assert talk.expire() == 0
        talk.advance(1)
        assert talk.expire() == 1
        assert set(fetched(talk)) == {"payments"}

    def test_of_an_empty_group_counts_from_when_it_became_empty(self) -> None:
        talk = Dialogue()
        (member,) = talk.stable()
        talk.commit(1, 1, member)
        talk.advance(9000)
        talk.leave(member)
        talk.advance(7 * DAY_MS - 1)
        assert talk.expire() == 0
        talk.advance(1)
        assert talk.expire() == 1
        assert GROUP not in talk.shard.groups
        assert talk.replayed().groups == {}

    def test_of_a_stable_group_spares_what_it_reads(self) -> None:
        talk = Dialogue()
        forever = {"session_timeout_ms": 1_800_000}
        (member,) = talk.stable(forever)
        talk.commit(1, 1, member, offsets={ORDERS: offset(1), PAYMENTS: offset(2)})
        for _ in range(7 * 24 * 4):
            talk.advance(DAY_MS // 96)
            talk.heartbeat(member, 1)
        assert talk.expire() == 1
        assert set(fetched(talk)) == {"orders"}
        assert talk.state == "Stable"

    def test_a_retention_time_of_the_client_s_own_counts_whatever_the_group_does(self) -> None:
        talk = Dialogue()
        (member,) = talk.stable()
        talk.commit(1, 1, member, offsets={PAYMENTS: offset(1, expire_timestamp_ms=START_MS + 5000)})
        talk.advance(1999)
        assert talk.expire() == 0
        talk.advance(1)
        assert talk.expire() == 1

    def test_what_is_under_way_does_not_expire(self) -> None:
        talk = Dialogue()
        talk.commit(1)
        talk.advance(7 * DAY_MS)
        talk.holds = True
        talk.commit(2)
        assert talk.expire() == 0

    def test_an_empty_group_without_offsets_goes_without_a_trace_if_it_left_none(self) -> None:
        talk = Dialogue()
        talk.join(needs_member_id=True)
        assert talk.expire() == 0
        assert GROUP not in talk.shard.groups
        assert talk.log == []


class TestDeleting:
    def test_a_group_with_members_stays(self) -> None:
        talk = Dialogue()
        talk.stable()
        assert talk.shard.delete_group(GROUP, Effects(talk.now_ms)) is ErrorCode.NON_EMPTY_GROUP

    def test_an_empty_group_goes_with_its_offsets(self) -> None:
        talk = Dialogue()
        (member,) = talk.stable()
        talk.commit(1, 1, member)
        talk.leave(member)
        effects = Effects(talk.now_ms)
        assert talk.shard.delete_group(GROUP, effects) is ErrorCode.NONE
        talk.carry_out(effects)
        assert talk.shard.groups == talk.replayed().groups == {}
        assert talk.shard.delete_group(GROUP, effects) is ErrorCode.GROUP_ID_NOT_FOUND

    def test_offsets_of_topics_in_use_stay(self) -> None:
        talk = Dialogue()
        (member,) = talk.stable()
        talk.commit(1, 1, member, offsets={ORDERS: offset(1), PAYMENTS: offset(2)})
        effects = Effects(talk.now_ms)
        outcome = talk.shard.delete_offsets(GROUP, [ORDERS, PAYMENTS], effects)
        assert outcome == (
            ErrorCode.NONE,
            {ORDERS: ErrorCode.GROUP_SUBSCRIBED_TO_TOPIC, PAYMENTS: ErrorCode.NONE},
        )
        assert set(fetched(talk)) == {"orders"}

    @pytest.mark.parametrize(("protocol_type", "metadata"), [("connect", b""), ("consumer", b"\0")])
    def test_when_it_is_not_known_what_a_group_reads(self, protocol_type: str, metadata: bytes) -> None:
        talk = Dialogue()
        talk.stable({"protocol_type": protocol_type, "protocols": (("p", metadata),)})
        error, codes = talk.shard.delete_offsets(GROUP, [ORDERS], Effects(talk.now_ms))
        if protocol_type == "connect":
            assert error is ErrorCode.NON_EMPTY_GROUP
        else:
            assert codes == {ORDERS: ErrorCode.GROUP_SUBSCRIBED_TO_TOPIC}
