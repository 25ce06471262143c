"""The first batch of a transaction needs its coordinator's word (KIP-890); no marker may come in between."""

import pytest

from pybroker.records.policy import Origin
from pybroker.storage.context import StorageContext
from pybroker.storage.errors import InvalidTxnState, OutOfOrderSequence
from pybroker.storage.log import Log
from tests.storage.conftest import OpenLog, batch, marker

PRODUCER = 7


@pytest.fixture
def log(open_at: OpenLog, context: StorageContext) -> Log:
    context.transaction_verification = True
    return open_at()


def write(log: Log, sequence: int, guard: object | None = None, epoch: int = 0) -> None:
    log.append_as_leader(batch(1, producer=(PRODUCER, epoch, sequence), transactional=True), 0, guard=guard)


def end(log: Log, epoch: int = 0) -> None:
    log.append_as_leader(marker(PRODUCER, epoch, commit=False), 0, Origin.COORDINATOR)


def test_only_a_verified_batch_opens_a_transaction(log: Log) -> None:
    with pytest.raises(InvalidTxnState):
        write(log, 0)
    guard = log.start_verification(PRODUCER, 0, 0)
    assert guard is not None
    with pytest.raises(InvalidTxnState):
        write(log, 0, object())
    write(log, 0, guard)
    assert log.start_verification(PRODUCER, 0, 1) is None, "it is open"
    write(log, 1)


def test_a_marker_takes_the_guard_away(log: Log) -> None:
    guard = log.start_verification(PRODUCER, 0, 0)
    end(log)
    with pytest.raises(InvalidTxnState):
        write(log, 0, guard)
    newer = log.start_verification(PRODUCER, 0, 0)
    assert newer is not guard
    with pytest.raises(InvalidTxnState):
        write(log, 0, guard)
    write(log, 0, newer)


def test_a_later_batch_does_not_overtake_one_that_has_to_be_sent_again(log: Log) -> None:
    log.start_verification(PRODUCER, 0, 0)
    guard = log.start_verification(PRODUCER, 0, 5)
    with pytest.raises(OutOfOrderSequence):
        write(log, 5, guard)
    write(log, 0, guard)


def test_a_new_epoch_counts_its_sequence_anew(log: Log) -> None:
    log.start_verification(PRODUCER, 0, 0)
    guard = log.start_verification(PRODUCER, 1, 3)
    write(log, 3, guard, epoch=1)


def test_a_transaction_does_not_begin_amid_one_of_an_older_epoch(log: Log) -> None:
    write(log, 0, log.start_verification(PRODUCER, 0, 0))
    early = log.start_verification(PRODUCER, 1, 0)
    assert early is not None
    with pytest.raises(InvalidTxnState):
        write(log, 0, epoch=1)
    end(log, epoch=1)
    with pytest.raises(InvalidTxnState):
        write(log, 0, early, epoch=1)
    write(log, 0, log.start_verification(PRODUCER, 1, 0), epoch=1)


def test_a_guard_that_nobody_used_is_forgotten(log: Log) -> None:
    guard = log.start_verification(PRODUCER, 0, 0)
    log.producers.remove_expired(1 << 62)
    with pytest.raises(InvalidTxnState):
        write(log, 0, guard)


def test_without_verification_everything_is_taken(log: Log, context: StorageContext) -> None:
    context.transaction_verification = False
    write(log, 0)
    assert log.first_unstable_offset == 0
