"""Partitions that a transaction writes to: added before it does, and asked about by their leaders."""

from pybroker.coordination.effects import Effects, Token
from pybroker.coordination.transaction.calls import PartitionsCall
from pybroker.coordination.transaction.rules import TransactionRules
from pybroker.coordination.transaction.states import ADD_ANSWERS, ONGOING
from pybroker.coordination.transaction.storing import store
from pybroker.coordination.transaction.transaction import Transaction
from pybroker.model.errors import ErrorCode
from pybroker.model.ids import TopicPartition
from pybroker.model.values import Value


def refusal(txn: Transaction, call: PartitionsCall) -> ErrorCode:
    """Why somebody is not the producer of this transaction. NONE lets it pass."""
    if txn.producer.producer_id != call.producer.producer_id:
        return ErrorCode.INVALID_PRODUCER_ID_MAPPING
    if txn.producer.producer_epoch != call.producer.producer_epoch:
        return ErrorCode.PRODUCER_FENCED
    return ErrorCode.NONE


def add(
    txn: Transaction, call: PartitionsCall, token: Token, rules: TransactionRules, effects: Effects
) -> None:
    """Answers with a code, when the partitions are stored. The first ones begin the transaction."""
    error = refusal(txn, call)
    if error is ErrorCode.NONE and txn.pending is not None:
        error = ErrorCode.CONCURRENT_TRANSACTIONS
    if error is ErrorCode.NONE:
        error = ADD_ANSWERS[txn.state]
    known = txn.metadata
    has_all = txn.state is ONGOING and call.partitions <= known.partitions
    if error is not ErrorCode.NONE or has_all:
        effects.reply(token, error)
        return
    metadata = known.after(
        ONGOING,
        effects.now_ms,
        partitions=known.partitions | call.partitions,
        start_ms=known.start_ms if txn.state is ONGOING else effects.now_ms,
        client_version=call.client_version,
    )
    store(txn, metadata, rules, effects, _Answer(token))


class _Answer(Value):
    token: Token

    def __call__(self, error: ErrorCode, effects: Effects) -> None:
        effects.reply(self.token, error)


def verify(txn: Transaction, call: PartitionsCall) -> dict[TopicPartition, ErrorCode]:
    """One code for each partition: whether it is part of the transaction (KIP-890). What is being written
    does not matter: the partition's leader makes sure once more when it appends."""
    error = refusal(txn, call)
    if error is ErrorCode.NONE:
        error = ADD_ANSWERS[txn.state]
    if error is not ErrorCode.NONE:
        return dict.fromkeys(call.partitions, error)
    return {
        tp: ErrorCode.NONE if tp in txn.metadata.partitions else ErrorCode.TRANSACTION_ABORTABLE
        for tp in call.partitions
    }
