"""The controller of one broker: takes part in every election, and while it has won, runs the cluster.

One task handles one event after another, so nothing here needs a lock. Every write carries the epoch of its
election; the first one that is refused ends the term.
"""

import logging
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

import trio

from pybroker.controller.channels import Channels, Connect
from pybroker.controller.events import EventQueue
from pybroker.controller.failover import fail_over
from pybroker.controller.fencing import ControllerMoved
from pybroker.controller.rebalancing import RebalanceTimer
from pybroker.controller.term import ControllerConfig, Term
from pybroker.instruments.clock import TimerQueue
from pybroker.metadata.store import (
    BadVersion,
    ConnectionLost,
    Create,
    Delete,
    MultiFailed,
    NodeExists,
    NoNode,
    SessionEvent,
    SessionExpired,
    SetData,
    Stat,
    Store,
    StoreError,
    StoreFailed,
)
from pybroker.metadata.znodes import ControllerEpochZNode, ControllerZNode
from pybroker.model.errors import ApiError, ErrorCode
from pybroker.model.ids import NO_LEADER, BrokerId, ControllerEpoch

log = logging.getLogger(__name__)

_RETRY_AFTER_SECONDS = 0.5
_T = TypeVar("_T")


class _Answer(Generic[_T]):
    """What a caller outside the event loop waits for."""

    def __init__(self) -> None:
        self.done = trio.Event()
        self.error: Exception | None = None
        self.values: list[_T] = []


