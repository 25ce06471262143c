"""Idempotence and transactions in the log. Source: KIP-98, Kafka's ``ProducerAppendInfo``."""

import pytest

from pybroker.model.ids import LAST_PRODUCER_EPOCH
from pybroker.records.policy import Origin
from pybroker.storage.errors import (
    CorruptFile,
    InvalidProducerEpoch,
    InvalidTxnState,
    OutOfOrderSequence,
    TransactionCoordinatorFenced,
)
from pybroker.storage.producer_snapshot import decode_snapshot, encode_snapshot
from pybroker.storage.transaction_index import AbortedTransaction
from tests.storage.conftest import Clock, OpenLog, batch, marker

MAX_SEQUENCE = 0x7FFFFFFF


def test_a_batch_that_continues_the_sequence_is_appended(open_at: OpenLog) -> None:
    log = open_at()
    log.append_as_leader(batch(3, producer=(1, 0, 0)), 0)
    assert log.append_as_leader(batch(2, producer=(1, 0, 3)), 0).first_offset == 3
    assert log.producers.active()[1].last_sequence == 4


def test_each_of_the_last_five_batches_is_recognised_and_answered_with_its_offsets(open_at: OpenLog) -> None:
    log = open_at()
    infos = [log.append_as_leader(batch(2, producer=(1, 0, 2 * n)), 0) for n in range(6)]
    for n in range(1, 6):
        again = log.append_as_leader(batch(2, producer=(1, 0, 2 * n)), 0)
        assert again.duplicate
        assert (again.first_offset, again.last_offset) == infos[n][:2]
    assert log.log_end_offset == 12


def test_a_batch_older_than_five_is_out_of_order(open_at: OpenLog) -> None:
    log = open_at()
    for n in range(6):
        log.append_as_leader(batch(2, producer=(1, 0, 2 * n)), 0)
    with pytest.raises(OutOfOrderSequence):
        log.append_as_leader(batch(2, producer=(1, 0, 0)), 0)


def test_same_first_sequence_with_another_length_is_no_duplicate(open_at: OpenLog) -> None:
    log = open_at()
    log.append_as_leader(batch(2, producer=(1, 0, 0)), 0)
    with pytest.raises(OutOfOrderSequence):
        log.append_as_leader(batch(3, producer=(1, 0, 0)), 0)


def test_a_gap_in_the_sequence_is_out_of_order_and_nothing_is_appended(open_at: OpenLog) -> None:
    log = open_at()
    log.append_as_leader(batch(2, producer=(1, 0, 0)), 0)
    refused = batch(1, producer=(1, 0, 3))
    before = bytes(refused.buffer)
    with pytest.raises(OutOfOrderSequence):
        log.append_as_leader(refused, 9)
    assert log.log_end_offset == 2
    assert bytes(refused.buffer) == before, "nothing is patched before every check has passed"


def test_an_unknown_producer_may_begin_anywhere(open_at: OpenLog) -> None:
    log = open_at()
    assert log.append_as_leader(batch(1, producer=(1, 0, 77)), 0).first_offset == 0


def test_a_new_epoch_begins_at_zero(open_at: OpenLog) -> None:
    log = open_at()
    log.append_as_leader(batch(2, producer=(1, 0, 0)), 0)
    with pytest.raises(OutOfOrderSequence):
        log.append_as_leader(batch(1, producer=(1, 1, 2)), 0)
    assert log.append_as_leader(batch(1, producer=(1, 1, 0)), 0).first_offset == 2


def test_an_epoch_that_cannot_be_is_fenced_also_for_a_producer_never_seen(open_at: OpenLog) -> None:
    log = open_at()
    with pytest.raises(InvalidProducerEpoch):
        log.append_as_leader(batch(1, producer=(1, -2, 0)), 0)
    assert log.log_end_offset == 0


def test_an_old_epoch_is_fenced(open_at: OpenLog) -> None:
    log = open_at()
    log.append_as_leader(batch(2, producer=(1, 3, 0)), 0)
    for origin in Origin:
        with pytest.raises(InvalidProducerEpoch):
            log.append_as_leader(batch(2, producer=(1, 2, 2)), 0, origin)


def test_sequences_wrap_after_the_largest(open_at: OpenLog) -> None:
    log = open_at()
    log.append_as_leader(batch(3, producer=(1, 0, MAX_SEQUENCE - 2)), 0)
    assert log.append_as_leader(batch(2, producer=(1, 0, 0)), 0).first_offset == 3
    log.append_as_leader(batch(4, producer=(2, 0, MAX_SEQUENCE - 1)), 0)
    assert log.append_as_leader(batch(1, producer=(2, 0, 2)), 0).first_offset == 9
    assert log.append_as_leader(batch(4, producer=(2, 0, MAX_SEQUENCE - 1)), 0).duplicate


def test_an_open_transaction_holds_the_first_unstable_offset_until_its_marker_is_replicated(
    open_at: OpenLog,
) -> None:
    log = open_at()
    log.append_as_leader(batch(1), 0)
    assert log.first_unstable_offset is None
    log.append_as_leader(batch(2, producer=(1, 0, 0), transactional=True), 0)
    log.append_as_leader(batch(2, producer=(2, 0, 0), transactional=True), 0)
    assert log.first_unstable_offset == 1
    log.append_as_leader(marker(1, 0, commit=True), 0, Origin.COORDINATOR)
    log.on_high_watermark(5)
    assert log.first_unstable_offset == 1, "the marker itself is at offset 5"
    log.on_high_watermark(6)
    assert log.first_unstable_offset == 3
    log.append_as_leader(marker(2, 0, commit=False), 0, Origin.COORDINATOR)
    log.on_high_watermark(log.log_end_offset)
    assert log.first_unstable_offset is None


