"""A TCP proxy before a real ZooKeeper that can cut a connection between a request and its reply.

It knows the frames of ZooKeeper's protocol, so that a cut falls between two of them and not anywhere.
"""

import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import trio

_SIZE = struct.Struct(">i")
_REQUEST = struct.Struct(">ii")
MULTI = 14
GET_DATA = 4
MULTI_READ = 22
_UNKNOWN = 99
"""A type that no server knows."""


class Cut:
    """What happens to the next request of one type, once."""

    def __init__(self, opcode: int, *, forward: bool, after: int) -> None:
        self.opcode = opcode
        self.forward = forward
        self.after = after
        self.happened = trio.Event()


class CutProxy:
    """Forwards connections on ``port`` to a server on the loopback interface."""

    def __init__(self, listener: trio.SocketListener, server_port: int) -> None:
        self.port: int = listener.socket.getsockname()[1]
        self.is_refusing = False
        self.has_multi_reads = True
        """False makes an old server of it: one that does not know what a read of many nodes is."""
        self._server_port = server_port
        self._connections: set[_Connection] = set()
        self._cut: Cut | None = None

    def cut_at(self, opcode: int, *, forward: bool, after: int = 0) -> Cut:
        """The next request of this type, or the one that many later, ends its connection: before the server
        sees it, or (``forward``) when the server has answered, without the answer."""
        self._cut = Cut(opcode, forward=forward, after=after)
        return self._cut

    def cut(self) -> None:
        """Ends every connection now."""
        for connection in list(self._connections):
            connection.end()

    def hold(self) -> None:
        """From now on nothing goes through the connections there are, in either direction."""
        for connection in self._connections:
            connection.is_held = True

    async def serve(self, stream: trio.SocketStream) -> None:
        """One connection of a client."""
        if self.is_refusing:
            await trio.aclose_forcefully(stream)
            return
        server = await trio.open_tcp_stream("127.0.0.1", self._server_port)
        connection = _Connection(stream, server, self._take_cut, self._seen_by_server)
        self._connections.add(connection)
        try:
            await connection.run()
        finally:
            self._connections.discard(connection)
            with trio.CancelScope(shield=True):
                await trio.aclose_forcefully(stream)
                await trio.aclose_forcefully(server)

    def _seen_by_server(self, frame: bytes) -> bytes:
        xid, opcode = _REQUEST.unpack_from(frame)
        if opcode != MULTI_READ or self.has_multi_reads:
            return frame
        return _REQUEST.pack(xid, _UNKNOWN) + frame[_REQUEST.size :]

    def _take_cut(self, opcode: int) -> Cut | None:
        if self._cut is None or self._cut.opcode != opcode:
            return None
        self._cut.after -= 1
        if self._cut.after >= 0:
            return None
        cut, self._cut = self._cut, None
        return cut


class _Connection:
    """Two pumps; the first one that ends takes the other with it."""

    def __init__(
        self,
        client: trio.SocketStream,
        server: trio.SocketStream,
        take_cut: Callable[[int], Cut | None],
        seen_by_server: Callable[[bytes], bytes],
    ) -> None:
        self.is_held = False
        self._client = client
        self._server = server
        self._take_cut = take_cut
        self._seen_by_server = seen_by_server
        self._scope = trio.CancelScope()
        self._waited_for: tuple[int, Cut] | None = None

    def end(self) -> None:
        self._scope.cancel()

    async def run(self) -> None:
        with self._scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._pump, self._client, self._server, self._look_at_request)
                nursery.start_soon(self._pump, self._server, self._client, self._look_at_reply)

    async def _pump(
        self, source: trio.SocketStream, target: trio.SocketStream, look: Callable[[bytes], bool]
    ) -> None:
        try:
            while (frame := await _frame(source)) is not None:
                if self.is_held:
                    await trio.sleep_forever()
                if not look(frame):
                    break
                if target is self._server:
                    frame = self._seen_by_server(frame)
                await target.send_all(_SIZE.pack(len(frame)) + frame)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass
        self.end()

    def _look_at_request(self, frame: bytes) -> bool:
        xid, opcode = _REQUEST.unpack_from(frame)
        cut = self._take_cut(opcode) if xid > 0 else None
        if cut is None:
            return True
        if cut.forward:
            self._waited_for = xid, cut
            return True
        cut.happened.set()
        return False

    def _look_at_reply(self, frame: bytes) -> bool:
        if self._waited_for is None or _SIZE.unpack_from(frame)[0] != self._waited_for[0]:
            return True
        self._waited_for[1].happened.set()
        return False


async def _frame(stream: trio.SocketStream) -> bytes | None:
    size = await _exactly(stream, _SIZE.size)
    return None if size is None else await _exactly(stream, _SIZE.unpack(size)[0])


async def _exactly(stream: trio.SocketStream, size: int) -> bytes | None:
    received = bytearray()
    while len(received) < size:
        chunk = await stream.receive_some(size - len(received))
        if not chunk:
            return None
        received += chunk
    return bytes(received)


@asynccontextmanager
async def cut_proxy(server_port: int) -> AsyncIterator[CutProxy]:
    """A proxy for the length of the block."""
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    async with trio.open_nursery() as nursery:
        proxy = CutProxy(listener, server_port)
        nursery.start_soon(trio.serve_listeners, proxy.serve, [listener])
        try:
            yield proxy
        finally:
            nursery.cancel_scope.cancel()
