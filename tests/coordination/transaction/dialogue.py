"""Talking to one shard of transactions without a broker: requests in; answers, records and markers out.

Time stands still until the test moves it. Records are committed at once, unless the test holds them back or
makes them fail; markers arrive at once, unless the test holds them back or says how they fare.
"""

import heapq
import itertools
from collections.abc import Sequence
from typing import Any

from attrs import evolve

from pybroker.coordination.effects import (
    Append,
    CoordinatorRecord,
    Effects,
    Outcome,
    Reply,
    SendMarkers,
    StartTimer,
    TimerKey,
    TransactionMarker,
)
from pybroker.coordination.transaction.calls import (
    TV_0,
    EndCall,
    EndReply,
    InitCall,
    InitReply,
    PartitionsCall,
    Producer,
)
from pybroker.coordination.transaction.replay import TransactionReplay
from pybroker.coordination.transaction.rules import TransactionRules
from pybroker.coordination.transaction.shard import TransactionShard
from pybroker.coordination.transaction.transaction import Transaction
from pybroker.model.errors import ErrorCode
from pybroker.model.ids import TopicPartition
from pybroker.records.builder import RecordBatchBuilder
from pybroker.records.header import Record, read_batch_header

START_MS = 1_700_000_000_000
TXN = "t"
A, B = TopicPartition("orders", 0), TopicPartition("orders", 1)
TIMEOUT_MS = 60_000


