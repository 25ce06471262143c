"""kazoo as a stream of plain values: requests go in, what comes back is posted in the order of the wire.

kazoo's own handler has two threads for callbacks, so that a watch and the answer behind it may change
places. Here everything is posted straight from the thread that reads the connection. ``post`` must not block
or raise.
"""

import logging
import socket
import threading
from collections.abc import Callable, Sequence
from enum import Enum, auto
from typing import Any, TypeAlias

from attrs import frozen
from kazoo import exceptions
from kazoo.client import KazooClient
from kazoo.handlers.threading import KazooTimeoutError, SequentialThreadingHandler
from kazoo.protocol import serialization
from kazoo.protocol.states import Callback, EventType, KazooState, KeeperState, WatchedEvent, ZnodeStat
from kazoo.retry import KazooRetry
from kazoo.security import ACL, Id

from pybroker.metadata.store import (
    BadVersion,
    Check,
    ConnectionLost,
    Create,
    Delete,
    InvalidPath,
    MultiFailed,
    NoChildrenForEphemerals,
    NodeExists,
    NoNode,
    NotEmpty,
    Op,
    OpResult,
    SessionExpired,
    SetData,
    Stat,
    StoreError,
)
from pybroker.metadata.zookeeper.acls import acl_of
from pybroker.metadata.zookeeper.settings import SASL, Credential, ZooKeeperSettings

_RECONNECT_DELAY_S = 0.1
_RECONNECT_MAX_DELAY_S = 1.0
_EPHEMERAL = 1
_SEQUENTIAL = 2

REFUSED = "ZooKeeper refused the credentials"

FAILURES = (exceptions.KazooException, KazooTimeoutError)
"""Everything that kazoo raises for what a server or the network did."""

_ERRORS: tuple[tuple[type[Exception], type[StoreError]], ...] = (
    (exceptions.NoNodeError, NoNode),
    (exceptions.NodeExistsError, NodeExists),
    (exceptions.BadVersionError, BadVersion),
    (exceptions.NotEmptyError, NotEmpty),
    (exceptions.NoChildrenForEphemeralsError, NoChildrenForEphemerals),
    (exceptions.BadArgumentsError, InvalidPath),
    (exceptions.SessionExpiredError, SessionExpired),
    (exceptions.ConnectionLoss, ConnectionLost),
    (exceptions.OperationTimeoutError, ConnectionLost),
    (exceptions.ConnectionDropped, ConnectionLost),
    (KazooTimeoutError, ConnectionLost),
)
_NOT_THE_CAUSE = (exceptions.RolledBackError, exceptions.RuntimeInconsistency)
"""What stands in a refused multi for the operations before and after the one that was refused."""


class ReadKind(Enum):
    """The three ways to look at a node."""

    GET = auto()
    EXISTS = auto()
    CHILDREN = auto()


@frozen
class Read:
    """Looks at a node and, if ``watched``, asks for one word of its next change."""

    kind: ReadKind
    path: str
    watched: bool = False


Question: TypeAlias = Read | Sequence[Op]
"""A read, or the operations of one multi."""


class WatchKind(Enum):
    """The two lists of watches that a server keeps per path."""

    DATA = auto()
    CHILDREN = auto()


@frozen
class Answer:
    """What became of one request. A read has (data, Stat), Stat or None, or (names, Stat) as its value."""

    request: Any
    value: Any = None
    error: StoreError | None = None


@frozen
class Changed:
    """A watch has fired: the node may look different now. If it is gone, all watches on it have fired."""

    kind: WatchKind
    path: str
    is_gone: bool = False


@frozen
class Up:
    """There is a connection with this session."""

    session_id: int


@frozen
class Down:
    """The connection is gone; every request on its way has been answered with ConnectionLost."""


@frozen
class Over:
    """The session is over. If ``is_dead``, nothing more happens until :meth:`Link.start`."""

    reason: str
    is_dead: bool = False


Event: TypeAlias = Answer | Changed | Up | Down | Over


