"""The decision to commit or abort: from the moment it is in the log there is no way back."""

from msgspec.structs import replace

from pybroker.coordination.effects import Effects, Token
from pybroker.coordination.transaction.calls import TV_2, EndCall, EndReply, Producer
from pybroker.coordination.transaction.completing import complete
from pybroker.coordination.transaction.rules import TransactionRules
from pybroker.coordination.transaction.states import (
    BUMPING_END_STEPS,
    COMPLETE_ABORT,
    COMPLETE_COMMIT,
    END_STEPS,
    ONGOING,
    PREPARE_ABORT,
    PREPARE_COMMIT,
    EndStep,
)
from pybroker.coordination.transaction.storing import Then, store
from pybroker.coordination.transaction.transaction import Transaction
from pybroker.model.errors import ErrorCode
from pybroker.model.ids import LAST_PRODUCER_EPOCH, NO_PRODUCER_EPOCH, NO_PRODUCER_ID, ProducerId
from pybroker.model.values import Value

NEEDS_ID = EndReply(needs_id=True)

_PREPARED = (PREPARE_COMMIT, PREPARE_ABORT)
_COMPLETED = (COMPLETE_COMMIT, COMPLETE_ABORT)


def end(txn: Transaction, call: EndCall, token: Token, rules: TransactionRules, effects: Effects) -> None:
    """Answers with an :class:`EndReply`, when the decision is stored; the markers follow."""
    bumps = call.client_version >= TV_2
    is_retry = bumps and _is_retry(txn, call.producer)
    error = _refusal(txn, call.producer, bumps=bumps, is_retry=is_retry)
    if error is ErrorCode.NONE and txn.pending is not None:
        error = ErrorCode.CONCURRENT_TRANSACTIONS
    if error is not ErrorCode.NONE:
        effects.reply(token, EndReply(error))
        return
    match _step(txn, call, bumps=bumps, is_retry=is_retry):
        case EndStep.REFUSE:
            effects.reply(token, EndReply(ErrorCode.INVALID_TXN_STATE))
        case EndStep.BUSY:
            effects.reply(token, EndReply(ErrorCode.CONCURRENT_TRANSACTIONS))
        case EndStep.AGREE:
            effects.reply(token, EndReply(producer=txn.producer))
        case EndStep.END:
            _end(txn, call, token, rules, effects)


def _step(txn: Transaction, call: EndCall, *, bumps: bool, is_retry: bool) -> EndStep:
    if bumps:
        return BUMPING_END_STEPS[txn.state][call.is_commit][is_retry]
    return END_STEPS[txn.state][call.is_commit]


def _is_retry(txn: Transaction, producer: Producer) -> bool:
    """Whether the request was decided already, and the answer with the new epoch lost."""
    if producer.producer_id == txn.producer.producer_id:
        return producer.producer_epoch + 1 == txn.producer.producer_epoch
    return (
        producer == Producer(txn.metadata.previous_id, LAST_PRODUCER_EPOCH - 1)
        and txn.producer.producer_epoch == 0
    )


def _refusal(txn: Transaction, producer: Producer, *, bumps: bool, is_retry: bool) -> ErrorCode:
    if txn.producer.producer_id != producer.producer_id and not is_retry:
        return ErrorCode.INVALID_PRODUCER_ID_MAPPING
    is_current = txn.producer == producer
    if not bumps:
        is_valid = is_current
    elif txn.state in _PREPARED:
        is_valid = is_retry
    else:
        is_valid = is_current or (is_retry and txn.state in _COMPLETED)
    return ErrorCode.NONE if is_valid else ErrorCode.PRODUCER_FENCED


def _end(txn: Transaction, call: EndCall, token: Token, rules: TransactionRules, effects: Effects) -> None:
    next_id = NO_PRODUCER_ID
    if call.client_version >= TV_2 and txn.metadata.is_exhausted:
        if call.spare_id is None:
            effects.reply(token, NEEDS_ID)
            return
        next_id = call.spare_id
    _decide(
        txn,
        rules,
        effects,
        _Answer(txn, token),
        is_commit=call.is_commit,
        client_version=call.client_version,
        next_id=next_id,
    )


class _Answer(Value):
    """After :func:`complete` has begun, what is pending is how the producer goes on."""

    txn: Transaction
    token: Token

    def __call__(self, error: ErrorCode, effects: Effects) -> None:
        goes_on = self.txn.pending or self.txn.metadata
        stored = error is ErrorCode.NONE
        effects.reply(self.token, EndReply(producer=goes_on.producer) if stored else EndReply(error))


def fence(txn: Transaction, rules: TransactionRules, effects: Effects, then: Then) -> None:
    """Raise the epoch and abort the open transaction, so that its producer is refused from now on. That of
    an attempt which could not be stored was given to nobody, and is used again."""
    producer = txn.producer
    if not txn.has_failed_fence and producer.producer_epoch < LAST_PRODUCER_EPOCH:
        producer = producer._replace(producer_epoch=producer.producer_epoch + 1)
    txn.metadata = replace(txn.metadata, producer=producer, last_epoch=NO_PRODUCER_EPOCH)
    _decide(
        txn,
        rules,
        effects,
        _Fenced(txn, then),
        is_commit=False,
        client_version=txn.metadata.client_version,
        next_id=NO_PRODUCER_ID,
    )


class _Fenced(Value):
    txn: Transaction
    then: Then

    def __call__(self, error: ErrorCode, effects: Effects) -> None:
        if error is not ErrorCode.NONE:
            self.txn.has_failed_fence = True
        self.then(error, effects)


def _decide(
    txn: Transaction,
    rules: TransactionRules,
    effects: Effects,
    then: Then,
    *,
    is_commit: bool,
    client_version: int,
    next_id: ProducerId,
) -> None:
    known = txn.metadata
    producer, last_epoch = known.producer, known.last_epoch
    if client_version >= TV_2:
        last_epoch = producer.producer_epoch
        # Only a fence can have led to the last epoch; the abort that follows needs no further one.
        producer = producer._replace(producer_epoch=min(last_epoch + 1, LAST_PRODUCER_EPOCH))
    metadata = known.after(
        PREPARE_COMMIT if is_commit else PREPARE_ABORT,
        effects.now_ms,
        producer=producer,
        last_epoch=last_epoch,
        next_id=next_id,
        client_version=client_version,
        start_ms=known.start_ms if known.state is ONGOING else effects.now_ms,
    )
    store(txn, metadata, rules, effects, _Decided(txn, rules, then))


class _Decided(Value):
    txn: Transaction
    rules: TransactionRules
    then: Then

    def __call__(self, error: ErrorCode, effects: Effects) -> None:
        if error is ErrorCode.NONE:
            complete(self.txn, self.rules, effects)
        self.then(error, effects)
