"""Talking to one shard of a coordinator without a broker: requests in; answers, records and timers out.

Time stands still until the test moves it; then timers fire in order. Records are committed at once, unless
the test holds them back or makes them fail.
"""

import heapq
import itertools
from collections.abc import Callable, Sequence
from typing import Any, Generic, Protocol, TypeVar

from pybroker.coordination.effects import (
    Append,
    CoordinatorRecord,
    Effects,
    Outcome,
    Reply,
    SendMarkers,
    StartTimer,
    StopTimer,
    TimerKey,
)
from pybroker.model.errors import ErrorCode
from pybroker.records.builder import RecordBatchBuilder
from pybroker.records.header import BatchHeader, Record, read_batch_header

START_MS = 1_700_000_000_000


class Shard(Protocol):
    """What shards of both coordinators have."""

    def timer_fired(self, key: TimerKey, effects: Effects, /) -> None: ...


class Replay(Protocol):
    """What takes over the records of a log."""

    def apply(self, header: BatchHeader, record: Record, last_offset: int, /) -> None: ...


S = TypeVar("S", bound=Shard)
R = TypeVar("R", bound=Replay)


class ShardDialogue(Generic[S]):
    """A shard and everything around it.

    Attributes:
        shard: who is talked to.
        answers: by token, what a request was answered; a token that is missing still waits.
        log: every record that was committed, in order.
        held: appends that wait because ``holds`` is set.
        error: what appends fail with while it is set.
    """

    def __init__(self, shard: S) -> None:
        self.shard = shard
        self.now_ms = START_MS
        self.answers: dict[int, Any] = {}
        self.log: list[CoordinatorRecord] = []
        self.timers: dict[TimerKey, int] = {}
        self.holds = False
        self.held: list[Append] = []
        self.error = ErrorCode.NONE
        self.tokens = itertools.count()
        self._sequence = itertools.count()
        self._heap: list[tuple[int, int, TimerKey]] = []

    def request(self, decide: Callable[[Any, int, Effects], object], call: object) -> int:
        """Returns the request's token."""
        token = next(self.tokens)
        effects = Effects(self.now_ms)
        decide(call, token, effects)
        self.carry_out(effects)
        return token

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
                case StartTimer(key, when_ms, replaces):
                    if key in self.timers and not replaces:
                        continue
                    self.timers[key] = when_ms
                    heapq.heappush(self._heap, (when_ms, next(self._sequence), key))
                case StopTimer(key):
                    self.timers.pop(key, None)
                case Append():
                    self._append(item)
                case SendMarkers():
                    self.send(item)

    def send(self, item: SendMarkers) -> None:
        """Markers are written, by a coordinator of transactions."""
        raise AssertionError(f"who else sends markers? {item}")

    def _append(self, item: Append) -> None:
        if self.holds:
            self.held.append(item)
            return
        outcome = Outcome(self.error)
        if self.error is ErrorCode.NONE:
            outcome = Outcome(ErrorCode.NONE, len(self.log))
            self.log.extend(item.records)
            if item.appended is not None:
                effects = Effects(self.now_ms)
                item.appended(effects)
                self.carry_out(effects)
        if item.then is not None:
            effects = Effects(self.now_ms)
            item.then.settle(outcome, effects)
            self.carry_out(effects)

    def release(self) -> None:
        """What was held back is committed now (or fails with ``error``)."""
        self.holds = False
        held, self.held = self.held, []
        for item in held:
            self._append(item)


def read_all(reading: R, records: Sequence[CoordinatorRecord]) -> R:
    """Takes over the records of a log."""
    builder = RecordBatchBuilder()
    builder.append(b"", b"", 0)
    header = read_batch_header(builder.build())
    for offset, (key, value) in enumerate(records):
        reading.apply(header, Record(offset, 0, key, value), offset)
    return reading
