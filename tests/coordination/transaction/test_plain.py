"""Clients that keep their epoch and add their partitions themselves, as all did before KIP-890."""

import pytest

from pybroker.coordination.transaction.calls import NOBODY, ListFilter, Producer
from pybroker.model.errors import ErrorCode
from pybroker.model.ids import LAST_PRODUCER_EPOCH, TopicPartition
from tests.coordination.transaction.dialogue import TIMEOUT_MS, TXN, A, B, Dialogue, marked

FENCED, CONCURRENT = ErrorCode.PRODUCER_FENCED, ErrorCode.CONCURRENT_TRANSACTIONS
INVALID_STATE, UNKNOWN_ID = ErrorCode.INVALID_TXN_STATE, ErrorCode.INVALID_PRODUCER_ID_MAPPING


def code(reply: object) -> ErrorCode:
    error: ErrorCode = reply.error  # type: ignore[attr-defined]
    return error


@pytest.fixture
def talk() -> Dialogue:
    return Dialogue()


@pytest.mark.parametrize("commit", [True, False])
def test_a_transaction_from_beginning_to_end(talk: Dialogue, commit: bool) -> None:
    producer = talk.started()
    assert producer == Producer(1000, 0)
    assert talk.add(producer, A) is ErrorCode.NONE
    assert talk.add(producer, A, B) is ErrorCode.NONE
    assert talk.txn.describe().partitions == {A, B}
    assert code(talk.end(producer, commit=commit)) is ErrorCode.NONE
    assert marked(talk) == [(A, commit, 0), (B, commit, 0)]
    assert talk.state == ("CompleteCommit" if commit else "CompleteAbort")
    assert talk.txn.describe().partitions == frozenset()
    assert talk.add(producer, B) is ErrorCode.NONE


def test_the_answer_waits_for_the_decision_but_not_for_the_markers(talk: Dialogue) -> None:
    producer = talk.started()
    talk.add(producer, A)
    talk.holds = talk.holds_markers = True
    assert talk.end(producer) is None
    talk.holds = False
    held, talk.held = talk.held, []
    talk._append(held[0])
    assert code(next(reversed(talk.answers.values()))) is ErrorCode.NONE
    assert (talk.state, talk.markers) == ("PrepareCommit", [])
    assert talk.add(producer, B) is CONCURRENT
    assert code(talk.end(producer)) is CONCURRENT
    assert code(talk.init()) is CONCURRENT
    talk.release()
    assert talk.state == "CompleteCommit"


def test_a_second_producer_fences_the_first(talk: Dialogue) -> None:
    first = talk.started()
    second = talk.started()
    assert second == Producer(1000, 1)
    assert talk.add(first, A) is FENCED
    assert code(talk.end(first)) is FENCED
    assert talk.verify(first, A) == {A: FENCED}
    assert talk.add(second, A) is ErrorCode.NONE


def test_a_second_producer_finds_an_open_transaction(talk: Dialogue) -> None:
    """It is aborted in an epoch that nobody gets, and the producer asks again."""
    first = talk.started()
    talk.add(first, A)
    assert code(talk.init()) is CONCURRENT
    assert marked(talk) == [(A, False, 1)]
    assert talk.started() == Producer(1000, 2)
    assert code(talk.end(first)) is FENCED


def test_a_producer_goes_on_after_an_error_in_its_next_epoch(talk: Dialogue) -> None:
    first = talk.started()
    again = talk.started(expected=first)
    assert again == Producer(1000, 1)
    assert talk.started(expected=first) == again, "the answer was lost"
    assert code(talk.init(Producer(1000, 7))) is FENCED
    assert code(talk.init(Producer(7, 1))) is FENCED
    newcomer = talk.started()
    assert newcomer == Producer(1000, 2)
    assert code(talk.init(first)) is FENCED
    assert code(talk.init(again)) is FENCED


def test_used_up_epochs_bring_a_new_id(talk: Dialogue) -> None:
    talk.started()
    last = talk.skip_to(LAST_PRODUCER_EPOCH - 2)
    producer = talk.started()
    assert producer == Producer(1000, LAST_PRODUCER_EPOCH - 1)
    rotated = talk.started(expected=producer)
    assert rotated == Producer(1001, 0)
    assert talk.started(expected=producer) == Producer(1001, 0), "it may not have heard of its new id"
    assert code(talk.init(last)) is FENCED


