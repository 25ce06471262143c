"""A whole broker inside the test, and a client that speaks to it in messages.

The broker listens on a port of its own on the loopback address, keeps its data in the folder it is given,
and is stopped in good order at the end of the block.
"""

import struct
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import trio

from pybroker.app import Broker
from pybroker.config.broker import BrokerConfig
from pybroker.protocol.apis import ApiSpec, api_by_key
from pybroker.protocol.codec import decode, decode_exactly, encode
from pybroker.protocol.messages import Message, RequestHeader, ResponseHeader
from pybroker.storage.files import Files

CLIENT_ID = "test"
_SIZE = struct.Struct(">i")
_API_OF = {api.request: api for api in api_by_key.values()}


class ConnectionEnded(Exception):
    """The broker closed the connection instead of answering."""


class WireClient:
    """One connection. Requests are answered one after another."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self._stream = stream
        self._correlation_id = 0

    async def ask(self, request: Message, version: int | None = None) -> Any:
        """The response to a request, in the highest version that the specs have unless one is given.

        Raises:
            ConnectionEnded: there was none.
        """
        api = _API_OF[type(request)]
        version = api.versions[1] if version is None else version
        await self.send(request, version)
        return await self.receive(api, version)

    async def send(self, request: Message, version: int) -> None:
        """Sends a request without waiting for an answer."""
        api = _API_OF[type(request)]
        self._correlation_id += 1
        header = RequestHeader(
            request_api_key=api.key,
            request_api_version=version,
            correlation_id=self._correlation_id,
            client_id=CLIENT_ID,
        )
        frame = encode(header, api.request_header_version(version)) + encode(request, version)
        await self._stream.send_all(_SIZE.pack(len(frame)) + frame)

    async def receive(self, api: ApiSpec, version: int) -> Any:
        """The next response, which must answer the last request."""
        (size,) = _SIZE.unpack(await self._exactly(_SIZE.size))
        frame = await self._exactly(size)
        header, start = decode(ResponseHeader, api.response_header_version(version), frame)
        assert header.correlation_id == self._correlation_id
        return decode_exactly(api.response, version, frame[start:])

    async def _exactly(self, size: int) -> bytes:
        received = bytearray()
        while len(received) < size:
            try:
                chunk = await self._stream.receive_some(size - len(received))
            except trio.BrokenResourceError:
                raise ConnectionEnded from None
            if not chunk:
                raise ConnectionEnded
            received += chunk
        return bytes(received)

    async def aclose(self) -> None:
        await self._stream.aclose()


@asynccontextmanager
async def running_broker(
    folder: Path, overrides: Mapping[str, str] | None = None, *, files: Files | None = None
) -> AsyncIterator[Broker]:
    """A single node with its data in ``folder``; call it again on the same folder for a restart.

    ``files`` is a filesystem under its logs that may fail.
    """
    properties = {"listeners": "PLAINTEXT://127.0.0.1:0", "log.dirs": str(folder), **(overrides or {})}
    broker = Broker(BrokerConfig.from_properties(properties), files=files)
    async with trio.open_nursery() as nursery:
        await nursery.start(broker.run)
        try:
            yield broker
        finally:
            with trio.CancelScope(shield=True):
                await broker.stop()


@asynccontextmanager
async def connected(broker: Broker) -> AsyncIterator[WireClient]:
    """A connection to a running broker."""
    endpoint = broker.endpoints[0]
    client = WireClient(await trio.open_tcp_stream("127.0.0.1", endpoint.port))
    try:
        yield client
    finally:
        await client.aclose()