class Link:
    """One kazoo client. Not connected before :meth:`start`; afterwards it connects again for ever."""

    def __init__(self, settings: ZooKeeperSettings, post: Callable[[Event], None]) -> None:
        self._settings = settings
        self._post = post
        self._handler = _Handler(settings)
        # What kazoo would log again at every attempt, the session says once.
        quiet = logging.getLogger(f"{__name__}.kazoo")
        quiet.setLevel(logging.ERROR)
        self._client = KazooClient(
            settings.hosts,
            timeout=settings.session_timeout_ms / 1000,
            handler=self._handler,
            **_login(settings.auth),
            connection_retry=KazooRetry(
                max_tries=-1, delay=_RECONNECT_DELAY_S, max_delay=_RECONNECT_MAX_DELAY_S
            ),
            logger=quiet,
        )
        self._client.add_listener(self._on_state)

    @property
    def last_failure(self) -> str:
        """Why the latest attempt to connect failed; empty if none did."""
        return self._handler.last_failure

    def start(self) -> None:
        """Begins to connect, in a thread."""
        self._client.start_async()

    def send(self, request: object, question: Question) -> None:
        """Sends a request; an :class:`Answer` with the same object will be posted."""
        if isinstance(question, Read):
            result = self._read(question)
        else:
            transaction = self._client.transaction()
            transaction.operations.extend(self._operation(op) for op in question)
            result = transaction.commit_async()
        result.rawlink(lambda done: self._post(self._answer(request, question, done)))

    def make_chroot(self, request: object) -> None:
        """Creates the chroot where it is missing; an :class:`Answer` without a value will be posted."""
        chroot = self._settings.chroot
        result = self._client.ensure_path_async(chroot, self._acl(chroot))
        result.rawlink(lambda done: self._post(Answer(request, None, _failure(done, chroot))))

    def hold(self) -> None:
        """Drops the connection, and makes no new one until :meth:`release`: the session is left to expire."""
        self._handler.hold()

    def release(self) -> None:
        """Lets it connect again."""
        self._handler.release()

    def stop(self) -> None:
        """Ends the session and the connection. Blocks, a session timeout at the most."""
        self._client.stop()
        self._client.close()

    def drop(self) -> None:
        """Leaves as a killed process does: the session stands until it expires. Does not block."""
        self._handler.hold()
        threading.Thread(target=self.stop, name="zookeeper-drop", daemon=True).start()

    def _read(self, question: Read) -> Any:
        path = self._full(question.path)
        match question.kind:
            case ReadKind.GET:
                return self._client.get_async(path, self._on_data if question.watched else None)
            case ReadKind.EXISTS:
                return self._client.exists_async(path, self._on_data if question.watched else None)
            case ReadKind.CHILDREN:
                return self._client.get_children_async(
                    path, self._on_children if question.watched else None, include_data=True
                )

    def _operation(self, op: Op) -> Any:
        path = self._full(op.path)
        match op:
            case Create():
                flags = _EPHEMERAL * op.ephemeral | _SEQUENTIAL * op.sequential
                return serialization.Create(path, op.data, self._acl(op.path), flags)
            case SetData():
                return serialization.SetData(path, op.data, op.version)
            case Delete():
                return serialization.Delete(path, op.version)
            case Check():
                return serialization.CheckVersion(path, op.version)

    def _acl(self, path: str) -> list[ACL]:
        return [
            ACL(rule.permissions, Id(rule.scheme, rule.id))
            for rule in acl_of(path, secure=self._settings.set_acl)
        ]

    def _full(self, path: str) -> str:
        return self._settings.chroot + path if path != "/" else self._settings.chroot or "/"

    # -- on kazoo's thread ---------------------------------------------------------------------------

    def _answer(self, request: object, question: Question, done: Any) -> Answer:
        if isinstance(question, Read):
            error = _failure(done, question.path)
            return Answer(request, _value(question.kind, done.value) if error is None else None, error)
        error = _failure(done, question[0].path) or _refusal(question, done.value)
        return Answer(request, None if error else self._results(question, done.value), error)

    def _results(self, ops: Sequence[Op], results: Sequence[Any]) -> list[OpResult]:
        own: list[OpResult] = []
        for op, result in zip(ops, results, strict=True):
            match op:
                case Create():
                    own.append(self._own(result))
                case SetData():
                    own.append(stat_of(result))
                case _:
                    own.append(None)
        return own

    def _own(self, path: str) -> str:
        return path[len(self._settings.chroot) :] or "/"

    def _on_data(self, event: WatchedEvent) -> None:
        self._on_watch(WatchKind.DATA, event)

    def _on_children(self, event: WatchedEvent) -> None:
        self._on_watch(WatchKind.CHILDREN, event)

    def _on_watch(self, kind: WatchKind, event: WatchedEvent) -> None:
        # At a lost connection kazoo calls every watch with this type, and forgets them.
        if event.type != EventType.NONE:
            self._post(Changed(kind, self._own(event.path), event.type == EventType.DELETED))

    def _on_state(self, state: str) -> None:
        match state:
            case KazooState.CONNECTED:
                session_id, _ = self._client.client_id
                self._post(Up(session_id))
            case KazooState.SUSPENDED:
                self._post(Down())
            case KazooState.LOST:
                self._post(_end(self._client.client_state))


