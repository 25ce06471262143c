"""What a coordinator's decision asks the outside world to do: answers, timers, records to keep.

The state machines of this room are plain functions. A decision gets an :class:`Effects` with the broker time
of the moment, changes what is volatile in memory, and notes down the rest here. The shell
(:mod:`pybroker.coordination.runtime`) carries it out, and comes back with timers that fell due and with the
:class:`Outcome` of what was written.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol, TypeAlias

from attrs import frozen

from pybroker.model.errors import ErrorCode
from pybroker.model.ids import UNKNOWN_OFFSET, Offset

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


@frozen
class Outcome:
    """What became of an append: ``error`` is NONE once it is committed, ``base_offset`` its first offset."""

    error: ErrorCode
    base_offset: Offset = UNKNOWN_OFFSET


class Completion(Protocol):
    """What a decision still has to do when its records are committed, or never will be."""

    def settle(self, outcome: Outcome, effects: "Effects") -> None: ...


@frozen
class Reply:
    """Answer the request that ``token`` stands for."""

    token: Token
    answer: Any


@frozen
class StartTimer:
    """Come back at broker time ``when_ms``."""

    key: TimerKey
    when_ms: int


@frozen
class StopTimer:
    """Do not come back for this after all."""

    key: TimerKey


@frozen
class Append:
    """Write one batch. With ``then`` it is awaited until it is committed; else nobody asks for it again."""

    records: Sequence[CoordinatorRecord]
    timestamp_ms: int
    then: Completion | None = None


Effect: TypeAlias = Reply | StartTimer | StopTimer | Append


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

    def stop_timer(self, key: TimerKey) -> None:
        self.items.append(StopTimer(key))

    def append(self, records: Sequence[CoordinatorRecord], then: Completion | None = None) -> None:
        self.items.append(Append(records, self.now_ms, then))
