"""How a decision becomes a record, and the record the state."""

from collections.abc import Callable, Mapping
from typing import TypeAlias

from pybroker.coordination.effects import Effects, Outcome
from pybroker.coordination.transaction.records import transaction_key, transaction_value
from pybroker.coordination.transaction.rules import TransactionRules
from pybroker.coordination.transaction.transaction import Transaction, TransactionMetadata
from pybroker.model.errors import ErrorCode
from pybroker.model.values import Value

Then: TypeAlias = Callable[[ErrorCode, Effects], None]
"""What follows when the record is in the log (NONE), or why it will never be."""

_LOG_ERRORS: Mapping[ErrorCode, ErrorCode] = {
    ErrorCode.UNKNOWN_TOPIC_OR_PARTITION: ErrorCode.COORDINATOR_NOT_AVAILABLE,
    ErrorCode.NOT_ENOUGH_REPLICAS: ErrorCode.COORDINATOR_NOT_AVAILABLE,
    ErrorCode.NOT_ENOUGH_REPLICAS_AFTER_APPEND: ErrorCode.COORDINATOR_NOT_AVAILABLE,
    ErrorCode.REQUEST_TIMED_OUT: ErrorCode.COORDINATOR_NOT_AVAILABLE,
    ErrorCode.NOT_LEADER_OR_FOLLOWER: ErrorCode.NOT_COORDINATOR,
    ErrorCode.KAFKA_STORAGE_ERROR: ErrorCode.NOT_COORDINATOR,
    ErrorCode.MESSAGE_TOO_LARGE: ErrorCode.UNKNOWN_SERVER_ERROR,
    ErrorCode.RECORD_LIST_TOO_LARGE: ErrorCode.UNKNOWN_SERVER_ERROR,
}
"""What an append that failed means to a producer; what is not listed stays as it is."""


def coordinator_error(error: ErrorCode) -> ErrorCode:
    return _LOG_ERRORS.get(error, error)


def store(
    txn: Transaction, metadata: TransactionMetadata, rules: TransactionRules, effects: Effects, then: Then
) -> None:
    """Begin to write ``metadata``; it counts, and ``then`` is told, when it is committed."""
    txn.begin(metadata)
    write(txn, metadata, rules, effects, Stored(txn, metadata, then))


def write(
    txn: Transaction,
    metadata: TransactionMetadata,
    rules: TransactionRules,
    effects: Effects,
    then: "Stored | StoredAtLast",
) -> None:
    """Write what has begun already."""
    record = (transaction_key(txn.transactional_id), transaction_value(metadata, rules.record_version()))
    effects.append([record], then)


class Stored(Value):
    """The record is in the log, or will never be."""

    txn: Transaction
    metadata: TransactionMetadata
    then: Then

    def settle(self, outcome: Outcome, effects: Effects) -> None:
        error = coordinator_error(outcome.error)
        if error is ErrorCode.NONE:
            self.txn.apply(self.metadata)
        else:
            self.txn.pending = None
        self.then(error, effects)


class StoredAtLast(Value):
    """As :class:`Stored`, for what must be stored and is tried again: it stays pending until it is."""

    txn: Transaction
    metadata: TransactionMetadata
    then: Then

    def settle(self, outcome: Outcome, effects: Effects) -> None:
        error = coordinator_error(outcome.error)
        if error is ErrorCode.NONE:
            self.txn.apply(self.metadata)
        self.then(error, effects)
