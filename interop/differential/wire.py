"""One raw connection to a server, and what became of a request on it."""

import socket
import struct
from typing import TypeAlias

from msgspec import Struct

from interop.support.process import LOCALHOST
from pybroker.protocol.codec import encode
from pybroker.protocol.messages import ApiVersionsRequest, RequestHeader

MARKER = 0x4D41524B
"""Correlation id of the ApiVersions request that follows every request, so that silence is seen at once."""

CORRELATION_ID = 0x0D1FF
CLIENT_ID = "differential"
_SIZE = struct.Struct(">i")
_MARKER_BODY = encode(
    RequestHeader(request_api_key=18, request_api_version=0, correlation_id=MARKER, client_id=None), 1
)
MARKER_FRAME = _SIZE.pack(len(_MARKER_BODY)) + _MARKER_BODY
assert encode(ApiVersionsRequest(), 0) == b""


class Replied(Struct, frozen=True):
    """The bytes of a response, from its header on."""

    frame: bytes


class Silent(Struct, frozen=True):
    """The server went on with the next request: this one gets no reply."""


class Closed(Struct, frozen=True):
    """The server closed the connection without a reply."""


class TimedOut(Struct, frozen=True):
    """Neither a reply nor an end within the time allowed."""


Outcome: TypeAlias = Replied | Silent | Closed | TimedOut


class Connection:
    """A connection that is opened with the first request and opened again after it was closed."""

    def __init__(self, port: int, timeout_s: float) -> None:
        self._port = port
        self._timeout_s = timeout_s
        self._socket: socket.socket | None = None
        self._markers_due = 0

    def send(self, frame: bytes, *, is_complete: bool = True) -> None:
        """Send a request. Unless the frame's length is a lie, the marker follows it."""
        if self._socket is None:
            self._socket = socket.create_connection((LOCALHOST, self._port), timeout=self._timeout_s)
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._markers_due = 0
        self._markers_due += is_complete
        try:
            self._socket.sendall(frame + MARKER_FRAME if is_complete else frame)
        except OSError:
            self._markers_due += not is_complete

    def receive(self, timeout_s: float | None = None) -> Outcome:
        """What became of the oldest request whose outcome is not known yet."""
        if self._socket is not None:
            self._socket.settimeout(self._timeout_s if timeout_s is None else timeout_s)
        try:
            frame = self._frame()
            if _correlation_id(frame) == MARKER:
                self._markers_due -= 1
                return Silent()
            self._skip_marker()
        except TimeoutError:
            self.close()
            return TimedOut()
        except OSError:
            self.close()
            return Closed()
        return Replied(frame)

    def _skip_marker(self) -> None:
        if self._markers_due:
            self._frame()
            self._markers_due -= 1

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _frame(self) -> bytes:
        (size,) = _SIZE.unpack(self._exactly(_SIZE.size))
        return self._exactly(size)

    def _exactly(self, size: int) -> bytes:
        if self._socket is None:
            raise ConnectionError("the connection is closed")
        received = bytearray()
        while len(received) < size:
            chunk = self._socket.recv(size - len(received))
            if not chunk:
                raise ConnectionError("the server closed the connection")
            received += chunk
        return bytes(received)


def _correlation_id(frame: bytes) -> int:
    return int.from_bytes(frame[:4], "big", signed=True)


def framed(body: bytes) -> bytes:
    """The body with its length before it."""
    return _SIZE.pack(len(body)) + body
