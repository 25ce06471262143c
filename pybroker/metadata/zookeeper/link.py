"""kazoo as a stream of plain values: requests go in, what comes back is posted in the order of the wire.

kazoo's own handler has two threads for callbacks, so that a watch and the answer behind it may change
places. Here everything is posted straight from the thread that reads the connection. ``post`` must not block
or raise.
"""

import logging
import threading
from collections.abc import Callable, Sequence
from enum import Enum, auto
from typing import Any, TypeAlias

from kazoo.client import KazooClient
from kazoo.protocol import serialization
from kazoo.protocol.states import EventType, KazooState, KeeperState, WatchedEvent
from kazoo.retry import KazooRetry
from kazoo.security import ACL, Id

from pybroker.metadata.store import Check, Create, Delete, Op, OpResult, SetData, Stat, StoreError
from pybroker.metadata.zookeeper.acls import acl_of
from pybroker.metadata.zookeeper.handler import Handler
from pybroker.metadata.zookeeper.multi_read import Found, MultiRead
from pybroker.metadata.zookeeper.settings import SASL, Credential, ZooKeeperSettings
from pybroker.metadata.zookeeper.translation import REFUSED, failure, refusal, stat_of, store_error
from pybroker.model.values import Value

_RECONNECT_DELAY_S = 0.1
_RECONNECT_MAX_DELAY_S = 1.0
_EPHEMERAL = 1
_SEQUENTIAL = 2


class ReadKind(Enum):
    """The three ways to look at a node."""

    GET = auto()
    EXISTS = auto()
    CHILDREN = auto()


class Read(Value):
    """Looks at a node and, if ``watched``, asks for one word of its next change."""

    kind: ReadKind
    path: str
    watched: bool = False


class ReadMany(Value):
    """Reads nodes in one go, none of them watched. Not served before ZooKeeper 3.6."""

    paths: Sequence[str]


Question: TypeAlias = Read | ReadMany | Sequence[Op]
"""Something to read, or the operations of one multi."""


class WatchKind(Enum):
    """The two lists of watches that a server keeps per path."""

    DATA = auto()
    CHILDREN = auto()


class Answer(Value):
    """What became of one request. A read has (data, Stat), Stat or None, or (names, Stat) as its value; one
    of many nodes has a list with (data, Stat) or a StoreError for each."""

    request: Any
    value: Any = None
    error: StoreError | None = None


class Changed(Value):
    """A watch has fired: the node may look different now. If it is gone, all watches on it have fired."""

    kind: WatchKind
    path: str
    is_gone: bool = False


class Up(Value):
    """There is a connection with this session."""

    session_id: int


class Down(Value):
    """The connection is gone; every request on its way has been answered with ConnectionLost."""


class Over(Value):
    """The session is over. If ``is_dead``, nothing more happens until :meth:`Link.start`."""

    reason: str
    is_dead: bool = False


Event: TypeAlias = Answer | Changed | Up | Down | Over


class Link:
    """One kazoo client. Not connected before :meth:`start`; afterwards it connects again for ever."""

    def __init__(self, settings: ZooKeeperSettings, post: Callable[[Event], None]) -> None:
        self._settings = settings
        self._post = post
        self._handler = Handler(settings)
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
        elif isinstance(question, ReadMany):
            result = self._handler.async_result()
            self._client._call(MultiRead([self._full(path) for path in question.paths]), result)
        else:
            transaction = self._client.transaction()
            transaction.operations.extend(self._operation(op) for op in question)
            result = transaction.commit_async()
        result.rawlink(lambda done: self._post(self._answer(request, question, done)))

    def make_chroot(self, request: object) -> None:
        """Creates the chroot where it is missing; an :class:`Answer` without a value will be posted."""
        chroot = self._settings.chroot
        result = self._client.ensure_path_async(chroot, self._acl(chroot))
        result.rawlink(lambda done: self._post(Answer(request, None, failure(done, chroot))))

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
            error = failure(done, question.path)
            return Answer(request, _value(question.kind, done.value) if error is None else None, error)
        if isinstance(question, ReadMany):
            error = failure(done, question.paths[0])
            return Answer(request, _values(question.paths, done.value) if error is None else None, error)
        error = failure(done, question[0].path) or refusal(question, done.value)
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


def _login(credential: Credential | None) -> dict[str, Any]:
    if credential is None:
        return {}
    if credential.scheme == SASL:
        login = {"username": credential.user, "password": credential.password}
        return {"sasl_options": {"mechanism": "DIGEST-MD5", **login}}
    return {"auth_data": [(credential.scheme, f"{credential.user}:{credential.password}")]}


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


def _values(paths: Sequence[str], found: Sequence[Found]) -> list[tuple[bytes, Stat] | StoreError]:
    return [
        store_error(one, path) if isinstance(one, Exception) else (one[0] or b"", stat_of(one[1]))
        for path, one in zip(paths, found, strict=True)
    ]
