"""The embedded store: the whole tree in memory, every change on disk before it is answered.

One :class:`EmbeddedStore` owns a directory; each broker of the process has its own session with it. This is
the trio shell over the pure tree and the blocking journal: writers queue up, whoever holds the lock decides,
persists and applies all that is queued with one sync.
"""

import logging
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

import trio

from pybroker.metadata import journal as files
from pybroker.metadata.directory_lock import DirectoryLock
from pybroker.metadata.store import (
    MultiFailed,
    NoNode,
    Op,
    OpResult,
    SessionEvent,
    SessionExpired,
    Stat,
    Store,
    StoreError,
    StoreFailed,
    Watcher,
)
from pybroker.metadata.tree import Decider, Fired, Transaction, Tree

log = logging.getLogger(__name__)

DEFAULT_SNAPSHOT_AFTER_BYTES = 8 << 20
DEFAULT_SESSION_TIMEOUT_MS = 18_000
_NODES_PER_SLICE = 200


class Timers(Protocol):
    """The part of the broker's timer queue that ends abandoned sessions."""

    def schedule(self, kind: str, when_ms: int, callback: Callable[[], None]) -> object:
        """Calls back on the trio thread once broker time has reached ``when_ms``."""


class _Request:
    """What one caller wants committed: multis of one session, or the end of sessions."""

    __slots__ = ("ending", "is_done", "multis", "results", "session_id")

    def __init__(self, session_id: int, multis: Sequence[Sequence[Op]], *, ending: bool = False) -> None:
        self.session_id = session_id
        self.multis = multis
        self.ending = ending
        self.is_done = False
        self.results: list[list[OpResult] | StoreError] = []


