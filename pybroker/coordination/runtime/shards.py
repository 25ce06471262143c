"""One state machine for each partition of a coordinator's topic: loaded when this broker begins to lead the
partition, served while it leads, unloaded when it ceases to.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeAlias, TypeVar

import trio

from pybroker.coordination.effects import (
    Append,
    Effect,
    Effects,
    Outcome,
    Reply,
    SendMarkers,
    StartTimer,
    StopTimer,
    TimerKey,
    Token,
)
from pybroker.instruments.pace import Pace
from pybroker.model.errors import ApiError, ErrorCode
from pybroker.model.ids import NO_LEADER_EPOCH, LeaderEpoch, Offset, TopicPartition
from pybroker.model.values import Value
from pybroker.storage.errors import StorageError

if TYPE_CHECKING:  # app/warming.py says what is late
    from pybroker.coordination.runtime.log_port import CoordinatorLog
    from pybroker.instruments.clock import Timer, TimerQueue

logger = logging.getLogger(__name__)

ACKS_ALL = -1

MARKER_RETRY_S = 0.1
"""How long markers that failed wait before they are sent again."""

WriteMarkers: TypeAlias = Callable[[SendMarkers, LeaderEpoch], Awaitable[Mapping[TopicPartition, ErrorCode]]]
"""Writes transaction markers wherever they belong, as the coordinator of that epoch; one code for each."""


class Shard(Protocol):
    """A pure state machine, as far as this shell knows it."""

    def start_replay(self) -> Any: ...

    def loaded(self, replay: Any, now_ms: int) -> Iterator[Effects]: ...

    def unloaded(self, now_ms: int) -> Iterator[Effects]: ...

    def timer_fired(self, key: TimerKey, effects: Effects) -> None: ...


S = TypeVar("S", bound=Shard)
C = TypeVar("C")
T = TypeVar("T")


class Answer:
    """The token of a waiting request. Who gives up waiting just goes; the answer then goes nowhere."""

    __slots__ = ("_arrived", "_value")

    def __init__(self) -> None:
        self._value: Any = None
        self._arrived: trio.Event | None = None

    def give(self, value: object) -> None:
        """Only the first answer counts."""
        if self._value is None:
            self._value = value
            if self._arrived is not None:
                self._arrived.set()

    async def get(self) -> Any:
        """The answer; without any suspension if it is there already."""
        if self._value is None:
            self._arrived = trio.Event()
            await self._arrived.wait()
        return self._value


class Appended(Value):
    """An append that somebody waits for. ``end`` is exclusive, and ``deadline_s`` by trio's clock."""

    item: Append
    first: Offset
    end: Offset
    deadline_s: float


class Slot(Generic[S]):
    """The leadership of one partition. Written by :class:`Shards` only.

    Attributes:
        written: the end (exclusive) of what was appended last.
        uncommitted: who waits until it is committed, in the order of the log.
        is_settling: whether a task looks after them.
    """

    def __init__(self, index: int, shard: S, log: CoordinatorLog) -> None:
        self.index = index
        self.shard = shard
        self.log = log
        self.is_loading = True
        self.loaded = trio.Event()
        self.written: Offset = 0
        self.uncommitted: deque[Appended] = deque()
        self.is_settling = False
        self._is_over = False
        self.timers: dict[TimerKey, Timer] = {}

    def is_over(self) -> bool:
        """Whether this leadership has ended, and with it the state machine. A method, because it changes
        while its readers sleep."""
        return self._is_over

    def end(self) -> None:
        self._is_over = True
        self.loaded.set()
        for timer in self.timers.values():
            timer.cancel()
        self.timers.clear()


class ShardSettings(Value):
    """How coordinators write.

    Attributes:
        compression_codec: as the attributes of a batch carry it.
        required_acks: -1 waits for the high watermark, anything else only for the leader.
        append_timeout_ms: the longest wait, in real time, because clients wait too.
    """

    compression_codec: int = 0
    required_acks: int = ACKS_ALL
    append_timeout_ms: int = 5000


