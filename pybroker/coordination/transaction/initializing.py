"""InitProducerId with a transactional id: a new epoch, which fences whoever had the one before."""

from pybroker.coordination.effects import Effects, Token
from pybroker.coordination.transaction.calls import InitCall, InitReply, Producer
from pybroker.coordination.transaction.ending import fence
from pybroker.coordination.transaction.rules import TransactionRules
from pybroker.coordination.transaction.states import EMPTY, INIT_STEPS, InitStep
from pybroker.coordination.transaction.storing import store
from pybroker.coordination.transaction.transaction import (
    NO_TIME,
    Transaction,
    TransactionMetadata,
    is_exhausted,
)
from pybroker.model.errors import ErrorCode
from pybroker.model.ids import NO_PRODUCER_EPOCH
from pybroker.model.values import Value

NEEDS_ID = InitReply(needs_id=True)


def init(txn: Transaction, call: InitCall, token: Token, rules: TransactionRules, effects: Effects) -> None:
    """Answers with an :class:`InitReply`, when the new epoch is stored."""
    if txn.pending is not None:
        _refuse(token, ErrorCode.CONCURRENT_TRANSACTIONS, effects)
        return
    if call.expected is not None and not _may_be(txn.metadata, call.expected):
        _refuse(token, ErrorCode.PRODUCER_FENCED, effects)
        return
    match INIT_STEPS[txn.state]:
        case InitStep.BUSY:
            _refuse(token, ErrorCode.CONCURRENT_TRANSACTIONS, effects)
        case InitStep.FENCE:
            fence(txn, rules, effects, _AskAgain(token))
        case InitStep.BUMP:
            _bump(txn, call, token, rules, effects)


def _refuse(token: Token, error: ErrorCode, effects: Effects) -> None:
    effects.reply(token, InitReply(error))


def _may_be(known: TransactionMetadata, expected: Producer) -> bool:
    """Whether the producer is who it believes to be, as far as ids go (KIP-360). One with used up epochs may
    not have heard of its new id yet."""
    return (
        known.producer.producer_epoch == NO_PRODUCER_EPOCH
        or expected.producer_id == known.producer.producer_id
        or (expected.producer_id == known.previous_id and is_exhausted(expected.producer_epoch))
    )


def _bump(txn: Transaction, call: InitCall, token: Token, rules: TransactionRules, effects: Effects) -> None:
    known, expected = txn.metadata, call.expected
    current = known.producer.producer_epoch
    if known.is_exhausted and (expected is None or expected.producer_epoch == current):
        if call.spare_id is None:
            effects.reply(token, NEEDS_ID)
            return
        producer, last_epoch = Producer(call.spare_id, 0), current if expected else NO_PRODUCER_EPOCH
    elif expected is not None and current not in (NO_PRODUCER_EPOCH, expected.producer_epoch):
        if expected.producer_epoch != known.last_epoch:
            _refuse(token, ErrorCode.PRODUCER_FENCED, effects)
            return
        # Sent again: nobody else has come since, or the last epoch would have been forgotten.
        producer, last_epoch = known.producer, known.last_epoch
    else:
        producer = known.producer._replace(producer_epoch=current + 1)
        last_epoch = current if expected else NO_PRODUCER_EPOCH
    metadata = known.after(
        EMPTY,
        effects.now_ms,
        producer=producer,
        last_epoch=last_epoch,
        timeout_ms=call.timeout_ms,
        partitions=frozenset(),
        start_ms=NO_TIME,
    )
    store(txn, metadata, rules, effects, _Answer(token, producer))


class _Answer(Value):
    token: Token
    producer: Producer

    def __call__(self, error: ErrorCode, effects: Effects) -> None:
        stored = error is ErrorCode.NONE
        effects.reply(self.token, InitReply(producer=self.producer) if stored else InitReply(error))


class _AskAgain(Value):
    """The epoch of the fence is given to nobody: the client comes again and gets the next one."""

    token: Token

    def __call__(self, error: ErrorCode, effects: Effects) -> None:
        busy = ErrorCode.CONCURRENT_TRANSACTIONS if error is ErrorCode.NONE else error
        effects.reply(self.token, InitReply(busy))