class Controller:
    """One per broker. :meth:`run` it for as long as the broker is registered.

    Args:
        config: settings.
        store: the broker's session; the broker is registered with it.
        connect: makes the channel to a broker.
        now_ms: broker time.
        timers: for the automatic preferred elections; without them there are none.
        reregister: registers the broker again, after its session was lost and before the next election.
    """

    def __init__(
        self,
        config: ControllerConfig,
        store: Store,
        connect: Connect,
        *,
        now_ms: Callable[[], int],
        timers: TimerQueue | None = None,
        reregister: Callable[[], Awaitable[object]] | None = None,
    ) -> None:
        self.active_id: BrokerId = NO_LEADER
        self._config = config
        self._store = store
        self._connect = connect
        self._now_ms = now_ms
        self._rebalancing = RebalanceTimer(config, timers, now_ms)
        self._reregister = reregister
        self._events = EventQueue()
        self._term: Term | None = None
        self._nursery: trio.Nursery | None = None
        self._session_id = store.session_id

    @property
    def is_active(self) -> bool:
        """Whether this broker is the controller, as far as it knows."""
        return self._term is not None

    @property
    def epoch(self) -> ControllerEpoch:
        """The epoch of the current term, 0 without one."""
        return 0 if self._term is None else self._term.context.epoch

    async def told(self, broker_id: BrokerId) -> None:
        """Waits until a broker knows what this controller had to tell it; at once if this is none."""
        if self._term is not None:
            await self._term.channels.drained(broker_id)

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Elects, and handles events until it is cancelled. Started once the first election is decided."""
        end = self._store.on_session_event(self._on_session_event)
        try:
            async with trio.open_nursery() as self._nursery:
                # The session may have been lost since the broker was registered with it.
                self._events.put(self._on_connected, "connected")
                await self._handle(await self._events.take())
                task_status.started()
                while True:
                    await self._handle(await self._events.take())
        finally:
            end()
            self._end_term()

    async def submit(self, work: Callable[[Term], Awaitable[_T]]) -> _T:
        """Lets the event loop do something for a caller outside of it.

        Raises:
            ApiError: NOT_CONTROLLER if this broker is not, or is not any more; whatever the work raises.
        """
        answer: _Answer[_T] = _Answer()

        async def handle() -> None:
            try:
                if self._term is None:
                    raise ApiError(ErrorCode.NOT_CONTROLLER)
                answer.values.append(await work(self._term))
            except ApiError as error:
                answer.error = error
            except (ControllerMoved, StoreError):
                answer.error = ApiError(ErrorCode.NOT_CONTROLLER)
                raise
            finally:
                if not answer.values and answer.error is None:
                    answer.error = ApiError(ErrorCode.UNKNOWN_SERVER_ERROR)
                answer.done.set()

        self._events.put(handle)
        await answer.done.wait()
        if answer.error is not None:
            raise answer.error
        return answer.values[0]

    async def resign(self) -> None:
        """Gives the office up, if this broker holds it, and takes part in the next election."""

        async def give_up(term: Term) -> None:
            self._end_term()
            try:
                await term.fenced.multi([Delete(ControllerZNode.path)])
            except MultiFailed as refused:
                if not isinstance(refused.error, NoNode):
                    raise

        if self.is_active:
            await self.submit(give_up)

    async def _handle(self, handler: Callable[[], Awaitable[None]]) -> None:
        try:
            await handler()
        except ControllerMoved:
            log.warning("another controller was elected")
            self._end_term()
            self._events.put(self._elect, "election")
        except SessionExpired:
            self._end_term()
        except (ConnectionLost, StoreFailed) as error:
            # The outcome of a write may be unknown: forget everything and read it again.
            log.warning("the controller starts over: %r", error)
            self._end_term()
            await trio.sleep(_RETRY_AFTER_SECONDS)
            self._events.put(self._elect, "election")
        except Exception:  # one event must not end the controller
            log.exception("the controller failed to handle an event")

    async def _elect(self) -> None:
        """Follows the controller there is, or tries to become it."""
        while True:
            if await self._store.exists(ControllerZNode.path, self._on_controller_watch) is not None:
                try:
                    data, stat = await self._store.get(ControllerZNode.path)
                except NoNode:
                    continue
                holder = ControllerZNode.decode(data)
                if stat.ephemeral_owner == self._store.session_id:
                    await self._go_on()
                else:
                    self._end_term()
                    self.active_id = holder.broker_id
                return
            self._end_term()
            if await self._try_to_win():
                return

    async def _try_to_win(self) -> bool:
        """False when somebody else was faster."""
        epoch, version = await self._read_epoch()
        node = ControllerZNode(self._config.broker_id, self._now_ms())
        try:
            results = await self._store.multi(
                [
                    Create(ControllerZNode.path, node.encode(), ephemeral=True),
                    SetData(ControllerEpochZNode.path, ControllerEpochZNode.encode(epoch + 1), version),
                ]
            )
        except MultiFailed as refused:
            if not isinstance(refused.error, NodeExists | BadVersion):
                raise
            return False
        stat = results[1]
        assert isinstance(stat, Stat)
        await self._begin_term(epoch + 1, stat.version)
        return True

    async def _go_on(self) -> None:
        """/controller is this session's: takes office again if that was interrupted."""
        if self._term is None:
            await self._begin_term(*await self._read_epoch())

    async def _begin_term(self, epoch: ControllerEpoch, epoch_version: int) -> None:
        assert self._nursery is not None
        channels = Channels(self._nursery, self._connect)
        term = Term(self._config, self._store, epoch, epoch_version, channels, self._events)
        self._term = term
        self.active_id = self._config.broker_id
        log.info("broker %d is the controller, epoch %d", self._config.broker_id, epoch)
        try:
            await fail_over(term)
        except Exception:
            # A controller that knows half of the cluster is worse than none.
            self._end_term()
            raise
        self._rebalancing.begin(term)

    def _end_term(self) -> None:
        self._rebalancing.end()
        self.active_id = NO_LEADER
        if self._term is not None:
            log.info("broker %d is not the controller any more", self._config.broker_id)
            self._term.end()
            self._term = None

    async def _read_epoch(self) -> tuple[ControllerEpoch, int]:
        while True:
            try:
                data, stat = await self._store.get(ControllerEpochZNode.path)
            except NoNode:
                try:
                    await self._store.create(ControllerEpochZNode.path, ControllerEpochZNode.encode(0))
                except NodeExists:
                    continue
                continue
            return ControllerEpochZNode.decode(data), stat.version

    async def _on_connected(self) -> None:
        if self._session_id != self._store.session_id:
            self._session_id = self._store.session_id
            self._end_term()
            if self._reregister is not None:
                await self._reregister()
        await self._elect()

    def _on_controller_watch(self, path: str) -> None:  # noqa: ARG002
        self._events.put(self._elect, "election")

    def _on_session_event(self, event: SessionEvent) -> None:
        match event:
            case SessionEvent.LOST:
                self._end_term()
            case SessionEvent.CONNECTED:
                self._events.put(self._on_connected, "connected")
            case SessionEvent.SUSPENDED:
                log.info("the connection to the metadata store is interrupted")