class Dialogue:
    """A shard and everything around it.

    Attributes:
        answers: by token, what a request was answered; a token that is missing still waits.
        log: every record that was committed, in order.
        markers: every marker that was written, in order, with its partition.
        fates: what a partition answers to a marker, once, before it takes it.
        holds, holds_markers: while set, appends or markers wait in ``held`` and ``held_markers``.
        error: what appends fail with while it is set.
    """

    def __init__(self, **rules: Any) -> None:
        self.rules = TransactionRules(**{"record_version": lambda: 1, **rules})
        self.shard = TransactionShard(self.rules)
        self.ids = itertools.count(1000)
        self.now_ms = START_MS
        self.answers: dict[int, Any] = {}
        self.log: list[CoordinatorRecord] = []
        self.markers: list[tuple[TopicPartition, TransactionMarker]] = []
        self.fates: dict[TopicPartition, list[ErrorCode]] = {}
        self.timers: dict[TimerKey, int] = {}
        self.holds = self.holds_markers = False
        self.held: list[Append] = []
        self.held_markers: list[SendMarkers] = []
        self.error = ErrorCode.NONE
        self.tokens = itertools.count()
        self._sequence = itertools.count()
        self._heap: list[tuple[int, int, TimerKey]] = []
        self.load()

    @property
    def txn(self) -> Transaction:
        return self.shard.transactions[TXN]

    @property
    def state(self) -> str:
        return self.txn.state.word

    # -- requests

    def init(
        self, expected: Producer | None = None, *, timeout_ms: int = TIMEOUT_MS, txn: str = TXN
    ) -> InitReply | None:
        """The answer; None if it waits for the log. An id is given when it is needed, as the shell does."""
        call = InitCall(txn, timeout_ms, expected)
        reply: InitReply | None = self._ask(self.shard.init, call)
        if reply is not None and reply.needs_id:
            call = InitCall(txn, timeout_ms, expected, next(self.ids))
            reply = self._ask(self.shard.init, call)
        return reply

    def started(self, **fields: Any) -> Producer:
        """A producer that was let in."""
        reply = self.init(**fields)
        assert reply is not None
        assert reply.error is ErrorCode.NONE, reply
        return reply.producer

    def skip_to(self, epoch: int) -> Producer:
        """As after so many producers."""
        self.txn.metadata = evolve(
            self.txn.metadata, producer=self.txn.producer._replace(producer_epoch=epoch)
        )
        return self.txn.producer

    def add(
        self, producer: Producer, *partitions: TopicPartition, version: int = TV_0, txn: str = TXN
    ) -> ErrorCode | None:
        call = PartitionsCall(txn, producer, frozenset(partitions), version)
        code: ErrorCode | None = self._ask(self.shard.add, call)
        return code

    def verify(self, producer: Producer, *partitions: TopicPartition) -> dict[TopicPartition, ErrorCode]:
        return self.shard.verify(PartitionsCall(TXN, producer, frozenset(partitions)))

    def end(
        self, producer: Producer, *, commit: bool = True, version: int = TV_0, txn: str = TXN
    ) -> EndReply | None:
        reply: EndReply | None = self._ask(self.shard.end, EndCall(txn, producer, commit, version))
        if reply is not None and reply.needs_id:
            call = EndCall(txn, producer, commit, version, next(self.ids))
            reply = self._ask(self.shard.end, call)
        return reply

    def _ask(self, decide: Any, call: Any) -> Any:
        token = next(self.tokens)
        effects = Effects(self.now_ms)
        decide(call, token, effects)
        self.carry_out(effects)
        return self.answers.get(token)

    # -- the world outside

    def advance(self, by_ms: int) -> None:
        """Move the clock on; what falls due meanwhile happens at its time."""
        end = self.now_ms + by_ms
        while self._heap and self._heap[0][0] <= end:
            when, _, key = heapq.heappop(self._heap)
            if self.timers.get(key) != when:
                continue
            del self.timers[key]
            self.now_ms = max(self.now_ms, when)
            effects = Effects(self.now_ms)
            self.shard.timer_fired(key, effects)
            self.carry_out(effects)
        self.now_ms = end

    def carry_out(self, effects: Effects) -> None:
        for item in effects.items:
            match item:
                case Reply(token, answer):
                    assert token not in self.answers, "a request is answered once"
                    self.answers[token] = answer
                case StartTimer(key, when_ms):
                    self.timers[key] = when_ms
                    heapq.heappush(self._heap, (when_ms, next(self._sequence), key))
                case Append():
                    self._append(item)
                case SendMarkers():
                    self._send(item)

    def _append(self, item: Append) -> None:
        if self.holds:
            self.held.append(item)
            return
        outcome = Outcome(self.error)
        if self.error is ErrorCode.NONE:
            outcome = Outcome(ErrorCode.NONE, len(self.log))
            self.log.extend(item.records)
        if item.then is not None:
            effects = Effects(self.now_ms)
            item.then.settle(outcome, effects)
            self.carry_out(effects)

    def _send(self, item: SendMarkers) -> None:
        if self.holds_markers or (item.is_retry and self.error is not ErrorCode.NONE):
            self.held_markers.append(item)
            return
        codes = {}
        for tp in item.partitions:
            fates = self.fates.get(tp)
            codes[tp] = fates.pop(0) if fates else ErrorCode.NONE
            if codes[tp] is ErrorCode.NONE:
                self.markers.append((tp, item.marker))
        effects = Effects(self.now_ms)
        item.then.settle(codes, effects)
        self.carry_out(effects)

    def release(self) -> None:
        """What was held back happens now."""
        self.holds = self.holds_markers = False
        held, self.held = self.held, []
        markers, self.held_markers = self.held_markers, []
        for item in held:
            self._append(item)
        for marker in markers:
            self._send(marker)

    def load(self) -> None:
        """A new shard reads the log."""
        for effects in self.shard.loaded(self.read_log(), self.now_ms):
            self.carry_out(effects)

    def move(self) -> None:
        """The coordinator is another broker from now on: it knows only what is in the log."""
        for effects in self.shard.unloaded(self.now_ms):
            self.carry_out(effects)
        held, self.held, self.held_markers = self.held, [], []
        self.timers.clear()
        orphaned = Outcome(ErrorCode.NOT_LEADER_OR_FOLLOWER)
        for item in held:
            if item.then is not None:
                effects = Effects(self.now_ms)
                item.then.settle(orphaned, effects)
                for effect in effects.items:
                    if isinstance(effect, Reply):
                        self.answers[effect.token] = effect.answer
        self.shard = TransactionShard(self.rules)
        self.load()

    def read_log(self) -> TransactionReplay:
        reading = self.shard.start_replay()
        builder = RecordBatchBuilder()
        builder.append(b"", b"", 0)
        header = read_batch_header(builder.build())
        for offset, (key, value) in enumerate(self.log):
            reading.apply(header, Record(offset, 0, key, value), offset)
        return reading


def marked(talk: Dialogue) -> Sequence[tuple[TopicPartition, bool, int]]:
    """Partition, whether it was a commit, and the epoch of each marker."""
    return [(tp, marker.is_commit, marker.producer_epoch) for tp, marker in talk.markers]
