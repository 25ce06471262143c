"""How many connections there may be, and how many bytes of requests may be in flight."""

from collections.abc import Mapping

import trio
from msgspec import field

from pybroker.model.values import Value


class ServerSettings(Value):
    """What the configuration says about the wire; the names are Kafka's keys in snake_case.

    Attributes:
        socket_request_max_bytes: the largest frame accepted.
        sasl_server_max_receive_size: the largest frame accepted before a client has authenticated, in bytes.
        queued_max_request_bytes: requests received but not answered, all connections together; more are not
            read. -1 is no limit.
        connections_max_idle_ms: a connection that is silent for this long is closed; -1 never.
        max_connections: of all listeners together; connections beyond it wait to be accepted.
        max_connections_per_ip: of one client address; connections beyond it are closed at once.
        max_connections_per_ip_overrides: the same for single addresses.
        socket_send_buffer_bytes, socket_receive_buffer_bytes: -1 leaves the system's default.
        socket_listen_backlog_size: how many connections may wait to be accepted.
        inter_broker_listener: the listener that is served even when ``max_connections`` is reached.
    """

    socket_request_max_bytes: int = 100 * 1024 * 1024
    sasl_server_max_receive_size: int = 512 * 1024
    queued_max_request_bytes: int = 256 * 1024 * 1024
    connections_max_idle_ms: int = 600_000
    max_connections: int = 2**31 - 1
    max_connections_per_ip: int = 2**31 - 1
    max_connections_per_ip_overrides: Mapping[str, int] = field(default_factory=dict)
    socket_send_buffer_bytes: int = -1
    socket_receive_buffer_bytes: int = -1
    socket_listen_backlog_size: int = 50
    inter_broker_listener: str | None = None


class ConnectionLimits:
    """Counts connections by address. Only the listeners of one server write it."""

    def __init__(self, settings: ServerSettings) -> None:
        self._settings = settings
        self._by_address: dict[str, int] = {}
        self._freed: trio.Event | None = None
        self.count = 0

    def obey(self, settings: ServerSettings) -> None:
        """Goes by other limits from now on; connections that exceed them already stay."""
        self._settings = settings
        self._tell()

    @property
    def is_full(self) -> bool:
        return self.count >= self._settings.max_connections

    def allows(self, address: str) -> bool:
        """Whether one more connection from this address is within its limit."""
        limit = self._settings.max_connections_per_ip_overrides.get(
            address, self._settings.max_connections_per_ip
        )
        return self._by_address.get(address, 0) < limit

    def opened(self, address: str) -> None:
        self.count += 1
        self._by_address[address] = self._by_address.get(address, 0) + 1

    def closed(self, address: str) -> None:
        self.count -= 1
        left = self._by_address[address] - 1
        if left:
            self._by_address[address] = left
        else:
            del self._by_address[address]
        self._tell()

    def _tell(self) -> None:
        if self._freed is not None:
            self._freed.set()
            self._freed = None

    async def wait_for_room(self) -> None:
        """Waits until the count is below ``max_connections``."""
        while self.is_full:
            if self._freed is None:
                self._freed = trio.Event()
            await self._freed.wait()


class InFlightBytes:
    """The bytes of requests that are being received in buffers of their own or being answered.

    At the limit nobody reads on, except one: a connection in the middle of a frame, because frames that are
    all half received would otherwise wait for each other for ever. So the sum stays below the limit plus one
    frame, and there is always progress.
    """

    def __init__(self, limit_bytes: int) -> None:
        self._changed: trio.Event | None = None
        self.used_bytes = 0
        self.favoured: object | None = None
        self.obey(limit_bytes)

    def obey(self, limit_bytes: int) -> None:
        """Goes by another limit from now on; -1 is none."""
        self.limit_bytes = limit_bytes if limit_bytes >= 0 else 2**63
        self._tell()

    @property
    def is_full(self) -> bool:
        return self.used_bytes >= self.limit_bytes

    def adjust(self, by_bytes: int) -> None:
        """Adds what a connection holds more than before, or takes off what it holds less."""
        self.used_bytes += by_bytes
        if by_bytes < 0:
            self._tell()

    def finished(self, connection: object) -> None:
        """The connection has completed its frame, or is gone: somebody else may be the favoured one."""
        if self.favoured is connection:
            self.favoured = None
            self._tell()

    def _tell(self) -> None:
        if self._changed is not None:
            self._changed.set()
            self._changed = None

    async def wait_for_turn(self, connection: object, is_inside_frame: bool) -> None:
        """Returns when the connection may read on."""
        while self.is_full and self.favoured is not connection:
            if is_inside_frame and self.favoured is None:
                self.favoured = connection
                return
            if self._changed is None:
                self._changed = trio.Event()
            await self._changed.wait()