def test_the_last_epoch_is_for_fencing(talk: Dialogue) -> None:
    talk.started()
    producer = talk.skip_to(LAST_PRODUCER_EPOCH - 1)
    talk.add(producer, A)
    assert code(talk.init()) is CONCURRENT
    assert marked(talk) == [(A, False, LAST_PRODUCER_EPOCH)]
    assert talk.started() == Producer(1001, 0)


def test_the_same_decision_again_is_agreed_to_the_other_one_refused(talk: Dialogue) -> None:
    producer = talk.started()
    assert code(talk.end(producer)) is INVALID_STATE
    assert code(talk.end(producer, commit=False)) is INVALID_STATE
    talk.add(producer, A)
    talk.end(producer)
    assert code(talk.end(producer)) is ErrorCode.NONE
    assert code(talk.end(producer, commit=False)) is INVALID_STATE
    assert len(talk.markers) == 1


def test_who_is_unknown_is_told_so(talk: Dialogue) -> None:
    assert talk.add(NOBODY, A) is UNKNOWN_ID
    assert code(talk.end(NOBODY)) is UNKNOWN_ID
    assert talk.verify(NOBODY, A) == {A: UNKNOWN_ID}
    producer = talk.started()
    assert talk.add(producer._replace(producer_id=5), A) is UNKNOWN_ID
    assert code(talk.end(producer._replace(producer_id=5))) is UNKNOWN_ID


@pytest.mark.parametrize("timeout_ms", [0, -1, 900_001])
def test_timeouts_have_bounds(talk: Dialogue, timeout_ms: int) -> None:
    assert code(talk.init(timeout_ms=timeout_ms)) is ErrorCode.INVALID_TRANSACTION_TIMEOUT
    assert not talk.shard.transactions


def test_verification_tells_which_partitions_are_part_of_the_transaction(talk: Dialogue) -> None:
    producer = talk.started()
    assert talk.verify(producer, A) == {A: ErrorCode.TRANSACTION_ABORTABLE}
    talk.add(producer, A)
    assert talk.verify(producer, A, B) == {A: ErrorCode.NONE, B: ErrorCode.TRANSACTION_ABORTABLE}
    talk.holds_markers = True
    talk.end(producer)
    assert talk.verify(producer, A) == {A: CONCURRENT}
    talk.release()
    assert talk.verify(producer, A) == {A: ErrorCode.TRANSACTION_ABORTABLE}


# -- time ------------------------------------------------------------------------------------------------


def test_a_transaction_that_takes_too_long_is_aborted_and_its_producer_fenced(talk: Dialogue) -> None:
    producer = talk.started()
    talk.add(producer, A)
    talk.advance(TIMEOUT_MS)
    assert talk.state == "Ongoing"
    talk.advance(talk.rules.abort_interval_ms)
    assert talk.state == "CompleteAbort"
    assert marked(talk) == [(A, False, 1)]
    assert code(talk.end(producer)) is FENCED
    assert talk.add(producer, A) is FENCED


def test_time_runs_from_the_first_partition_on(talk: Dialogue) -> None:
    producer = talk.started()
    talk.advance(10 * TIMEOUT_MS)
    talk.add(producer, A)
    talk.advance(TIMEOUT_MS - 1)
    talk.add(producer, B)
    assert talk.state == "Ongoing"
    talk.advance(2 * talk.rules.abort_interval_ms)
    assert talk.state == "CompleteAbort"


def test_an_id_that_nobody_uses_expires_and_an_open_transaction_does_not() -> None:
    talk = Dialogue(id_expiration_ms=7_200_000, max_timeout_ms=1 << 31)
    talk.started()
    talk.started(txn="open", timeout_ms=(1 << 31) - 1)
    talk.add(talk.shard.transactions["open"].producer, A, txn="open")
    talk.advance(7_200_000)
    assert set(talk.shard.transactions) == {"open"}
    assert talk.log[-1][1] is None
    talk.move()
    assert set(talk.shard.transactions) == {"open"}
    assert talk.started() == Producer(1002, 0)


def test_an_id_whose_tombstone_is_lost_stays() -> None:
    talk = Dialogue(id_expiration_ms=1)
    producer = talk.started()
    talk.error = ErrorCode.NOT_ENOUGH_REPLICAS
    talk.advance(talk.rules.expiry_interval_ms)
    talk.error = ErrorCode.NONE
    assert talk.add(producer, A) is ErrorCode.NONE


