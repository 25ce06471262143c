"""Listeners: binding addresses, accepting connections within the limits, sweeping out idle ones, stopping."""

import errno
import itertools
import logging
import socket
import ssl
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import trio
from msgspec.structs import replace

from pybroker.handlers.context import ConnectionState
from pybroker.instruments.metrics import ServerMetrics
from pybroker.model.endpoint import Endpoint, SecurityProtocol
from pybroker.model.errors import StartupError
from pybroker.server.connection import Connection, FrameHandler, ServerShare
from pybroker.server.limits import ConnectionLimits, InFlightBytes, ServerSettings
from pybroker.server.platform import Platform, choose_platform
from pybroker.server.transport import SocketTransport, TlsTransport, Transport

log = logging.getLogger(__name__)

SWEEPS_PER_IDLE_TIME = 8
ACCEPTS_PER_TURN = 64
SHORTEST_BACKLOG = 1024
"""How many connections may wait to be accepted, whatever ``socket.listen.backlog.size`` says. Kafka has a
thread that only accepts; here they wait for the loop, and each one too many is heard of a second later."""

OUT_OF_DESCRIPTORS_PAUSE_S = 0.1
HANDSHAKE_TIMEOUT_S = 30.0
_OUT_OF_RESOURCES = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}


class CannotListen(StartupError):
    """An address cannot be bound. The message names listener and address and says why, in one line."""


