"""A connection without a port: the server's five calls on one end, a client that sends bytes on the other."""

import struct
from collections.abc import Iterable
from typing import Any

import trio

from pybroker.server.transport import FileSlice

SIZE = struct.Struct(">i")


class MemoryTransport:
    """The server's end. What the client sent waits in ``incoming``; what the server sent is in ``outgoing``.

    Attributes:
        send_allowance: how many bytes are taken before a send would block; None is no end.
        largest_read, largest_send: the most that one call moves, to force partial reads and writes.
        log: the calls, in order: ``("recv", n)``, ``("send", n, more)``, ``("file", n)``, ``("wait", n)``.
    """

    def __init__(self) -> None:
        self.incoming = bytearray()
        self.outgoing = bytearray()
        self.at_end = False
        self.is_closed = False
        self.send_error: OSError | None = None
        self.send_allowance: int | None = None
        self.largest_read = 1 << 30
        self.largest_send = 1 << 30
        self.log: list[tuple[Any, ...]] = []
        self._changed = trio.Event()

    # the client's side

    def feed(self, data: bytes) -> None:
        """The client sends bytes."""
        self.incoming += data
        self._tell()

    def feed_frames(self, frames: Iterable[bytes]) -> None:
        self.feed(b"".join(SIZE.pack(len(frame)) + frame for frame in frames))

    def end(self) -> None:
        """The client closes its sending side."""
        self.at_end = True
        self._tell()

    def allow(self, count: int | None) -> None:
        """The client makes room for ``count`` more bytes; None for any number."""
        self.send_allowance = None if count is None else (self.send_allowance or 0) + count
        self._tell()

    def break_down(self) -> None:
        """The connection is reset."""
        self.send_error = ConnectionResetError("reset by peer")
        self._tell()

    def frames(self) -> list[bytes]:
        """The complete frames that the server has sent."""
        found = []
        position = 0
        while position + 4 <= len(self.outgoing):
            (size,) = SIZE.unpack_from(self.outgoing, position)
            if position + 4 + size > len(self.outgoing):
                break
            found.append(bytes(self.outgoing[position + 4 : position + 4 + size]))
            position += 4 + size
        return found

    async def wait_for_frames(self, count: int) -> list[bytes]:
        """Waits until the server has sent that many replies."""
        while len(self.frames()) < count:
            if self.is_closed:
                raise AssertionError(f"closed after {len(self.frames())} of {count} replies")
            await self._changed.wait()
        return self.frames()

    # the server's side

    def recv_into(self, buffer: memoryview) -> int:
        if not self.incoming:
            if self.at_end:
                return 0
            raise BlockingIOError
        count = min(len(buffer), len(self.incoming), self.largest_read)
        buffer[:count] = self.incoming[:count]
        del self.incoming[:count]
        self.log.append(("recv", count))
        return count

    def send(self, data: bytes | memoryview, more: bool = False) -> int:
        count = self._room(len(data))
        self.outgoing += data[:count]
        self.log.append(("send", count, more))
        self._tell()
        return count

    def send_file(self, part: FileSlice, start: int, count: int) -> int:
        count = self._room(count)
        data = part.read_at(start, count)
        self.outgoing += data
        self.log.append(("file", len(data)))
        self._tell()
        return len(data)

    async def wait_readable(self, wanted: int = 1) -> None:
        self.log.append(("wait", wanted))
        await trio.lowlevel.checkpoint()
        while not self.incoming and not self.at_end:
            await self._changed.wait()

    async def wait_writable(self) -> None:
        await trio.lowlevel.checkpoint()
        while self.send_allowance == 0 and self.send_error is None:
            await self._changed.wait()

    def close(self) -> None:
        self.is_closed = True
        self._tell()

    def _room(self, count: int) -> int:
        if self.send_error is not None:
            raise self.send_error
        count = min(count, self.largest_send)
        if self.send_allowance is not None:
            if self.send_allowance == 0:
                raise BlockingIOError
            count = min(count, self.send_allowance)
            self.send_allowance -= count
        return count

    def _tell(self) -> None:
        self._changed.set()
        self._changed = trio.Event()


class MemorySlice:
    """A file slice whose file is bytes. ``cut`` bytes at its end are missing, as after a truncation."""

    def __init__(self, data: bytes, cut: int = 0) -> None:
        self._data = data[: len(data) - cut]
        self._size = len(data)
        self.position = 0
        self.releases = 0

    def __len__(self) -> int:
        return self._size

    def fileno(self) -> int:
        raise AssertionError("not a real file")

    def read_at(self, offset: int, size: int) -> bytes:
        assert self.releases == 0
        return self._data[offset : offset + size]

    def release(self) -> None:
        self.releases += 1
