"""Talking to one shard of transactions without a broker.

Markers arrive at once, unless the test holds them back or says how they fare.
"""

import itertools
from collections.abc import Sequence
from typing import Any

from msgspec.structs import replace

from pybroker.coordination.effects import Effects, Outcome, Reply, SendMarkers, TransactionMarker
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
from tests.coordination.dialogue import ShardDialogue, read_all

TXN = "t"
A, B = TopicPartition("orders", 0), TopicPartition("orders", 1)
TIMEOUT_MS = 60_000


class Dialogue(ShardDialogue[TransactionShard]):
    """A shard of transactions and everything around it.

    Attributes:
        markers: every marker that was written, in order, with its partition.
        fates: what a partition answers to a marker, once, before it takes it.
        holds_markers: while set, markers wait in ``held_markers``.
    """

    def __init__(self, **rules: Any) -> None:
        self.rules = TransactionRules(**{"record_version": lambda: 1, **rules})
        super().__init__(TransactionShard(self.rules))
        self.ids = itertools.count(1000)
        self.markers: list[tuple[TopicPartition, TransactionMarker]] = []
        self.fates: dict[TopicPartition, list[ErrorCode]] = {}
        self.holds_markers = False
        self.held_markers: list[SendMarkers] = []
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
        self.txn.metadata = replace(
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
        return self.answers.get(self.request(decide, call))

    # -- the world outside

    def send(self, item: SendMarkers) -> None:
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
        self.holds_markers = False
        markers, self.held_markers = self.held_markers, []
        super().release()
        for marker in markers:
            self.send(marker)

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
        return read_all(self.shard.start_replay(), self.log)


def marked(talk: Dialogue) -> Sequence[tuple[TopicPartition, bool, int]]:
    """Partition, whether it was a commit, and the epoch of each marker."""
    return [(tp, marker.is_commit, marker.producer_epoch) for tp, marker in talk.markers]
