"""A raw client for loads that no library makes: trio sockets, pybroker's codec, one request at a time."""

import struct
from typing import Any

import trio

from interop.support.process import LOCALHOST
from pybroker.protocol.apis import api_by_key
from pybroker.protocol.codec import decode, encode
from pybroker.protocol.messages import RequestHeader

_SIZE = struct.Struct(">i")
_CORRELATION_ID_BYTES = 4
RECEIVE_BYTES = 65536


def frame(key: int, version: int, request: Any) -> bytes:
    """A whole request of a version that has no tagged fields; its correlation id is 0."""
    header = RequestHeader(request_api_key=key, request_api_version=version, client_id="bench")
    body = encode(header, api_by_key[key].request_header_version(version)) + encode(request, version)
    return _SIZE.pack(len(body)) + body


class Connection:
    """Raises ConnectionError when the broker goes away."""

    def __init__(self) -> None:
        self._socket = trio.socket.socket()
        self._received = b""

    async def open(self, port: int) -> "Connection":
        self._socket.setsockopt(trio.socket.IPPROTO_TCP, trio.socket.TCP_NODELAY, 1)
        await self._socket.connect((LOCALHOST, port))
        return self

    def close(self) -> None:
        self._socket.close()

    async def ask(self, key: int, version: int, request: Any) -> Any:
        """The decoded answer."""
        answer = await self.exchange(frame(key, version, request))
        api = api_by_key[key]
        # From header version 1 on, the number of tagged fields follows; it is 0.
        start = _CORRELATION_ID_BYTES + (api.response_header_version(version) > 0)
        return decode(api.response, version, answer, start)[0]

    async def exchange(self, request: bytes) -> bytes:
        """One encoded request; the answer from its header on."""
        left = memoryview(request)
        while left:
            left = left[await self._socket.send(left) :]
        received = self._received
        while len(received) < _SIZE.size or len(received) < _SIZE.size + _SIZE.unpack_from(received)[0]:
            piece = await self._socket.recv(RECEIVE_BYTES)
            if not piece:
                raise ConnectionError("the broker has closed the connection")
            received += piece
        end = _SIZE.size + _SIZE.unpack_from(received)[0]
        self._received = received[end:]
        return received[_SIZE.size : end]


async def connect(port: int) -> Connection:
    return await Connection().open(port)