def bind(endpoint: Endpoint, backlog: int = 50) -> list[socket.socket]:
    """Listening, non-blocking sockets for an endpoint: one for every address of its host, all on one port.

    Port 0 takes a free one. The empty host is the wildcard: IPv4 and IPv6, as far as the machine has them.

    Raises:
        CannotListen: the host is unknown, the port in use or not permitted, or no address could be bound.
    """
    host = endpoint.host.encode() if endpoint.host.isascii() else endpoint.host  # text loads Python's idna
    try:
        found = socket.getaddrinfo(
            host or None, endpoint.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
    except OSError as error:
        raise CannotListen(
            f"listener {endpoint}: cannot resolve {endpoint.host!r}: {error.strerror}"
        ) from None
    addresses = list(dict.fromkeys((family, address) for family, _, _, _, address in found))
    for attempt in itertools.count(1):
        try:
            return _bind_all(addresses, endpoint.port, backlog)
        except OSError as error:
            taken_by_another_family = endpoint.port == 0 and len(addresses) > 1
            if error.errno == errno.EADDRINUSE and taken_by_another_family and attempt < 10:
                continue
            raise CannotListen(f"listener {endpoint}: {_explain(error)}") from None
    raise AssertionError("unreachable")


def _bind_all(
    addresses: Sequence[tuple[int, tuple[Any, ...]]], port: int, backlog: int
) -> list[socket.socket]:
    sockets: list[socket.socket] = []
    missing: OSError | None = None
    try:
        for family, address in addresses:
            try:
                sock = socket.socket(family, socket.SOCK_STREAM)
            except OSError as error:  # the family is switched off
                missing = error
                continue
            sockets.append(sock)
            if family == socket.AF_INET6:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            if not hasattr(socket, "SO_EXCLUSIVEADDRUSE"):  # on Windows reuse would mean sharing the port
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                sock.bind((address[0], port, *address[2:]))
            except OSError as error:
                if error.errno != errno.EADDRNOTAVAIL or len(addresses) == 1:
                    raise
                sockets.pop().close()
                missing = error
                continue
            sock.listen(max(backlog, SHORTEST_BACKLOG))
            sock.setblocking(False)
            port = sock.getsockname()[1]
    except OSError:
        for sock in sockets:
            sock.close()
        raise
    if not sockets:
        assert missing is not None
        raise missing
    return sockets


def _explain(error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return "the port is in use by another process"
    if error.errno == errno.EADDRNOTAVAIL:
        return "this machine has no such address"
    if error.errno == errno.EACCES:
        return "binding this port is not permitted"
    return error.strerror or str(error)


class Listener:
    """One named listener with its sockets and its connections. :meth:`serve` is its task.

    Attributes:
        endpoint: name, host and the port that was really bound.
        connections: those that are open.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        sockets: Iterable[socket.socket],
        server: "Server",
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.endpoint = endpoint
        self.connections: dict[str, Connection] = {}
        self._sockets = list(sockets)
        self._server = server
        self._tls = tls
        self._share: ServerShare | None = None
        self._accepting = trio.CancelScope()
        self._handshakes: set[trio.CancelScope] = set()

    async def serve(self, nursery: trio.Nursery) -> None:
        """Accepts and sweeps until :meth:`stop_accepting`; connections are tasks of ``nursery``."""
        self.share_in(nursery)
        try:
            with self._accepting:
                async with trio.open_nursery() as own:
                    for sock in self._sockets:
                        own.start_soon(self._accept_from, sock)
                    if self._server.settings.connections_max_idle_ms > 0:
                        own.start_soon(self._sweep)
        finally:
            self.close_sockets()  # also of a broker whose tasks are cancelled: its port is free at once

    def share_in(self, nursery: trio.Nursery) -> ServerShare:
        """What this listener's connections share; made once."""
        if self._share is None:
            server = self._server
            self._share = ServerShare(server.handler, server.metrics, server.in_flight, nursery)
        return self._share

    def stop_accepting(self) -> None:
        """Closes the listening sockets; connections go on, unfinished handshakes do not."""
        self._accepting.cancel()
        for scope in self._handshakes:
            scope.cancel()
        self.close_sockets()

    def close_sockets(self) -> None:
        """Closes the listening sockets, which nobody waits on."""
        for sock in self._sockets:
            sock.close()

    def close_least_recently_used(self) -> bool:
        """Closes the connection that has been silent longest; False when there is none."""
        if not self.connections:
            return False
        min(self.connections.values(), key=lambda connection: connection.last_tick).close(
            "max.connections is reached and the inter-broker listener needs room"
        )
        return True

    async def _accept_from(self, sock: socket.socket) -> None:
        limits = self._server.limits
        while sock.fileno() >= 0:
            await trio.lowlevel.wait_readable(sock)
            if limits.is_full and not self._server.make_room_for(self):
                log.warning("max.connections is reached: %s waits", self.endpoint.listener)
                await limits.wait_for_room()
            for _ in range(ACCEPTS_PER_TURN):
                try:
                    self._admit(*sock.accept())
                except BlockingIOError:
                    break
                except OSError as error:
                    if error.errno in _OUT_OF_RESOURCES:
                        log.error("cannot accept on %s: %s", self.endpoint.listener, error.strerror)
                        await trio.sleep(OUT_OF_DESCRIPTORS_PAUSE_S)
                    break  # else that client is gone already
                if limits.is_full:
                    break

    def _admit(self, sock: socket.socket, address: tuple[str, int]) -> None:
        server = self._server
        host = _plain_address(address[0])
        if not server.limits.allows(host):
            server.metrics.connections_rejected += 1
            log.info("refused a connection of %s: max.connections.per.ip is reached", host)
            sock.close()
            return
        server.limits.opened(host)
        server.metrics.connections_accepted += 1
        server.metrics.connections += 1
        assert self._share is not None
        self._share.nursery.start_soon(self._run_connection, sock, host, address[1])

    async def _run_connection(self, sock: socket.socket, host: str, port: int) -> None:
        try:
            self._set_options(sock)
            local_host, local_port = sock.getsockname()[:2]
            transport = await self._secure(sock, host)
            if transport is not None:
                local = f"{_plain_address(local_host)}:{local_port}"
                await self.run_connection(transport, host, port, local)
        except OSError as error:
            log.debug("connection of %s broke at once: %s", host, error)
        finally:
            sock.close()
            self._server.limits.closed(host)
            self._server.metrics.connections -= 1

    async def run_connection(
        self, transport: Transport, host: str, port: int, local: str = "memory:0"
    ) -> None:
        """Serves one connection over any transport, to its end. ``serve`` (or ``share_in``) came before."""
        assert self._share is not None
        settings = self._server.settings
        secure = self.endpoint.security_protocol
        needs_sasl = secure in (SecurityProtocol.SASL_PLAINTEXT, SecurityProtocol.SASL_SSL)
        state = ConnectionState(
            connection_id=f"{local}-{host}:{port}-{self._server.next_number()}",
            listener=self.endpoint.listener,
            security_protocol=secure,
            client_host=host,
            client_port=port,
            is_authenticated=not needs_sasl,
            max_frame_bytes=(
                settings.sasl_server_max_receive_size if needs_sasl else settings.socket_request_max_bytes
            ),
        )
        connection = Connection(transport, state, self._share)
        self.connections[state.connection_id] = connection
        try:
            await connection.run()
        finally:
            del self.connections[state.connection_id]
            self._server.connection_gone()

    async def _secure(self, sock: socket.socket, host: str) -> Transport | None:
        """The transport over an accepted socket; None when the TLS handshake failed."""
        if self._tls is None:
            return SocketTransport(sock, self._server.platform)
        transport = TlsTransport(sock, self._tls)
        reason = f"not finished after {HANDSHAKE_TIMEOUT_S:g} s"
        with trio.move_on_after(HANDSHAKE_TIMEOUT_S) as scope:
            self._handshakes.add(scope)
            try:
                await transport.handshake()
                return transport
            except OSError as error:
                reason = error.strerror or str(error)
            finally:
                self._handshakes.remove(scope)
        log.info("TLS handshake with %s on %s failed: %s", host, self.endpoint.listener, reason)
        transport.close()
        return None

    def _set_options(self, sock: socket.socket) -> None:
        settings = self._server.settings
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        if settings.socket_send_buffer_bytes > 0:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, settings.socket_send_buffer_bytes)
        if settings.socket_receive_buffer_bytes > 0:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, settings.socket_receive_buffer_bytes)

    async def _sweep(self) -> None:
        """Closes connections that were silent for connections.max.idle.ms, give or take an eighth."""
        assert self._share is not None
        share = self._share
        while True:
            await trio.sleep(self._server.settings.connections_max_idle_ms / 1000 / SWEEPS_PER_IDLE_TIME)
            share.tick += 1
            for connection in list(self.connections.values()):
                silent = share.tick - connection.last_tick
                if silent > SWEEPS_PER_IDLE_TIME:
                    connection.close("idle for longer than connections.max.idle.ms")
                elif connection.is_handling:
                    continue
                elif silent > 1 and share.in_flight.is_full and share.in_flight.favoured is connection:
                    connection.close("stalled inside a request while queued.max.request.bytes is used up")


