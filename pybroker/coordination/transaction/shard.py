"""All transactional ids that live in one partition of ``__transaction_state``: calls in, effects out.

The shell asks it only while this broker leads the partition and its log has been replayed.
"""

from collections.abc import Iterator
from itertools import islice

from pybroker.coordination.effects import Effects, TimerKey, Token
from pybroker.coordination.transaction.calls import (
    EndCall,
    EndReply,
    InitCall,
    InitReply,
    ListFilter,
    PartitionsCall,
    TransactionDescription,
    TransactionListing,
)
from pybroker.coordination.transaction.completing import complete
from pybroker.coordination.transaction.ending import end
from pybroker.coordination.transaction.initializing import NEEDS_ID, init
from pybroker.coordination.transaction.partitions import add, verify
from pybroker.coordination.transaction.replay import TransactionReplay
from pybroker.coordination.transaction.rules import TransactionRules
from pybroker.coordination.transaction.states import COMPLETED, DEAD
from pybroker.coordination.transaction.sweeps import abort_if_late, abort_if_open, expire, is_expired
from pybroker.coordination.transaction.transaction import Transaction
from pybroker.model.errors import ErrorCode
from pybroker.model.ids import TopicPartition

STEPS = 32
"""Transactions that are loaded between two looks at the clock."""

SWEPT_AT_ONCE = 256
"""Transactions that a search goes through in one stretch."""

ABORT = TimerKey("transaction timeout", "abort", "")
EXPIRE = TimerKey("transactional id expiry", "expire", "")


class TransactionShard:
    """The transactions of one partition. One writer: the trio thread, through this class."""

    def __init__(self, rules: TransactionRules) -> None:
        self.transactions: dict[str, Transaction] = {}
        self._rules = rules
        self._to_sweep: dict[TimerKey, list[Transaction]] = {}

    # -- producers -----------------------------------------------------------------------------------

    def init(self, call: InitCall, token: Token, effects: Effects) -> None:
        """Answers with an :class:`InitReply`."""
        if not 0 < call.timeout_ms <= self._rules.max_timeout_ms:
            effects.reply(token, InitReply(ErrorCode.INVALID_TRANSACTION_TIMEOUT))
            return
        txn = self.transactions.get(call.transactional_id)
        if txn is None:
            if call.spare_id is None:
                effects.reply(token, NEEDS_ID)
                return
            txn = Transaction.new(call.transactional_id, call.spare_id, call.timeout_ms, effects.now_ms)
            self.transactions[call.transactional_id] = txn
        init(txn, call, token, self._rules, effects)

    def add(self, call: PartitionsCall, token: Token, effects: Effects) -> None:
        """Answers with a code."""
        txn = self.transactions.get(call.transactional_id)
        if txn is None:
            effects.reply(token, ErrorCode.INVALID_PRODUCER_ID_MAPPING)
        else:
            add(txn, call, token, self._rules, effects)

    def verify(self, call: PartitionsCall) -> dict[TopicPartition, ErrorCode]:
        """One code for each partition."""
        txn = self.transactions.get(call.transactional_id)
        if txn is None:
            return dict.fromkeys(call.partitions, ErrorCode.INVALID_PRODUCER_ID_MAPPING)
        return verify(txn, call)

    def end(self, call: EndCall, token: Token, effects: Effects) -> None:
        """Answers with an :class:`EndReply`."""
        txn = self.transactions.get(call.transactional_id)
        if txn is None:
            effects.reply(token, EndReply(ErrorCode.INVALID_PRODUCER_ID_MAPPING))
        else:
            end(txn, call, token, self._rules, effects)

    # -- administration ------------------------------------------------------------------------------

    def describe(self, transactional_id: str) -> TransactionDescription | None:
        """None if there is no such id."""
        txn = self.transactions.get(transactional_id)
        return None if txn is None else txn.describe()

    def time_out(self, transactional_id: str, effects: Effects) -> bool:
        """Abort a transaction as if its time were over. False: there is none that could be aborted."""
        txn = self.transactions.get(transactional_id)
        return txn is not None and abort_if_open(txn, self._rules, effects)

    def list_transactions(self, wanted: ListFilter, now_ms: int) -> list[TransactionListing]:
        return [
            TransactionListing(txn.transactional_id, txn.producer.producer_id, txn.state.word)
            for txn in self.transactions.values()
            if _passes(txn, wanted, now_ms)
        ]

    # -- time ----------------------------------------------------------------------------------------

    def timer_fired(self, key: TimerKey, effects: Effects) -> None:
        """It is time to search; a long search goes on at once, after others had their turn."""
        left = self._to_sweep.get(key)
        if not left:
            left = self._to_sweep[key] = list(self.transactions.values())
        now, left[-SWEPT_AT_ONCE:] = left[-SWEPT_AT_ONCE:], []
        known = [txn for txn in now if self.transactions.get(txn.transactional_id) is txn]
        if key == ABORT:
            for txn in known:
                abort_if_late(txn, self._rules, effects)
            interval_ms = self._rules.abort_interval_ms
        else:
            expired = [txn for txn in known if is_expired(txn, self._rules, effects.now_ms)]
            expire(self.transactions, expired, effects)
            interval_ms = self._rules.expiry_interval_ms
        effects.start_timer(key, 0 if left else interval_ms)

    # -- coming and going ----------------------------------------------------------------------------

    def start_replay(self) -> TransactionReplay:
        """Takes the log's records; give it back to :meth:`loaded`."""
        return TransactionReplay()

    def loaded(self, replay: TransactionReplay, now_ms: int) -> Iterator[Effects]:
        """The log has been read: what was decided is completed. In slices; until the last one nothing is
        asked of this shard."""
        found = replay.finish()
        while some := list(islice(found, STEPS)):
            effects = Effects(now_ms)
            for txn in some:
                if txn.state is DEAD:
                    continue
                self.transactions[txn.transactional_id] = txn
                if txn.state in COMPLETED:
                    complete(txn, self._rules, effects)
            yield effects
        effects = Effects(now_ms)
        effects.start_timer(ABORT, self._rules.abort_interval_ms)
        effects.start_timer(EXPIRE, self._rules.expiry_interval_ms)
        yield effects

    def unloaded(self, now_ms: int) -> Iterator[Effects]:  # noqa: ARG002
        """Another broker coordinates from now on. Whoever waits is answered when its record is refused."""
        self.transactions = {}
        self._to_sweep = {}
        yield from ()


def _passes(txn: Transaction, wanted: ListFilter, now_ms: int) -> bool:
    if wanted.states and txn.state.word not in wanted.states:
        return False
    if wanted.producer_ids and txn.producer.producer_id not in wanted.producer_ids:
        return False
    return wanted.longer_than_ms < 0 or now_ms - txn.metadata.start_ms > wanted.longer_than_ms
