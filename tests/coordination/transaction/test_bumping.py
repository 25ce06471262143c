"""Clients whose epoch grows with every transaction, and whose partitions Produce adds (KIP-890 part 2)."""

import pytest

from pybroker.coordination.transaction.calls import TV_2, EndReply, Producer
from pybroker.model.errors import ErrorCode
from pybroker.model.ids import LAST_PRODUCER_EPOCH
from tests.coordination.transaction.dialogue import A, Dialogue, marked

FENCED, INVALID_STATE = ErrorCode.PRODUCER_FENCED, ErrorCode.INVALID_TXN_STATE


class Client:
    """A producer that speaks version 2, and follows the answers."""

    def __init__(self, talk: Dialogue) -> None:
        self.talk = talk
        self.producer = talk.started()

    def write(self) -> ErrorCode | None:
        return self.talk.add(self.producer, A, version=TV_2)

    def end(self, commit: bool = True) -> EndReply:
        reply = self.talk.end(self.producer, commit=commit, version=TV_2)
        assert reply is not None
        return reply

    def ended(self, commit: bool = True) -> Producer:
        reply = self.end(commit)
        assert reply.error is ErrorCode.NONE
        self.producer = reply.producer
        return self.producer


@pytest.fixture
def client() -> Client:
    return Client(Dialogue())


def test_every_transaction_has_an_epoch_of_its_own(client: Client) -> None:
    for epoch in range(3):
        assert client.producer == Producer(1000, epoch)
        assert client.write() is ErrorCode.NONE
        assert client.ended(commit=epoch != 1) == Producer(1000, epoch + 1)
    assert marked(client.talk) == [(A, True, 1), (A, False, 2), (A, True, 3)]


@pytest.mark.parametrize("commit", [True, False])
def test_an_answer_that_was_lost_is_given_again(client: Client, commit: bool) -> None:
    client.write()
    reply = client.end(commit)
    assert client.end(commit) == reply
    assert client.end(not commit).error is INVALID_STATE
    assert len(client.talk.markers) == 1
    client.talk.move()
    assert client.end(commit) == reply, "from the log too"


@pytest.mark.parametrize("commit", [True, False])
def test_an_answer_with_a_new_id_that_was_lost_is_given_again(client: Client, commit: bool) -> None:
    talk = client.talk
    client.producer = talk.skip_to(LAST_PRODUCER_EPOCH - 1)
    client.write()
    reply = client.end(commit)
    assert reply == EndReply(producer=Producer(1001, 0))
    assert marked(talk) == [(A, commit, LAST_PRODUCER_EPOCH)]
    assert client.end(commit) == reply
    talk.move()
    assert client.end(commit) == reply
    client.producer = reply.producer
    assert client.write() is ErrorCode.NONE


def test_a_transaction_that_never_began_is_aborted_in_a_new_epoch(client: Client) -> None:
    """Its client may have sent a batch that is still on its way."""
    assert client.end(commit=True).error is INVALID_STATE
    assert client.ended(commit=False) == Producer(1000, 1)
    assert client.ended(commit=False) == Producer(1000, 2)
    assert client.end(commit=True).error is INVALID_STATE
    client.write()
    client.ended()
    assert client.ended(commit=False) == Producer(1000, 4)
    assert marked(client.talk) == [(A, True, 3)]


def test_while_markers_are_written_only_the_same_decision_is_waited_for(client: Client) -> None:
    client.write()
    client.talk.holds_markers = True
    reply = client.end()
    assert client.end().error is ErrorCode.CONCURRENT_TRANSACTIONS
    client.producer = reply.producer
    assert client.end().error is FENCED
    assert client.write() is ErrorCode.CONCURRENT_TRANSACTIONS
    client.talk.release()
    assert client.write() is ErrorCode.NONE


def test_a_second_producer_fences_the_first(client: Client) -> None:
    client.write()
    reply = client.talk.init()
    assert reply is not None
    assert reply.error is ErrorCode.CONCURRENT_TRANSACTIONS
    second = client.talk.started()
    assert second.producer_epoch > client.talk.markers[0][1].producer_epoch > 0
    assert client.write() is FENCED
    assert client.end().error is FENCED


def test_the_client_before_and_after_a_change_of_its_version(client: Client) -> None:
    talk = client.talk
    client.write()
    client.ended()
    assert talk.add(client.producer, A) is ErrorCode.NONE
    assert talk.end(client.producer) == EndReply(producer=client.producer)
    assert client.write() is ErrorCode.NONE
    assert client.ended() == Producer(1000, 2)
