"""The way to another broker: its inter-broker listener, our own codecs, one request at a time.

A peer is asked in a fixed version, without ApiVersions before it, as Kafka's controller, replica fetchers and
transaction markers do. Where Kafka negotiates instead, :meth:`Peer.negotiated` says what both sides speak.

The connection is made when it is first needed, and again after it broke; attempts keep a distance that
doubles with every failure.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Mapping
from functools import cache
from types import TracebackType
from typing import Any, Final, Protocol

import trio

from pybroker.model.endpoint import Endpoint, SecurityProtocol
from pybroker.model.values import Value
from pybroker.protocol import messages
from pybroker.protocol.apis import ApiSpec, api_by_key
from pybroker.protocol.codec import MalformedMessage, decoder, encode
from pybroker.protocol.framing import FrameError, FrameReader, LargeBuffers, ReceiveBuffer
from pybroker.protocol.message_classes import Message

_SIZE: Final = struct.Struct(">i")
_MAX_CORRELATION_ID: Final = 0x7FFFFFFF
_LOW_WATERMARK_BYTES: Final = 256 * 1024
_HAS_LOW_WATERMARK: Final = hasattr(socket, "SO_RCVLOWAT")
API_VERSIONS_VERSION: Final = 3
MAX_RESPONSE_BYTES: Final = 0x7FFFFFFF
"""Kafka sets no bound on what a broker answers another one."""


class PeerUnreachable(Exception):
    """There is no connection, it broke, or no answer came in time: the request may have arrived or not."""


class ControllerPort(Protocol):
    """The way to the controller, wherever it is."""

    async def ask(self, request: Message, version: int) -> Message:
        """Its response.

        Raises:
            PeerUnreachable: there is no controller, or it does not answer; ask again.
        """


class PeerSettings(Value):
    """How a broker speaks to others.

    Attributes:
        client_id: what it calls itself in the request headers.
        request_timeout_s: how long it waits for an answer.
        connect_timeout_s: how long it waits for a connection.
        min_backoff_s, max_backoff_s: least and greatest distance between two attempts to connect.
        receive_buffer_bytes: the socket's receive buffer; -1 leaves it to the system.
    """

    client_id: str = ""
    request_timeout_s: float = 30.0
    connect_timeout_s: float = 10.0
    min_backoff_s: float = 0.05
    max_backoff_s: float = 1.0
    receive_buffer_bytes: int = -1


class Peer:
    """One connection to another broker. Several tasks may ask; their requests go one after the other.

    A response's ``bytes`` and ``records`` are views of the receive buffer. They stay valid as long as
    something refers to them, and keep the buffer from being used again: let go of them soon.
    """

    def __init__(self, endpoint: Endpoint, settings: PeerSettings) -> None:
        self.endpoint = endpoint
        self._settings = settings
        self._turn = trio.Lock()
        self._wire: _Wire | None = None
        self._versions: dict[int, tuple[int, int]] | None = None
        self._failures = 0
        self._not_before_s = 0.0

    async def ask(self, request: Message, version: int, *, timeout_s: float | None = None) -> Any:
        """The response to a request.

        Args:
            version: of the API; the peer is not asked whether it knows it.
            timeout_s: how long to wait for it; ``request_timeout_s`` by default.

        Raises:
            PeerUnreachable: there was none.
        """
        async with self._turn:
            return await self._exchange(request, version, timeout_s)

    async def negotiated(self, request: type[Message]) -> int:
        """The highest version of an API that the peer and this broker know.

        Raises:
            PeerUnreachable: it cannot be asked, or there is none.
        """
        async with self._turn:
            if self._versions is None:
                said = messages.ApiVersionsRequest(
                    client_software_name="pybroker", client_software_version="1"
                )
                response = await self._exchange(said, API_VERSIONS_VERSION, None)
                self._versions = {
                    api.api_key: (api.min_version, api.max_version) for api in response.api_keys
                }
            api = api_of(request)
            first, last = self._versions.get(api.key, (0, -1))
        version = min(last, api.versions[1])
        if version < max(first, api.versions[0]):
            raise PeerUnreachable(f"{self.endpoint} and this broker have no version of {api.name} in common")
        return version

    async def aclose(self) -> None:
        """Closes the connection. It is made again when somebody asks after all."""
        self._disconnect()

    async def __aenter__(self) -> Peer:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._disconnect()

    async def _exchange(self, request: Message, version: int, timeout_s: float | None) -> Any:
        """A reply that nobody waits for any more would be taken for the next request's: whatever goes wrong
        in between, cancellation included, ends the connection."""
        is_done = False
        try:
            wire = await self._connected()
            with trio.fail_after(self._settings.request_timeout_s if timeout_s is None else timeout_s):
                response = await wire.exchange(request, version, self._settings.client_id)
            is_done = True
        except (OSError, FrameError, MalformedMessage) as error:
            raise PeerUnreachable(f"{self.endpoint}: {error or type(error).__name__}") from error
        except trio.TooSlowError as error:
            raise PeerUnreachable(f"{self.endpoint}: no answer in time") from error
        finally:
            if not is_done:
                self._disconnect()
        return response

    async def _connected(self) -> _Wire:
        if self._wire is None:
            await trio.sleep_until(self._not_before_s)
            backoff_s = self._settings.min_backoff_s * 2 ** min(self._failures, 16)
            self._failures += 1
            self._not_before_s = trio.current_time() + min(backoff_s, self._settings.max_backoff_s)
            with trio.fail_after(self._settings.connect_timeout_s):
                self._wire = _Wire(await _open_socket(self.endpoint, self._settings))
            self._failures = 0
        return self._wire

    def _disconnect(self) -> None:
        self._versions = None
        if self._wire is not None:
            self._wire.close()
            self._wire = None


class _Wire:
    """A connected socket that requests go out of and responses come in through."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        self._reader = FrameReader(MAX_RESPONSE_BYTES, ReceiveBuffer(), LargeBuffers())
        self._correlation_id = 0
        self._low_watermark = 1

    async def exchange(self, request: Message, version: int, client_id: str) -> Message:
        api = api_of(type(request))
        self._correlation_id = (self._correlation_id + 1) & _MAX_CORRELATION_ID
        header = messages.RequestHeader(
            request_api_key=api.key,
            request_api_version=version,
            correlation_id=self._correlation_id,
            client_id=client_id,
        )
        frame = encode(header, api.request_header_version(version)) + encode(request, version)
        await self._send(_SIZE.pack(len(frame)) + frame)
        answer = await self._receive()
        answered, start = decoder(messages.ResponseHeader, api.response_header_version(version))(answer)
        if answered.correlation_id != self._correlation_id:
            raise MalformedMessage(
                f"an answer to request {answered.correlation_id}, not to {self._correlation_id}"
            )
        response, _end = decoder(api.response, version)(answer, start)
        return response

    async def _send(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            try:
                view = view[self._socket.send(view) :]
            except BlockingIOError:
                await trio.lowlevel.wait_writable(self._socket)

    async def _receive(self) -> memoryview:
        reader = self._reader
        while True:
            frame = reader.next_frame()
            if frame is not None:
                return frame
            reader.settle()
            self._want(reader.missing_bytes)
            await trio.lowlevel.wait_readable(self._socket)
            try:
                received = reader.receive(self._socket.recv_into)
            except BlockingIOError:
                continue
            if received == 0:
                raise ConnectionResetError("the connection was closed")

    def _want(self, missing_bytes: int) -> None:
        """Sleep until so many bytes of a large response are there, and not for each packet of it."""
        wanted = max(1, min(missing_bytes, _LOW_WATERMARK_BYTES))
        if wanted != self._low_watermark and _HAS_LOW_WATERMARK:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, wanted)
            self._low_watermark = wanted

    def close(self) -> None:
        trio.lowlevel.notify_closing(self._socket)
        self._socket.close()


async def _open_socket(endpoint: Endpoint, settings: PeerSettings) -> socket.socket:
    if endpoint.security_protocol is not SecurityProtocol.PLAINTEXT:
        raise OSError(f"brokers do not speak {endpoint.security_protocol.name} to each other yet")
    stream = await trio.open_tcp_stream(endpoint.host, endpoint.port)
    sock = socket.socket(fileno=stream.socket.detach())
    sock.setblocking(False)
    if settings.receive_buffer_bytes > 0:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, settings.receive_buffer_bytes)
    return sock


def api_of(request: type[Message]) -> ApiSpec:
    """The API that a request's class belongs to."""
    return _api_by_name()[request.__name__.removesuffix("Request")]


@cache
def _api_by_name() -> Mapping[str, ApiSpec]:
    return {api.name: api for api in api_by_key.values()}