class EmbeddedStore:
    """Owner of the tree, its journal and its sessions, from :meth:`open` to :meth:`close`."""

    def __init__(
        self,
        directory: Path,
        lock: DirectoryLock,
        tree: Tree,
        now_ms: Callable[[], int],
        timers: Timers | None,
        snapshot_after_bytes: int,
        syncs: bool,
    ) -> None:
        self._directory = directory
        self._lock = lock
        self._tree = tree
        self._now_ms = now_ms
        self._timers = timers
        self._snapshot_after_bytes = snapshot_after_bytes
        self._syncs = syncs
        self._journal = files.Journal(directory, tree.last_zxid + 1, syncs=syncs)
        self._commit_lock = trio.Lock()
        self._queue: deque[_Request] = deque()
        self._expired: list[int] = []
        self._expiry = trio.Event()
        self._sessions: dict[int, EmbeddedSession] = {}
        self._live_ids: set[int] = set()
        self._last_session_id = now_ms() << 16
        self._is_closed = False

    @classmethod
    def open(
        cls,
        directory: Path,
        *,
        now_ms: Callable[[], int],
        timers: Timers | None = None,
        snapshot_after_bytes: int = DEFAULT_SNAPSHOT_AFTER_BYTES,
        syncs: bool = True,
    ) -> "EmbeddedStore":
        """Reads the directory, makes it if it is missing, and drops what sessions of the past left behind.

        Blocks, for start-up only; must be called inside ``trio.run``. Without ``timers`` an abandoned
        session stands until :meth:`expire_session`. Without ``syncs`` a change outlives the process but
        maybe not the machine, and is written without the detour over a thread.

        Raises:
            JournalCorrupt: the files were damaged.
            DirectoryLocked: another process has the directory open.
            OSError: the directory cannot be used.
        """
        directory.mkdir(parents=True, exist_ok=True)
        lock = DirectoryLock(directory / ".lock")
        try:
            tree = files.load(directory)
            store = cls(directory, lock, tree, now_ms, timers, snapshot_after_bytes, syncs)
            store._start()
        except (OSError, StoreError):
            lock.release()
            raise
        return store

    def session(self, timeout_ms: int = DEFAULT_SESSION_TIMEOUT_MS) -> "EmbeddedSession":
        """A new session. ``timeout_ms`` of broker time after :meth:`EmbeddedSession.abandon` it expires."""
        return EmbeddedSession(self, timeout_ms)

    async def run(self) -> None:
        """Ends abandoned sessions when their time is over. Never returns; without it they stand."""
        while True:
            await self._expiry.wait()
            self._expiry = trio.Event()
            while self._expired:
                await self._end_session(self._expired.pop())

    async def expire_session(self, session_id: int) -> None:
        """Ends a session as if its time were over. A session whose owner still lives is told LOST, gets a
        new id and is told CONNECTED."""
        await self._end_session(session_id)

    async def close(self) -> None:
        """Ends all sessions and closes the files, after a snapshot if that spares the next start work."""
        if self._is_closed:
            return
        with trio.CancelScope(shield=True):
            for session in list(self._sessions.values()):
                await session.close()
            if self._journal.size_bytes > self._snapshot_after_bytes // 8:
                await self._snapshot()
        self._is_closed = True
        self._journal.close()
        self._lock.release()

    def _start(self) -> None:
        leftover = self._tree.deciding().end_of_sessions(list(self._tree.ephemerals), self._now_ms())
        if leftover.changes:
            self._journal.append(files.encode_transactions([leftover]))
            self._tree.apply(leftover)

    def _new_session_id(self) -> int:
        self._last_session_id += 1
        self._live_ids.add(self._last_session_id)
        return self._last_session_id

    def _expire_later(self, session_id: int, timeout_ms: int) -> None:
        if self._timers is not None:
            self._timers.schedule("session", self._now_ms() + timeout_ms, lambda: self._expire(session_id))

    def _expire(self, session_id: int) -> None:
        self._expired.append(session_id)
        self._expiry.set()

    async def _end_session(self, session_id: int) -> None:
        request = _Request(session_id, (), ending=True)
        await self._commit(request)
        session = self._sessions.pop(session_id, None)
        if session is not None:
            session._ended()

    async def _commit(self, request: _Request) -> None:
        if self._is_closed:
            raise StoreFailed("the metadata store is closed")
        self._queue.append(request)
        with trio.CancelScope(shield=True):
            async with self._commit_lock:
                if not request.is_done:
                    await self._commit_queue()
                if self._journal.size_bytes >= self._snapshot_after_bytes:
                    await self._snapshot()

    async def _commit_queue(self) -> None:
        """Decide, persist, apply: everything queued, with one sync. The commit lock is held."""
        requests = list(self._queue)
        self._queue.clear()
        decider = self._tree.deciding()
        decided = [self._decide(decider, request) for request in requests]
        to_write = [
            transaction
            for transactions in decided
            for transaction in transactions
            if isinstance(transaction, Transaction) and transaction.changes
        ]
        if to_write:
            try:
                await self._write(files.encode_transactions(to_write))
            except StoreFailed as failure:
                log.error("%s", failure)
                decided = [[failure] * len(transactions) for transactions in decided]
        for request, transactions in zip(requests, decided, strict=True):
            self._apply(request, transactions)

    async def _write(self, line: bytes) -> None:
        if self._syncs:
            await trio.to_thread.run_sync(self._journal.append, line)
        else:
            self._journal.append(line)

    def _decide(self, decider: Decider, request: _Request) -> list[Transaction | StoreError]:
        now_ms = self._now_ms()
        if request.ending:
            # From here on, not from the moment it is applied: nothing may be created under it in between.
            self._live_ids.discard(request.session_id)
            return [decider.end_of_sessions([request.session_id], now_ms)]
        if request.session_id not in self._live_ids:
            return [SessionExpired()] * len(request.multis)
        decided: list[Transaction | StoreError] = []
        for ops in request.multis:
            try:
                decided.append(decider.multi(ops, request.session_id, now_ms))
            except MultiFailed as refused:
                decided.append(refused)
        return decided

    def _apply(self, request: _Request, decided: Sequence[Transaction | StoreError]) -> None:
        for index, transaction in enumerate(decided):
            if isinstance(transaction, StoreError):
                request.results.append(transaction)
                continue
            if transaction.changes:
                fired = self._tree.apply(transaction)
                for session in list(self._sessions.values()):
                    session._fire(fired)
            if not request.ending:
                request.results.append(self._tree.results(request.multis[index], transaction))
        request.is_done = True

    async def _snapshot(self) -> None:
        """Writes the tree and starts the journal over. The tree does not change meanwhile: writers wait."""
        zxid = self._tree.last_zxid
        lines: list[bytes] = []
        for line in files.snapshot_lines(self._tree):
            lines.append(line)
            if len(lines) % _NODES_PER_SLICE == 0:
                await trio.lowlevel.checkpoint()
        try:
            await trio.to_thread.run_sync(self._journal.start_over, zxid + 1)
            await trio.to_thread.run_sync(files.write_snapshot, self._directory, zxid, lines)
        except OSError as error:
            log.error("cannot write a snapshot of the metadata: %s", error)