class _Handler(SequentialThreadingHandler):  # type: ignore[misc]
    """Calls back on the connection's thread, and makes the sockets."""

    def __init__(self, settings: ZooKeeperSettings) -> None:
        super().__init__()
        self.last_failure = ""
        self._tls = settings.tls
        self._timeout_s = settings.session_timeout_ms / 1000 / len(settings.hosts.split(","))
        self._socket: socket.socket | None = None
        self._is_held = False
        self._lock = threading.Lock()

    def start(self) -> None:
        """No threads: ``running`` stays False, so that results call back at once."""

    def stop(self) -> None:
        """Nothing was started."""

    def dispatch_callback(self, callback: Callback) -> None:
        callback.func(*callback.args)

    def create_connection(
        self, address: tuple[str, int], hostname: str | None = None, **_settings: object
    ) -> socket.socket:
        try:
            connection = self._connect(address, hostname)
        except OSError as error:
            self.last_failure = f"{address[0]}:{address[1]}: {error.strerror or error}"
            raise
        self.last_failure = ""
        return connection

    def hold(self) -> None:
        with self._lock:
            self._is_held = True
            if self._socket is not None:
                _shut(self._socket)

    def release(self) -> None:
        with self._lock:
            self._is_held = False

    def _connect(self, address: tuple[str, int], hostname: str | None) -> socket.socket:
        connection = socket.create_connection(address, self._timeout_s)
        try:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self._tls is not None:
                connection = self._tls.wrap_socket(connection, server_hostname=hostname)
            with self._lock:
                if self._is_held:
                    raise ConnectionAbortedError("the connection is held back")
                self._socket = connection
        except OSError:
            connection.close()
            raise
        return connection


def _login(credential: Credential | None) -> dict[str, Any]:
    if credential is None:
        return {}
    if credential.scheme == SASL:
        login = {"username": credential.user, "password": credential.password}
        return {"sasl_options": {"mechanism": "DIGEST-MD5", **login}}
    return {"auth_data": [(credential.scheme, f"{credential.user}:{credential.password}")]}


def _shut(connection: socket.socket) -> None:
    try:
        connection.shutdown(socket.SHUT_RDWR)
    except OSError:
        return  # it was closed already


def _end(state: str) -> Over:
    match state:
        case KeeperState.EXPIRED_SESSION:
            return Over("it expired")
        case KeeperState.AUTH_FAILED:
            return Over(REFUSED, is_dead=True)
        case _:
            return Over("the connection was closed", is_dead=True)


def _value(kind: ReadKind, value: Any) -> Any:
    match kind:
        case ReadKind.EXISTS:
            return None if value is None else stat_of(value)
        case ReadKind.GET:
            return value[0] or b"", stat_of(value[1])
        case ReadKind.CHILDREN:
            return sorted(value[0]), stat_of(value[1])


def _failure(done: Any, path: str) -> StoreError | None:
    return None if done.exception is None else store_error(done.exception, path)


def _refusal(ops: Sequence[Op], results: Sequence[Any]) -> MultiFailed | None:
    for index, result in enumerate(results):
        if isinstance(result, Exception) and not isinstance(result, _NOT_THE_CAUSE):
            return MultiFailed(index, store_error(result, ops[index].path))
    return None


def store_error(error: Exception, path: str = "") -> StoreError:
    """kazoo's failure in the words of the port."""
    for theirs, ours in _ERRORS:
        if isinstance(error, theirs):
            return ours(path or str(error) or type(error).__name__)
    if isinstance(error, exceptions.AuthFailedError):
        return StoreError(REFUSED)
    reason = "no permission for" if isinstance(error, exceptions.NoAuthError) else type(error).__name__
    return StoreError(f"ZooKeeper: {reason} {path or error}".rstrip())


def stat_of(stat: ZnodeStat) -> Stat:
    """kazoo's Stat as the port's."""
    return Stat(
        czxid=stat.czxid,
        mzxid=stat.mzxid,
        pzxid=stat.pzxid,
        ctime_ms=stat.ctime,
        mtime_ms=stat.mtime,
        version=stat.version,
        cversion=stat.cversion,
        ephemeral_owner=stat.ephemeralOwner,
        data_length=stat.dataLength,
        num_children=stat.numChildren,
    )