def test_aborted_transactions_are_indexed_with_the_stable_offset_of_that_moment(open_at: OpenLog) -> None:
    log = open_at()
    log.append_as_leader(batch(2, producer=(1, 0, 0), transactional=True), 0)
    log.append_as_leader(batch(2, producer=(2, 0, 0), transactional=True), 0)
    log.append_as_leader(marker(1, 0, commit=False), 0, Origin.COORDINATOR)
    log.append_as_leader(marker(2, 0, commit=False), 0, Origin.COORDINATOR)
    first, second = AbortedTransaction(1, 0, 4, 2), AbortedTransaction(2, 2, 5, 6)
    assert log.aborted_transactions(0, 6) == [first, second]
    assert log.aborted_transactions(0, 2) == [first]
    assert log.aborted_transactions(5, 6) == [second]


def test_a_non_transactional_batch_inside_a_transaction_is_refused(open_at: OpenLog) -> None:
    log = open_at()
    log.append_as_leader(batch(2, producer=(1, 0, 0), transactional=True), 0)
    with pytest.raises(InvalidTxnState):
        log.append_as_leader(batch(2, producer=(1, 0, 2)), 0)


def test_a_marker_bumps_the_epoch_and_an_older_coordinator_is_fenced(open_at: OpenLog) -> None:
    log = open_at()
    log.append_as_leader(batch(2, producer=(1, 0, 0), transactional=True), 0)
    log.append_as_leader(marker(1, 1, commit=False, coordinator_epoch=5), 0, Origin.COORDINATOR)
    with pytest.raises(TransactionCoordinatorFenced):
        log.append_as_leader(marker(1, 1, commit=False, coordinator_epoch=4), 0, Origin.COORDINATOR)
    with pytest.raises(InvalidProducerEpoch):
        log.append_as_leader(batch(1, producer=(1, 0, 2), transactional=True), 0)
    assert log.append_as_leader(batch(1, producer=(1, 1, 0), transactional=True), 0).first_offset == 3


def test_where_transactions_raise_the_epoch_a_marker_in_that_of_the_records_is_late(open_at: OpenLog) -> None:
    log = open_at()
    log.check_bumped_marker(1, 3)
    log.append_as_leader(batch(2, producer=(1, 3, 0), transactional=True), 0)
    for late in (2, 3):
        with pytest.raises(InvalidProducerEpoch):
            log.check_bumped_marker(1, late)
    log.check_bumped_marker(1, 4)
    log.append_as_leader(marker(1, 4, commit=True), 0, Origin.COORDINATOR)
    log.check_bumped_marker(1, 4)
    with pytest.raises(InvalidProducerEpoch):
        log.check_bumped_marker(1, 3)


def test_the_last_epoch_cannot_be_raised_and_its_marker_is_taken(open_at: OpenLog) -> None:
    log = open_at()
    log.append_as_leader(batch(1, producer=(1, LAST_PRODUCER_EPOCH, 0), transactional=True), 0)
    log.check_bumped_marker(1, LAST_PRODUCER_EPOCH)


def test_a_marker_without_a_transaction_completes_nothing(open_at: OpenLog) -> None:
    log = open_at()
    log.append_as_leader(marker(1, 0, commit=False), 0, Origin.COORDINATOR)
    assert log.aborted_transactions(0, 1) == []
    assert log.first_unstable_offset is None


def test_the_last_batch_of_each_producer_survives_a_restart(open_at: OpenLog) -> None:
    log = open_at()
    log.append_as_leader(batch(2, producer=(1, 0, 0)), 0)
    log.append_as_leader(batch(2, producer=(2, 4, 0), transactional=True), 0)
    log.close()
    again = open_at()
    assert again.append_as_leader(batch(2, producer=(1, 0, 0)), 0).duplicate
    assert again.first_unstable_offset == 2
    assert again.producers.active()[2].producer_epoch == 4


def test_producers_expire_unless_a_transaction_is_open(open_at: OpenLog, clock: Clock) -> None:
    log = open_at()
    log.append_as_leader(batch(1, producer=(1, 0, 0), timestamp=clock.now), 0)
    log.append_as_leader(batch(1, producer=(2, 0, 0), transactional=True, timestamp=clock.now), 0)
    clock.now += 86_400_000 - 1
    log.remove_expired_producers()
    assert set(log.producers.active()) == {1, 2}
    clock.now += 1
    log.remove_expired_producers()
    assert set(log.producers.active()) == {2}


def test_a_snapshot_reads_back_and_damage_is_noticed(open_at: OpenLog) -> None:
    log = open_at()
    log.append_as_leader(batch(5, producer=(1, 3, 9)), 0)
    data = encode_snapshot(log.producers.active().values())
    (entry,) = decode_snapshot(data)
    assert (entry.producer_id, entry.producer_epoch, entry.last_sequence, entry.last_offset) == (1, 3, 13, 4)
    assert entry.batches[0].first_sequence == 9
    for position in range(len(data)):
        broken = bytearray(data)
        broken[position] ^= 1
        with pytest.raises(CorruptFile):
            decode_snapshot(bytes(broken))
        with pytest.raises(CorruptFile):
            decode_snapshot(data[:position])
