"""A session with ZooKeeper on the trio thread: the adapter of the store's port.

Everything that kazoo's thread has to say lies in an inbox that the trio thread empties in one go. Requests
wait here, at most ``zookeeper.max.in.flight.requests`` are on their way. While the connection is interrupted
nothing is sent; reads that lost their answer are repeated, writes are not.
"""

import logging
from collections import deque
from collections.abc import Callable, Sequence
from enum import Enum, auto
from typing import Any

import trio

from pybroker.metadata.store import (
    ConnectionLost,
    Create,
    NoNode,
    Op,
    OpResult,
    SessionEvent,
    SessionExpired,
    Stat,
    Store,
    StoreError,
    Watcher,
)
from pybroker.metadata.tree import check_path
from pybroker.metadata.zookeeper.link import (
    Answer,
    Changed,
    Down,
    Event,
    Link,
    Over,
    Question,
    Read,
    ReadKind,
    ReadMany,
    Up,
    WatchKind,
)
from pybroker.metadata.zookeeper.loop_guard import LoopGuard
from pybroker.metadata.zookeeper.settings import ZooKeeperSettings
from pybroker.metadata.zookeeper.translation import Unimplemented
from pybroker.metadata.zookeeper.watches import Watches, seen_state

log = logging.getLogger(__name__)

_PATHS_PER_READ = 100
"""How many nodes one request reads; the data of most is a hundred bytes."""

_CLOSE_S = 5.0
"""How long a stop waits for ZooKeeper before it just leaves."""


class _State(Enum):
    """Whether requests may be sent."""

    CONNECTING = auto()
    RESTORING = auto()
    CONNECTED = auto()
    CLOSED = auto()


class _Call:
    """Requests that one caller waits for together."""

    __slots__ = ("answers", "is_abandoned", "is_done", "open")

    def __init__(self, count: int) -> None:
        self.answers: list[Any] = [None] * count
        self.open = count
        self.is_done = trio.Event()
        self.is_abandoned = False


class _Request:
    """One request of a call."""

    __slots__ = ("call", "index", "question", "watcher")

    def __init__(self, call: _Call, index: int, question: Question, watcher: Watcher | None) -> None:
        self.call = call
        self.index = index
        self.question = question
        self.watcher = watcher

    def settle(self, answer: Any) -> None:
        """Gives the caller a value or a StoreError."""
        self.call.answers[self.index] = answer
        self.call.open -= 1
        if self.call.open == 0:
            self.call.is_done.set()


class _Restored:
    """Asks again for word of a node that is watched; made at a reconnect."""

    __slots__ = ("kind", "path", "question")

    def __init__(self, kind: WatchKind, path: str) -> None:
        self.kind = kind
        self.path = path
        read = ReadKind.EXISTS if kind is WatchKind.DATA else ReadKind.CHILDREN
        self.question = Read(read, path, watched=True)