# -- trouble ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (ErrorCode.NOT_ENOUGH_REPLICAS, ErrorCode.COORDINATOR_NOT_AVAILABLE),
        (ErrorCode.REQUEST_TIMED_OUT, ErrorCode.COORDINATOR_NOT_AVAILABLE),
        (ErrorCode.NOT_LEADER_OR_FOLLOWER, ErrorCode.NOT_COORDINATOR),
        (ErrorCode.MESSAGE_TOO_LARGE, ErrorCode.UNKNOWN_SERVER_ERROR),
    ],
)
def test_what_cannot_be_stored_has_not_happened(talk: Dialogue, error: ErrorCode, told: ErrorCode) -> None:
    producer = talk.started()
    talk.add(producer, A)
    talk.error = error
    assert talk.add(producer, B) is told
    assert code(talk.end(producer)) is told
    assert talk.txn.describe().partitions == {A}
    talk.error = ErrorCode.NONE
    assert code(talk.end(producer)) is ErrorCode.NONE


def test_an_epoch_raised_in_vain_is_used_again(talk: Dialogue) -> None:
    producer = talk.started()
    talk.add(producer, A)
    talk.error = ErrorCode.NOT_ENOUGH_REPLICAS
    for _ in range(3):
        assert code(talk.init()) is ErrorCode.COORDINATOR_NOT_AVAILABLE
    talk.error = ErrorCode.NONE
    assert code(talk.end(producer)) is FENCED, "the producer is fenced already"
    assert code(talk.init()) is CONCURRENT
    assert marked(talk) == [(A, False, 1)]
    assert talk.started() == Producer(1000, 2)


def test_markers_are_sent_until_every_partition_has_one(talk: Dialogue) -> None:
    producer = talk.started()
    talk.add(producer, A, B)
    talk.fates = {A: [ErrorCode.NOT_LEADER_OR_FOLLOWER, ErrorCode.NETWORK_EXCEPTION]}
    assert code(talk.end(producer)) is ErrorCode.NONE
    assert marked(talk) == [(B, True, 0), (A, True, 0)]
    assert talk.state == "CompleteCommit"


def test_a_partition_with_a_newer_epoch_needs_no_marker(talk: Dialogue) -> None:
    producer = talk.started()
    talk.add(producer, A)
    talk.fates = {A: [ErrorCode.INVALID_PRODUCER_EPOCH]}
    talk.end(producer)
    assert talk.state == "CompleteCommit"


def test_a_coordinator_that_was_superseded_sends_no_more_markers(talk: Dialogue) -> None:
    producer = talk.started()
    talk.add(producer, A)
    talk.fates = {A: [ErrorCode.TRANSACTION_COORDINATOR_FENCED]}
    talk.end(producer)
    assert (talk.state, talk.markers) == ("PrepareCommit", [])


@pytest.mark.parametrize("commit", [True, False])
def test_a_new_coordinator_completes_what_was_decided(talk: Dialogue, commit: bool) -> None:
    producer = talk.started()
    talk.add(producer, A, B)
    talk.holds_markers = True
    talk.end(producer, commit=commit)
    talk.holds_markers = False
    talk.move()
    assert marked(talk) == [(A, commit, 0), (B, commit, 0)]
    assert code(talk.end(producer, commit=commit)) is ErrorCode.NONE


def test_a_decision_that_is_not_closed_yet_is_closed_later(talk: Dialogue) -> None:
    producer = talk.started()
    talk.add(producer, A)
    talk.holds_markers = True
    talk.end(producer)
    talk.holds_markers, talk.error = False, ErrorCode.NOT_ENOUGH_REPLICAS
    held, talk.held_markers = talk.held_markers, []
    talk.send(held[0])
    assert talk.state == "PrepareCommit"
    talk.error = ErrorCode.NONE
    talk.release()
    assert talk.state == "CompleteCommit"
    assert marked(talk) == [(A, True, 0)]


def test_lists_are_filtered(talk: Dialogue) -> None:
    talk.started(txn="idle")
    producer = talk.started(txn="open")
    talk.add(producer, TopicPartition("x", 0), txn="open")
    talk.advance(5)

    def ids(**fields: object) -> set[str]:
        found = talk.shard.list_transactions(ListFilter(**fields), talk.now_ms)  # type: ignore[arg-type]
        return {one.transactional_id for one in found}

    assert ids() == {"idle", "open"}
    assert ids(states=frozenset({"Ongoing", "Nonsense"})) == {"open"}
    assert ids(producer_ids=frozenset({producer.producer_id})) == {"open"}
    assert ids(longer_than_ms=4, states=frozenset({"Ongoing"})) == {"open"}
    assert ids(longer_than_ms=5, states=frozenset({"Ongoing"})) == set()
    assert talk.shard.describe(TXN) is None
