"""What time does to a transactional id: transactions that took too long are aborted, unused ids forgotten."""

import logging

from msgspec.structs import replace

from pybroker.coordination.effects import Effects, Outcome
from pybroker.coordination.transaction.ending import fence
from pybroker.coordination.transaction.records import transaction_key
from pybroker.coordination.transaction.rules import TransactionRules
from pybroker.coordination.transaction.states import DEAD, EXPIRABLE, ONGOING
from pybroker.coordination.transaction.transaction import Transaction
from pybroker.model.errors import ErrorCode
from pybroker.model.values import Value

logger = logging.getLogger(__name__)


def abort_if_late(txn: Transaction, rules: TransactionRules, effects: Effects) -> None:
    """Abort a transaction that has been open for longer than its producer allowed."""
    known = txn.metadata
    if known.start_ms + known.timeout_ms < effects.now_ms:
        abort_if_open(txn, rules, effects)


def abort_if_open(txn: Transaction, rules: TransactionRules, effects: Effects) -> bool:
    """Abort a transaction as if its producer had taken too long. False: none is open, or one that ends."""
    if txn.pending is not None or txn.state is not ONGOING:
        return False
    fence(txn, rules, effects, _Aborted(txn))
    return True


class _Aborted(Value):
    txn: Transaction

    def __call__(self, error: ErrorCode, effects: Effects) -> None:  # noqa: ARG002
        if error is ErrorCode.NONE:
            logger.info("%s is aborted: it ran out of time", self.txn.transactional_id)
        else:
            logger.warning(
                "%s ran out of time, and cannot be aborted yet: %s", self.txn.transactional_id, error.name
            )


def is_expired(txn: Transaction, rules: TransactionRules, now_ms: int) -> bool:
    """Whether nobody has used the id for ``transactional.id.expiration.ms``."""
    return (
        txn.pending is None
        and txn.state in EXPIRABLE
        and txn.metadata.updated_ms <= now_ms - rules.id_expiration_ms
    )


def expire(transactions: dict[str, Transaction], expired: list[Transaction], effects: Effects) -> None:
    """Write the tombstones of ``expired`` ids; they are forgotten when those are committed."""
    if not expired:
        return
    for txn in expired:
        txn.begin(replace(txn.metadata, state=DEAD))
    records = [(transaction_key(txn.transactional_id), None) for txn in expired]
    effects.append(records, _Buried(transactions, tuple(expired)))


class _Buried(Value):
    transactions: dict[str, Transaction]
    expired: tuple[Transaction, ...]

    def settle(self, outcome: Outcome, effects: Effects) -> None:  # noqa: ARG002
        if outcome.error is ErrorCode.NONE:
            for txn in self.expired:
                self.transactions.pop(txn.transactional_id, None)
            logger.info("%d transactional ids have expired", len(self.expired))
            return
        for txn in self.expired:
            txn.pending = None
        logger.warning("expired transactional ids stay for now: %s", outcome.error.name)
