"""After the decision: a marker for every partition of the transaction, then the record that closes it.

This begins when the decision is stored, and again wherever a coordinator finds it in the log. It ends only
with success, or when somebody else coordinates.
"""

import logging
from collections.abc import Collection, Mapping

from pybroker.coordination.effects import Effects, TransactionMarker
from pybroker.coordination.transaction.calls import Producer
from pybroker.coordination.transaction.rules import TransactionRules
from pybroker.coordination.transaction.states import COMPLETED, MARKER_STEPS, PREPARE_COMMIT, MarkerStep
from pybroker.coordination.transaction.storing import StoredAtLast, write
from pybroker.coordination.transaction.transaction import Transaction
from pybroker.model.errors import ErrorCode
from pybroker.model.ids import NO_PRODUCER_ID, TopicPartition
from pybroker.model.values import Value

logger = logging.getLogger(__name__)


def complete(txn: Transaction, rules: TransactionRules, effects: Effects) -> None:
    """Write the markers of a transaction whose decision is in the log."""
    decided = txn.metadata
    goes_on = decided.producer
    if decided.bumps_epochs and decided.next_id != NO_PRODUCER_ID:
        goes_on = Producer(decided.next_id, 0)
    txn.has_failed_fence = False
    txn.begin(
        decided.after(
            COMPLETED[decided.state],
            effects.now_ms,
            producer=goes_on,
            next_id=NO_PRODUCER_ID,
            partitions=frozenset(),
        )
    )
    txn.unmarked = set(decided.partitions)
    if txn.unmarked:
        _send(txn, decided.partitions, rules, effects, is_retry=False)
    else:
        _close(txn, rules, effects)


def _send(
    txn: Transaction,
    partitions: Collection[TopicPartition],
    rules: TransactionRules,
    effects: Effects,
    *,
    is_retry: bool,
) -> None:
    decided = txn.metadata
    marker = TransactionMarker(
        producer_id=decided.producer.producer_id,
        producer_epoch=decided.producer.producer_epoch,
        is_commit=decided.state is PREPARE_COMMIT,
        transaction_version=decided.client_version,
    )
    effects.send_markers(marker, sorted(partitions), _Marked(txn, rules), is_retry=is_retry)


class _Marked(Value):
    """Each partition has its marker, or it is known why not."""

    txn: Transaction
    rules: TransactionRules

    def settle(self, codes: Mapping[TopicPartition, ErrorCode], effects: Effects) -> None:
        txn = self.txn
        again = []
        for tp, code in codes.items():
            match MARKER_STEPS.get(code, MarkerStep.RETRY):
                case MarkerStep.DONE:
                    txn.unmarked.discard(tp)
                case MarkerStep.RETRY:
                    again.append(tp)
                case MarkerStep.GIVE_UP:
                    logger.info("%s: no more markers, as %s says %s", txn.transactional_id, tp, code.name)
                    return
        if again:
            logger.debug("%s: markers for %s are sent again", txn.transactional_id, again)
            _send(txn, again, self.rules, effects, is_retry=True)
        else:
            _close(txn, self.rules, effects)


def _close(txn: Transaction, rules: TransactionRules, effects: Effects) -> None:
    closed = txn.pending
    assert closed is not None, f"{txn.transactional_id} was completed by somebody else"
    write(txn, closed, rules, effects, StoredAtLast(txn, closed, _Closed(txn, rules)))


class _Closed(Value):
    txn: Transaction
    rules: TransactionRules

    def __call__(self, error: ErrorCode, effects: Effects) -> None:
        if error is ErrorCode.NONE:
            return
        if error is ErrorCode.NOT_COORDINATOR:
            logger.info("%s: another coordinator completes it", self.txn.transactional_id)
            return
        logger.warning("%s cannot be completed yet: %s", self.txn.transactional_id, error.name)
        # No marker is left to be sent; this only comes back a moment later.
        _send(self.txn, (), self.rules, effects, is_retry=True)