class Shards(Generic[S]):
    """All partitions of a coordinator's topic that this broker leads. :meth:`run` is its task.

    Args:
        name: of the topic, for logs.
        make_shard: makes the state machine of a partition that is new here.
        write_markers: for coordinators that end transactions.
    """

    def __init__(
        self,
        name: str,
        make_shard: Callable[[], S],
        now_ms: Callable[[], int],
        timers: TimerQueue,
        settings: ShardSettings,
        write_markers: WriteMarkers | None = None,
    ) -> None:
        self._name = name
        self._make_shard = make_shard
        self._now_ms = now_ms
        self._timers = timers
        self._settings = settings
        self._write_markers = write_markers
        self._slots: dict[int, Slot[S]] = {}
        self._nursery: trio.Nursery | None = None
        self._loading = trio.Lock()
        self._loads: set[Slot[S]] = set()
        self._until_loaded = trio.lowlevel.ParkingLot()
        self._is_stopping = False

    def __iter__(self) -> Iterator[Slot[S]]:
        """The partitions that are served; those that still load are not among them."""
        return iter([slot for slot in self._slots.values() if not slot.is_loading])

    @property
    def is_running(self) -> bool:
        return self._nursery is not None and not self._is_stopping

    @property
    def is_any_loading(self) -> bool:
        return any(slot.is_loading for slot in self._slots.values())

    async def loaded(self) -> None:
        """Waits until all partitions led by now are loaded. One that cannot be is not waited for."""
        if self._loads:
            await self._until_loaded.park()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Serves until cancelled. Leadership that began before is loaded now."""
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            try:
                for slot in self._slots.values():
                    self._begin_to_load(slot)
                task_status.started()
                await trio.sleep_forever()
            finally:
                self._nursery = None

    def spawn(self, work: Callable[..., Any], *args: object) -> None:
        """Run something beside; it ends with :meth:`run`. Nothing happens when that is over."""
        if self._nursery is not None:
            self._nursery.start_soon(_survive, work, *args)

    def stop(self) -> None:
        """Answer whoever waits, soon, and serve nothing any more: before the connections are closed."""
        self._is_stopping = True
        for index in tuple(self._slots):
            self.resign(index, NO_LEADER_EPOCH)

    # -- leadership ----------------------------------------------------------------------------------

    def lead(self, index: int, log: CoordinatorLog) -> None:
        """Leadership began, or goes on in a new epoch: then what is in memory stays valid."""
        if self._is_stopping:
            return
        slot = self._slots.get(index)
        if slot is not None:
            if log.leader_epoch > slot.log.leader_epoch:
                slot.log = log
            return
        slot = self._slots[index] = Slot(index, self._make_shard(), log)
        self._begin_to_load(slot)

    def resign(self, index: int, leader_epoch: LeaderEpoch) -> None:
        """Leadership is over. News of an epoch before the present one does not count; -1 always does."""
        slot = self._slots.get(index)
        if slot is None or (0 <= leader_epoch < slot.log.leader_epoch):
            return
        del self._slots[index]
        slot.end()
        if not slot.is_loading:
            self.spawn(self._unload, slot)

    async def _unload(self, slot: Slot[S]) -> None:
        pace = Pace()
        for effects in slot.shard.unloaded(self._now_ms()):
            self.carry_out(slot, effects)
            if pace.is_over:
                await pace.rest()

    def _begin_to_load(self, slot: Slot[S]) -> None:
        if self._nursery is not None:
            self._loads.add(slot)
            self.spawn(self._load, slot)

    async def _load(self, slot: Slot[S]) -> None:
        try:
            if slot.log.log_start_offset == slot.log.log_end_offset:
                await self._load_now(slot)
                return
            # One after the other: with all at once, others would wait for a slice of each.
            async with self._loading:
                if not slot.is_over():
                    await self._load_now(slot)
        finally:
            self._loads.discard(slot)
            if not self._loads:
                self._until_loaded.unpark_all()

    async def _load_now(self, slot: Slot[S]) -> None:
        started_ms = self._now_ms()
        from pybroker.coordination.runtime.loading import in_slices, read_log

        replay = slot.shard.start_replay()
        pace = Pace()
        try:
            await read_log(slot.log, replay, pace, slot.is_over)
        except StorageError as error:
            # It stays as it is: to serve without what is stored would send consumers back to the start.
            logger.error("%s-%d cannot be loaded: %s", self._name, slot.index, error)
            return
        if slot.is_over():
            return
        await in_slices(slot.shard.loaded(replay, started_ms), pace, partial(self.carry_out, slot))
        if slot.is_over():
            await self._unload(slot)
            return
        slot.is_loading = False
        slot.loaded.set()
        logger.info(
            "%s-%d is loaded, in epoch %d, after %d ms",
            self._name,
            slot.index,
            slot.log.leader_epoch,
            self._now_ms() - started_ms,
        )

    # -- asking --------------------------------------------------------------------------------------

    def serving(self, index: int) -> Slot[S]:
        """The slot of a partition.

        Raises:
            ApiError: COORDINATOR_NOT_AVAILABLE while this broker starts or stops,
                COORDINATOR_LOAD_IN_PROGRESS, or NOT_COORDINATOR.
        """
        if not self.is_running:
            raise ApiError(ErrorCode.COORDINATOR_NOT_AVAILABLE)
        slot = self._slots.get(index)
        if slot is None:
            raise ApiError(ErrorCode.NOT_COORDINATOR)
        if slot.is_loading:
            raise ApiError(ErrorCode.COORDINATOR_LOAD_IN_PROGRESS)
        return slot

    async def when_loaded(self, index: int) -> Slot[S] | None:
        """The slot of a partition as soon as it is served; None if it is not led here any more."""
        slot = self._slots.get(index)
        if slot is not None:
            await slot.loaded.wait()
        return None if slot is None or slot.is_over() else slot

    async def ask(self, slot: Slot[S], decide: Callable[[C, Token, Effects], None], call: C) -> Any:
        """The answer to a call that may have to wait for other members, or for the log."""
        answer = Answer()
        effects = Effects(self._now_ms())
        decide(call, answer, effects)
        self.carry_out(slot, effects)
        return await answer.get()

    def decide(self, slot: Slot[S], decision: Callable[..., T], *arguments: Any) -> T:
        """What a decision answers that waits for nobody; ``decision`` gets its effects as last argument."""
        effects = Effects(self._now_ms())
        answer = decision(*arguments, effects)
        self.carry_out(slot, effects)
        return answer

    # -- carrying out --------------------------------------------------------------------------------

    def carry_out(self, slot: Slot[S], effects: Effects) -> None:
        """Do what was decided, and what follows from what is committed at once."""
        todo: deque[Effect] = deque(effects.items)
        while todo:
            item = todo.popleft()
            if type(item) is Reply:
                item.token.give(item.answer)
            elif type(item) is StartTimer:
                self._start_timer(slot, item)
            elif type(item) is StopTimer:
                timer = slot.timers.pop(item.key, None)
                if timer is not None:
                    timer.cancel()
            elif type(item) is Append:
                todo.extend(self._append(slot, item))
            elif type(item) is SendMarkers:
                self.spawn(self._send_markers, slot, item)

    def _start_timer(self, slot: Slot[S], item: StartTimer) -> None:
        if slot.is_over():
            return
        running = slot.timers.get(item.key)
        if running is not None:
            if not item.replaces:
                return
            running.cancel()
        slot.timers[item.key] = self._timers.schedule(
            item.key.kind, item.when_ms, partial(self._fire, slot, item.key)
        )

    def _fire(self, slot: Slot[S], key: TimerKey) -> None:
        slot.timers.pop(key, None)
        effects = Effects(self._now_ms())
        slot.shard.timer_fired(key, effects)
        self.carry_out(slot, effects)

    def _append(self, slot: Slot[S], item: Append) -> Iterable[Effect]:
        waits = item.then is not None and self._settings.required_acks == ACKS_ALL
        try:
            if slot.is_over():
                raise ApiError(ErrorCode.NOT_LEADER_OR_FOLLOWER)
            if item.records:
                guard = None if item.writer is None else item.writer.guard
                batch = self._batch(item)
                first, slot.written = slot.log.append(batch, all_replicas=waits, guard=guard)
            else:
                first = slot.written
        except ApiError as error:
            if item.then is None:
                logger.warning("%s-%d: tombstones not written: %s", self._name, slot.index, error)
            return self._settle(item, Outcome(error.code))
        effects = Effects(self._now_ms())
        if item.appended is not None:
            item.appended(effects)
        if not waits or self._is_committed(slot, item):
            effects.items.extend(self._settle(item, Outcome(ErrorCode.NONE, first)))
        else:
            deadline_s = trio.current_time() + self._settings.append_timeout_ms / 1000
            slot.uncommitted.append(Appended(item, first, slot.written, deadline_s))
            if not slot.is_settling:
                self.spawn(self._settle_in_order, slot)
                slot.is_settling = True
        return effects.items

    def _is_committed(self, slot: Slot[S], item: Append) -> bool:
        """Who writes nothing only waits for what others have written."""
        if not item.records and not slot.uncommitted:
            return True
        return slot.log.is_committed(slot.written)

    def _batch(self, item: Append) -> bytes:
        from pybroker.records.builder import RecordBatchBuilder
        from pybroker.records.header import CompressionType

        compression, writer = CompressionType(self._settings.compression_codec), item.writer
        if writer is None:
            builder = RecordBatchBuilder(compression=compression)
        else:
            builder = RecordBatchBuilder(
                compression=compression,
                producer_id=writer.producer_id,
                producer_epoch=writer.producer_epoch,
                base_sequence=0,
                is_transactional=True,
            )
        builder.extend(item.records, item.timestamp_ms)
        return builder.build()

    def _settle(self, item: Append, outcome: Outcome) -> Iterable[Effect]:
        if item.then is None:
            return ()
        effects = Effects(self._now_ms())
        item.then.settle(outcome, effects)
        return effects.items

    async def _settle_in_order(self, slot: Slot[S]) -> None:
        """One task for all that wait: with one for each, every move of the high watermark would wake all."""
        pace = Pace()
        try:
            while slot.uncommitted:
                appended = slot.uncommitted[0]
                left_s = max(0.0, appended.deadline_s - trio.current_time())
                try:
                    await slot.log.committed(appended.end, left_s)
                except ApiError as error:
                    outcome = Outcome(error.code)
                else:
                    outcome = Outcome(ErrorCode.NONE, appended.first)
                finally:
                    slot.uncommitted.popleft()
                effects = Effects(self._now_ms())
                effects.items.extend(self._settle(appended.item, outcome))
                self.carry_out(slot, effects)
                if pace.is_over:
                    await pace.rest()
        except Exception:
            self.spawn(self._settle_in_order, slot)  # one group's failure is not the others'
            raise
        slot.is_settling = False

    async def _send_markers(self, slot: Slot[S], item: SendMarkers) -> None:
        """Who sends markers is told how they fared as long as it leads; a new leader sends them again."""
        if item.is_retry:
            await trio.sleep(MARKER_RETRY_S)
        assert self._write_markers is not None
        if slot.is_over():
            return
        codes = await self._write_markers(item, slot.log.leader_epoch)
        if slot.is_over():
            return
        effects = Effects(self._now_ms())
        item.then.settle(codes, effects)
        self.carry_out(slot, effects)


async def _survive(work: Callable[..., Any], *args: object) -> None:
    try:
        await work(*args)
    except Exception:  # the boundary of a bug: one group's failure is not the broker's
        logger.exception("%s failed", getattr(work, "__qualname__", work))