class Server:
    """All listeners of a broker, with the limits they share.

    ``Server(...)`` binds nothing; :meth:`open` binds everything or nothing; :meth:`run` serves until
    :meth:`stop` has been called and every connection is closed.
    """

    def __init__(
        self,
        endpoints: Iterable[Endpoint],
        handler: FrameHandler,
        settings: ServerSettings,
        metrics: ServerMetrics,
        *,
        platform: Platform | None = None,
        tls: Mapping[str, ssl.SSLContext] | None = None,
    ) -> None:
        self.handler = handler
        self.settings = settings
        self.metrics = metrics
        self.platform = platform or choose_platform()
        self.limits = ConnectionLimits(settings)
        self.in_flight = InFlightBytes(settings.queued_max_request_bytes)
        self.listeners: dict[str, Listener] = {}
        self._wanted = tuple(endpoints)
        self._tls = tls or {}
        self._numbers = itertools.count()
        self._gone: trio.Event | None = None

    @property
    def endpoints(self) -> tuple[Endpoint, ...]:
        """Where it listens, with the ports that were really bound."""
        return tuple(listener.endpoint for listener in self.listeners.values())

    @property
    def ports(self) -> dict[str, int]:
        """The bound port by listener name."""
        return {endpoint.listener: endpoint.port for endpoint in self.endpoints}

    def obey(self, settings: ServerSettings) -> None:
        """Goes by other limits from now on: of connections, and of bytes in flight.

        Sizes and times hold for connections made from now on.
        """
        self.settings = settings
        self.limits.obey(settings)
        self.in_flight.obey(settings.queued_max_request_bytes)

    def next_number(self) -> int:
        """A number that no connection had before."""
        return next(self._numbers)

    def connection_gone(self) -> None:
        """A connection has ended; :meth:`stop` may be waiting for it."""
        if self._gone is not None:
            self._gone.set()
            self._gone = None

    def open(self) -> None:
        """Binds every listener.

        Raises:
            CannotListen: one of them cannot be bound; none is bound then.
        """
        try:
            for endpoint in self._wanted:
                sockets = bind(endpoint, self.settings.socket_listen_backlog_size)
                bound = replace(endpoint, port=sockets[0].getsockname()[1])
                tls = self._tls.get(endpoint.listener)
                self.listeners[endpoint.listener] = Listener(bound, sockets, self, tls)
        except CannotListen:
            self.close()
            raise

    def close(self) -> None:
        """Closes the listening sockets at once; for a server that was opened but is not running."""
        for listener in self.listeners.values():
            listener.close_sockets()
        self.listeners.clear()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Serves until stopped or cancelled; reports started at once, since the sockets listen already."""
        async with trio.open_nursery() as nursery:
            for listener in self.listeners.values():
                nursery.start_soon(listener.serve, nursery)
            task_status.started()

    async def stop(self, grace_s: float = 5.0) -> None:
        """Stops accepting, lets requests in flight finish and their replies go out, then closes everything.

        What is not finished after ``grace_s`` seconds is cut off.
        """
        for listener in self.listeners.values():
            listener.stop_accepting()
            for connection in list(listener.connections.values()):
                connection.stop()
        with trio.move_on_after(grace_s):
            await self._wait_until_empty()
        for listener in self.listeners.values():
            for connection in list(listener.connections.values()):
                connection.close("the broker is stopping")
        await self._wait_until_empty()

    def make_room_for(self, listener: Listener) -> bool:
        """Whether the listener may accept although max.connections is reached: only the inter-broker listener
        may, at the expense of the most idle connection of another one."""
        if listener.endpoint.listener != self.settings.inter_broker_listener:
            return False
        return any(
            other.close_least_recently_used() for other in self.listeners.values() if other is not listener
        )

    async def _wait_until_empty(self) -> None:
        while any(listener.connections for listener in self.listeners.values()):
            if self._gone is None:
                self._gone = trio.Event()
            await self._gone.wait()


def _plain_address(host: str) -> str:
    """IPv4 clients of an IPv6 socket appear as IPv4."""
    return host.removeprefix("::ffff:").split("%")[0]