class ZooKeeperSession(Store):
    """One session after another with ZooKeeper; :meth:`open` makes it."""

    def __init__(self, settings: ZooKeeperSettings) -> None:
        self._settings = settings
        self._token = trio.lowlevel.current_trio_token()
        self._inbox: deque[Event] = deque()
        self._waiting: deque[_Request] = deque()
        self._restoring: deque[_Restored] = deque()
        self._left_to_restore = 0
        self._in_flight = 0
        self._state = _State.CONNECTING
        self._session_id = 0
        self._is_dead = False
        self._has_multi_reads: bool | None = None
        """None until one was tried."""
        self._watches = Watches()
        self._listeners: list[Callable[[SessionEvent], None]] = []
        self._connected = trio.Event()
        self._link = Link(settings, self._post)
        self._guard: LoopGuard | None = None

    @classmethod
    async def open(cls, settings: ZooKeeperSettings) -> "ZooKeeperSession":
        """Connects, and makes the chroot if it is missing.

        Raises:
            ConnectionLost: nobody answered within ``connection_timeout_ms``.
            StoreError: ZooKeeper refuses this broker.
        """
        session = cls(settings)
        try:
            await session._start()
        except BaseException:
            session.abandon()
            raise
        return session

    @property
    def session_id(self) -> int:
        return self._session_id

    async def get(self, path: str, watch: Watcher | None = None) -> tuple[bytes, Stat]:
        found: tuple[bytes, Stat] = await self._ask_one(ReadKind.GET, path, watch)
        return found

    async def get_all(
        self, paths: Sequence[str], watch: Watcher | None = None
    ) -> list[tuple[bytes, Stat] | None]:
        answers = (
            await self._read_many(paths) if watch is None and self._has_multi_reads is not False else None
        )
        if answers is None:
            answers = await self._ask([_read(ReadKind.GET, path, watch) for path in paths], watch)
        found: list[tuple[bytes, Stat] | None] = []
        for answer in answers:
            if isinstance(answer, NoNode):
                found.append(None)
            elif isinstance(answer, StoreError):
                raise answer
            else:
                found.append(answer)
        return found

    async def exists(self, path: str, watch: Watcher | None = None) -> Stat | None:
        stat: Stat | None = await self._ask_one(ReadKind.EXISTS, path, watch)
        return stat

    async def children(self, path: str, watch: Watcher | None = None) -> list[str]:
        names: list[str]
        names, _ = await self._ask_one(ReadKind.CHILDREN, path, watch)
        return names

    async def multi_all(self, multis: Sequence[Sequence[Op]]) -> list[list[OpResult] | StoreError]:
        for ops in multis:
            for op in ops:
                _check_op(op)
        answers = await self._ask(multis, None)
        for answer in answers:
            if isinstance(answer, SessionExpired):
                raise answer
        return answers

    def on_session_event(self, callback: Callable[[SessionEvent], None]) -> Callable[[], None]:
        self._listeners.append(callback)
        return lambda: self._listeners.remove(callback) if callback in self._listeners else None

    async def close(self) -> None:
        if self._state is _State.CLOSED:
            return
        self._leave()
        with trio.move_on_after(_CLOSE_S) as patience:
            await trio.to_thread.run_sync(self._link.stop, abandon_on_cancel=True)
        if patience.cancelled_caught:
            self._link.hold()

    def abandon(self) -> None:
        if self._state is _State.CLOSED:
            return
        self._leave()
        self._link.drop()

    # -- asking --------------------------------------------------------------------------------------

    async def _ask_one(self, kind: ReadKind, path: str, watch: Watcher | None) -> Any:
        (answer,) = await self._ask([_read(kind, path, watch)], watch)
        if isinstance(answer, StoreError):
            raise answer
        return answer

    async def _read_many(self, paths: Sequence[str]) -> list[Any] | None:
        """An answer per path, None from a server that has to be asked for each."""
        for path in paths:
            check_path(path)
        starts = range(0, len(paths), _PATHS_PER_READ)
        pieces = [ReadMany(paths[start : start + _PATHS_PER_READ]) for start in starts]
        answers: list[Any] = []
        # An old server also ends the connection at a request it does not know: it shall meet one of them.
        for group in (pieces,) if self._has_multi_reads else (pieces[:1], pieces[1:]):
            for answer in await self._ask(group, None):
                if isinstance(answer, Unimplemented):
                    self._has_multi_reads = False
                    return None
                if isinstance(answer, StoreError):
                    raise answer
                answers.extend(answer)
                self._has_multi_reads = True
        return answers

    async def _ask(self, questions: Sequence[Question], watcher: Watcher | None) -> list[Any]:
        if self._state is _State.CLOSED:
            raise SessionExpired("the session is closed")
        if not questions:
            await trio.lowlevel.checkpoint()
            return []
        call = _Call(len(questions))
        self._waiting.extend(
            _Request(call, index, question, watcher) for index, question in enumerate(questions)
        )
        self._pump()
        try:
            await call.is_done.wait()
        finally:
            call.is_abandoned = True
        return call.answers

    def _pump(self) -> None:
        """Sends what may be sent."""
        while self._in_flight < self._settings.max_in_flight:
            request: _Restored | _Request
            if self._restoring:
                request = self._restoring.popleft()
            elif self._waiting and self._state is _State.CONNECTED:
                request = self._waiting.popleft()
                if request.call.is_abandoned:
                    continue
            else:
                return
            self._in_flight += 1
            self._link.send(request, request.question)

    # -- what kazoo's thread has to say ----------------------------------------------------------------

    def _post(self, event: Event) -> None:
        """Called on kazoo's thread."""
        self._inbox.append(event)
        try:
            self._token.run_sync_soon(self._empty_inbox, idempotent=True)
        except trio.RunFinishedError:
            return  # nobody is left to hear it

    def _empty_inbox(self) -> None:
        lost_reads: list[_Request] = []
        while self._inbox:
            match self._inbox.popleft():
                case Answer(_Request() as request, value, error):
                    self._in_flight -= 1
                    if self._is_to_be_repeated(request, error):
                        lost_reads.append(request)
                    else:
                        self._answered(request, value, error)
                case Answer(_Restored() as restored, value, error):
                    self._in_flight -= 1
                    self._restored(restored, value, error)
                case Answer(_Call() as call, _, error):
                    call.answers[0] = error
                    call.is_done.set()
                case Changed(kind, path, is_gone):
                    for fired in WatchKind if is_gone else (kind,):
                        self._watches.fire(fired, path)
                case Up(session_id):
                    self._up(session_id)
                case Down():
                    self._down()
                case Over(reason, is_dead):
                    self._waiting.extendleft(reversed(lost_reads))
                    lost_reads.clear()
                    self._over(reason, is_dead)
        self._waiting.extendleft(reversed(lost_reads))
        self._watches.call_due()
        self._pump()

    def _is_to_be_repeated(self, request: _Request, error: StoreError | None) -> bool:
        is_lost_read = isinstance(error, ConnectionLost) and isinstance(request.question, Read | ReadMany)
        return is_lost_read and self._state is not _State.CLOSED

    def _answered(self, request: _Request, value: Any, error: StoreError | None) -> None:
        question = request.question
        if isinstance(question, Read) and request.watcher is not None and not request.call.is_abandoned:
            self._watches.add(question, value, error, request.watcher)
        request.settle(value if error is None else error)

    def _restored(self, restored: _Restored, value: Any, error: StoreError | None) -> None:
        if self._state is not _State.RESTORING:
            return
        if isinstance(error, ConnectionLost | SessionExpired):
            # The next connection begins anew with all of them; what waits to be sent is no use any more.
            self._restoring.clear()
            return
        # Whoever looks again where it is not allowed any more will hear so.
        is_refused = error is not None and not isinstance(error, NoNode)
        seen = self._watches.seen(restored.kind, restored.path)
        if is_refused or seen != seen_state(restored.question, value):
            self._watches.fire(restored.kind, restored.path)
        self._left_to_restore -= 1
        if self._left_to_restore == 0:
            self._connect()

    def _up(self, session_id: int) -> None:
        if self._state is _State.CLOSED:
            return
        if session_id != self._session_id:
            self._session_id = session_id
            self._watches.forget()
        watched = self._watches.all()
        self._restoring = deque(_Restored(kind, path) for kind, path in watched)
        self._left_to_restore = len(watched)
        if watched:
            self._state = _State.RESTORING
        else:
            self._connect()

    def _connect(self) -> None:
        self._state = _State.CONNECTED
        self._connected.set()
        log.info("connected to ZooKeeper at %s, session %#x", self._settings.address, self._session_id)
        self._tell(SessionEvent.CONNECTED)

    def _down(self) -> None:
        if self._state is _State.CLOSED:
            return
        was_connected = self._state is _State.CONNECTED
        self._state = _State.CONNECTING
        self._restoring.clear()
        if was_connected:
            log.warning("the connection to ZooKeeper at %s is interrupted", self._settings.address)
            self._tell(SessionEvent.SUSPENDED)

    def _over(self, reason: str, is_dead: bool) -> None:
        if self._state is _State.CLOSED:
            return
        self._is_dead = is_dead
        self._state = _State.CONNECTING
        self._restoring.clear()
        self._watches.forget()
        self._fail_waiting(SessionExpired(reason))
        log.warning("the session %#x with ZooKeeper is over: %s", self._session_id, reason)
        self._tell(SessionEvent.LOST)

    # -- life ----------------------------------------------------------------------------------------

    async def _start(self) -> None:
        self._link.start()
        self._guard = LoopGuard(
            self._settings.session_timeout_ms, self._revive, self._link.hold, self._link.release
        )
        with trio.move_on_after(self._settings.connection_timeout_ms / 1000):
            await self._connected.wait()
        if not self._connected.is_set():
            reason = self._link.last_failure
            raise ConnectionLost(
                f"no ZooKeeper answers at {self._settings.address} within "
                f"{self._settings.connection_timeout_ms} ms" + (f" ({reason})" if reason else "")
            )
        # Asked in any case: the credentials are looked at after the connection is made.
        if await self.exists("/") is None:
            call = _Call(1)
            self._link.make_chroot(call)
            await call.is_done.wait()
            if call.answers[0] is not None:
                raise call.answers[0]

    def _revive(self) -> None:
        """At every tick: kazoo's thread may have given up for good."""
        if self._is_dead and self._state is not _State.CLOSED:
            self._is_dead = False
            self._link.start()

    def _leave(self) -> None:
        self._state = _State.CLOSED
        if self._guard is not None:
            self._guard.stop()
        self._watches.forget()
        self._listeners.clear()
        self._fail_waiting(SessionExpired("the session is closed"))

    def _fail_waiting(self, error: SessionExpired) -> None:
        while self._waiting:
            self._waiting.popleft().settle(error)

    def _tell(self, event: SessionEvent) -> None:
        for listener in list(self._listeners):
            listener(event)


def _read(kind: ReadKind, path: str, watch: Watcher | None) -> Read:
    check_path(path)
    return Read(kind, path, watched=watch is not None)


def _check_op(op: Op) -> None:
    """A sequential node's path may end in a slash: the digits come behind it."""
    if isinstance(op, Create) and op.sequential:
        check_path(f"{op.path}0")
    else:
        check_path(op.path)
