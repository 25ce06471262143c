"""kazoo's handler, made ours: callbacks come on the connection's thread, and the sockets are our own."""

import select
import socket
import threading
from collections.abc import Sequence
from typing import Final, TypeAlias

from kazoo.handlers.threading import SequentialThreadingHandler
from kazoo.protocol.states import Callback

from pybroker.metadata.zookeeper.settings import ZooKeeperSettings

_HAS_POLL: Final = hasattr(select, "poll")

_Sockets: TypeAlias = Sequence[socket.socket]


class Handler(SequentialThreadingHandler):  # type: ignore[misc]
    """Calls back on the connection's thread, and makes the sockets."""

    def __init__(self, settings: ZooKeeperSettings) -> None:
        super().__init__()
        self.last_failure = ""
        """Why the latest attempt to connect failed; empty if none did."""
        self._tls = settings.tls
        self._timeout_s = settings.session_timeout_ms / 1000 / len(settings.hosts.split(","))
        self._socket: socket.socket | None = None
        self._is_held = False
        self._lock = threading.Lock()

    def start(self) -> None:
        """No threads: ``running`` stays False, so that results call back at once."""

    def stop(self) -> None:
        """Nothing was started."""

    def select(
        self, readable: _Sockets, writable: _Sockets, exceptional: _Sockets, timeout: float | None = None
    ) -> tuple[_Sockets, _Sockets, _Sockets]:
        """Those that are ready within ``timeout`` seconds. kazoo asks several times for each request, and its
        own way makes a selector for each: half of what a small read costs."""
        if not _HAS_POLL:
            ready: tuple[_Sockets, _Sockets, _Sockets] = super().select(
                readable, writable, exceptional, timeout
            )
            return ready
        poll = select.poll()
        for one in readable:
            poll.register(one, select.POLLIN)
        for one in writable:
            poll.register(one, select.POLLOUT)
        numbers = {number for number, _ in poll.poll(None if timeout is None else timeout * 1000)}
        return (
            [one for one in readable if one.fileno() in numbers],
            [one for one in writable if one.fileno() in numbers],
            [],
        )

    def dispatch_callback(self, callback: Callback) -> None:
        """Calls a watch."""
        callback.func(*callback.args)

    def create_connection(
        self, address: tuple[str, int], hostname: str | None = None, **_settings: object
    ) -> socket.socket:
        """A connected socket, with TLS if it was asked for. Raises OSError."""
        try:
            connection = self._connect(address, hostname)
        except OSError as error:
            self.last_failure = f"{address[0]}:{address[1]}: {error.strerror or error}"
            raise
        self.last_failure = ""
        return connection

    def hold(self) -> None:
        """Shuts the socket, and makes no new one until :meth:`release`."""
        with self._lock:
            self._is_held = True
            if self._socket is not None:
                _shut(self._socket)

    def release(self) -> None:
        """Lets sockets be made again."""
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


def _shut(connection: socket.socket) -> None:
    try:
        connection.shutdown(socket.SHUT_RDWR)
    except OSError:
        return  # it was closed already
