"""What a coordinator's decision asks the outside world to do: answers, timers, records to keep.

The state machines of this room are plain functions. A decision gets an :class:`Effects` with the broker time
of the moment, changes what is volatile in memory, and notes down the rest here. The shell
(:mod:`pybroker.coordination.runtime`) carries it out, and comes back with timers that fell due and with the
:class:`Outcome` of what was written.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol, TypeAlias

from pybroker.model.errors import ErrorCode
from pybroker.model.ids import UNKNOWN_OFFSET, Offset, ProducerEpoch, ProducerId, TopicPartition
from pybroker.model.values import Value

Token: TypeAlias = Any
"""Whatever the shell knows a waiting request by. A decision keeps it and gives it back with the answer."""

CoordinatorRecord: TypeAlias = tuple[bytes, bytes | None]
"""Key and value of one record; a value of None is a tombstone."""


class TimerKey(NamedTuple):
    """One timer; starting it again replaces it. ``kind`` is what the timer queue shows."""

    kind: str
    purpose: str
    group_id: str
    member_id: str = ""


class Outcome(Value):
    """What became of an append: ``error`` is NONE once it is committed, ``base_offset`` its first offset."""

    error: ErrorCode
    base_offset: Offset = UNKNOWN_OFFSET


class Completion(Protocol):
    """What a decision still has to do when its records are committed, or never will be."""

    def settle(self, outcome: Outcome, effects: "Effects") -> None: ...


class Reply(Value):
    """Answer the request that ``token`` stands for."""

    token: Token
    answer: Any


class StartTimer(Value):
    """Come back at broker time ``when_ms``; unless ``replaces``, a timer that runs already stays."""

    key: TimerKey
    when_ms: int
    replaces: bool = True


class StopTimer(Value):
    """Do not come back for this after all."""

    key: TimerKey


class Writer(Value):
    """The producer in whose transaction a coordinator writes. ``guard`` is what the log gave when it was
    asked whether the transaction has to be verified."""

    producer_id: ProducerId
    producer_epoch: ProducerEpoch
    guard: object | None = None


class Append(Value):
    """Write one batch. With ``then`` it is awaited until it is committed; else nobody asks for it again. With
    ``writer`` it is part of a transaction.

    Without records nothing is written, and ``then`` awaits what was written before.

    ``appended`` is called when the batch is in the log, before anything else is decided: what it changes is
    seen by later decisions, whose records come after these. If the batch cannot be written it is not called.
    """

    records: Sequence[CoordinatorRecord]
    timestamp_ms: int
    then: Completion | None = None
    writer: Writer | None = None
    appended: "Callable[[Effects], None] | None" = None


class TransactionMarker(Value):
    """The end of a transaction. ``transaction_version`` is the one that its client spoke (KIP-1228)."""

    producer_id: ProducerId
    producer_epoch: ProducerEpoch
    is_commit: bool
    transaction_version: int = 0


class MarkersCompletion(Protocol):
    """What a decision still has to do when it is known how each marker fared."""

    def settle(self, codes: Mapping[TopicPartition, ErrorCode], effects: "Effects") -> None: ...


class SendMarkers(Value):
    """Write a marker into partitions, wherever they are led; after a moment when ``is_retry``."""

    marker: TransactionMarker
    partitions: Sequence[TopicPartition]
    then: MarkersCompletion
    is_retry: bool


Effect: TypeAlias = Reply | StartTimer | StopTimer | Append | SendMarkers


class Effects:
    """The list of what is to be done, in order, and the broker time at which it was decided."""

    __slots__ = ("items", "now_ms")

    def __init__(self, now_ms: int) -> None:
        self.now_ms = now_ms
        self.items: list[Effect] = []

    def reply(self, token: Token, answer: object) -> None:
        self.items.append(Reply(token, answer))

    def start_timer(self, key: TimerKey, delay_ms: int) -> None:
        self.items.append(StartTimer(key, self.now_ms + delay_ms))

    def start_timer_if_absent(self, key: TimerKey, delay_ms: int) -> None:
        self.items.append(StartTimer(key, self.now_ms + delay_ms, replaces=False))

    def stop_timer(self, key: TimerKey) -> None:
        self.items.append(StopTimer(key))

    def append(
        self,
        records: Sequence[CoordinatorRecord],
        then: Completion | None = None,
        writer: Writer | None = None,
        *,
        appended: "Callable[[Effects], None] | None" = None,
    ) -> None:
        self.items.append(Append(records, self.now_ms, then, writer, appended))

    def send_markers(
        self,
        marker: TransactionMarker,
        partitions: Sequence[TopicPartition],
        then: MarkersCompletion,
        *,
        is_retry: bool = False,
    ) -> None:
        self.items.append(SendMarkers(marker, partitions, then, is_retry))
