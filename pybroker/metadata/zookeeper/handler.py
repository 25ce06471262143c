"""kazoo's handler, made ours: callbacks come on the connection's thread, and the sockets are our own."""

import socket
import threading

from kazoo.handlers.threading import SequentialThreadingHandler
from kazoo.protocol.states import Callback

from pybroker.metadata.zookeeper.settings import ZooKeeperSettings


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