class EmbeddedSession(Store):
    """One session with the embedded store."""

    def __init__(self, owner: EmbeddedStore, timeout_ms: int) -> None:
        self._owner = owner
        self._timeout_ms = timeout_ms
        self._session_id = 0
        self._is_open = True
        self._data_watches: dict[str, dict[Watcher, None]] = {}
        self._child_watches: dict[str, dict[Watcher, None]] = {}
        self._listeners: list[Callable[[SessionEvent], None]] = []
        self._begin()

    @property
    def session_id(self) -> int:
        return self._session_id

    async def get(self, path: str, watch: Watcher | None = None) -> tuple[bytes, Stat]:
        self._check_open()
        await trio.lowlevel.checkpoint()
        node = self._tree.find(path)
        self._watch(self._data_watches, path, watch)
        return node.data, node.stat()

    async def get_all(
        self, paths: Sequence[str], watch: Watcher | None = None
    ) -> list[tuple[bytes, Stat] | None]:
        found: list[tuple[bytes, Stat] | None] = []
        for position, path in enumerate(paths):
            self._check_open()
            if position % _NODES_PER_SLICE == 0:
                await trio.lowlevel.checkpoint()
            try:
                node = self._tree.find(path)
            except NoNode:
                found.append(None)
                continue
            self._watch(self._data_watches, path, watch)
            found.append((node.data, node.stat()))
        return found

    async def exists(self, path: str, watch: Watcher | None = None) -> Stat | None:
        self._check_open()
        await trio.lowlevel.checkpoint()
        try:
            stat = self._tree.find(path).stat()
        except NoNode:
            stat = None
        self._watch(self._data_watches, path, watch)
        return stat

    async def children(self, path: str, watch: Watcher | None = None) -> list[str]:
        self._check_open()
        await trio.lowlevel.checkpoint()
        names = sorted(self._tree.find(path).children)
        self._watch(self._child_watches, path, watch)
        return names

    async def multi_all(self, multis: Sequence[Sequence[Op]]) -> list[list[OpResult] | StoreError]:
        self._check_open()
        request = _Request(self._session_id, multis)
        await self._owner._commit(request)
        for result in request.results:
            if isinstance(result, SessionExpired | StoreFailed):
                raise result
        return request.results

    def on_session_event(self, callback: Callable[[SessionEvent], None]) -> Callable[[], None]:
        self._listeners.append(callback)
        return lambda: self._listeners.remove(callback) if callback in self._listeners else None

    async def close(self) -> None:
        if not self._is_open:
            return
        self._is_open = False
        self._forget_watches()
        self._listeners.clear()
        await self._owner._end_session(self._session_id)

    def abandon(self) -> None:
        if not self._is_open:
            return
        self._is_open = False
        self._forget_watches()
        self._listeners.clear()
        self._owner._expire_later(self._session_id, self._timeout_ms)

    @property
    def _tree(self) -> Tree:
        return self._owner._tree

    def _check_open(self) -> None:
        if not self._is_open:
            raise SessionExpired("the session is closed")

    def _begin(self) -> None:
        self._session_id = self._owner._new_session_id()
        self._owner._sessions[self._session_id] = self

    def _ended(self) -> None:
        self._forget_watches()
        if not self._is_open:
            return
        self._tell(SessionEvent.LOST)
        self._begin()
        self._tell(SessionEvent.CONNECTED)

    def _tell(self, event: SessionEvent) -> None:
        for listener in list(self._listeners):
            listener(event)

    def _watch(self, watches: dict[str, dict[Watcher, None]], path: str, watch: Watcher | None) -> None:
        if watch is not None:
            watches.setdefault(path, {})[watch] = None

    def _forget_watches(self) -> None:
        self._data_watches.clear()
        self._child_watches.clear()

    def _fire(self, fired: Fired) -> None:
        due: dict[tuple[str, Watcher], None] = {}
        for watches, paths in ((self._data_watches, fired.data), (self._child_watches, fired.children)):
            for path in paths:
                for watcher in watches.pop(path, ()):
                    due[path, watcher] = None
        for path, watcher in due:
            watcher(path)
