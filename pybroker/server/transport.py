"""What a connection needs of a socket: five calls, for plain sockets, for TLS, and for tests in memory.

The three synchronous calls never wait: they raise ``BlockingIOError`` when they would have to, and then the
matching wait is awaited. ``recv_into`` returns 0 at the end of the stream.
"""

import contextlib
import errno
import socket
import ssl
from collections.abc import Awaitable
from typing import Protocol, TypeAlias

import trio

from pybroker.server.platform import PORTABLE, Platform

LOW_WATERMARK_BYTES = 256 * 1024
FALLBACK_READ_BYTES = 256 * 1024
_NO_SENDFILE = frozenset({errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP})
"""What a file system that cannot do it says, for instance one in user space."""


class FileSlice(Protocol):
    """A part of a reply that is still in a file: ``len()`` bytes from ``position`` on.

    It holds its file open until :meth:`release`, which is called exactly once, also when it is never sent.
    """

    position: int

    def __len__(self) -> int: ...
    def fileno(self) -> int: ...

    def read_at(self, offset: int, size: int) -> bytes:
        """Up to ``size`` bytes from ``offset`` of the slice on; less, or nothing, when the file was cut."""
        ...

    def release(self) -> None: ...


Part: TypeAlias = "bytes | bytearray | memoryview | FileSlice"


class Transport(Protocol):
    """The five calls, and the end."""

    def recv_into(self, buffer: memoryview) -> int: ...

    def send(self, data: bytes | memoryview, more: bool = False) -> int:
        """Sends a first piece and returns its length. ``more``: something else follows at once."""
        ...

    def send_file(self, part: FileSlice, start: int, count: int) -> int:
        """Sends a first piece of ``count`` bytes from ``start`` of the slice on; 0: the file was cut."""
        ...

    def wait_readable(self, wanted: int = 1) -> Awaitable[None]:
        """Waits for bytes or the end; ``wanted`` > 1 is a hint that fewer bytes are of no use."""
        ...

    def wait_writable(self) -> Awaitable[None]: ...

    def close(self) -> None: ...


class SocketTransport:
    """A plain, non-blocking TCP (or Unix) socket."""

    __slots__ = ("_low_watermark", "_platform", "_socket")

    def __init__(self, sock: socket.socket, platform: Platform) -> None:
        sock.setblocking(False)
        self._socket = sock
        self._platform = platform
        self._low_watermark = 1

    def recv_into(self, buffer: memoryview) -> int:
        return self._socket.recv_into(buffer)

    def send(self, data: bytes | memoryview, more: bool = False) -> int:
        return self._socket.send(data, self._platform.more_flag if more else 0)

    def send_file(self, part: FileSlice, start: int, count: int) -> int:
        if self._platform.sendfile is not None:
            try:
                return self._platform.sendfile(
                    self._socket.fileno(), part.fileno(), part.position + start, count
                )
            except OSError as error:
                if error.errno not in _NO_SENDFILE:
                    raise
                self._platform = PORTABLE
        data = part.read_at(start, min(count, FALLBACK_READ_BYTES))
        return self._socket.send(data) if data else 0

    def wait_readable(self, wanted: int = 1) -> Awaitable[None]:
        if wanted != self._low_watermark:
            self._set_low_watermark(min(wanted, LOW_WATERMARK_BYTES))
        return trio.lowlevel.wait_readable(self._socket)

    def wait_writable(self) -> Awaitable[None]:
        return trio.lowlevel.wait_writable(self._socket)

    def close(self) -> None:
        if self._socket.fileno() >= 0:
            trio.lowlevel.notify_closing(self._socket)
            self._socket.close()

    def _set_low_watermark(self, wanted: int) -> None:
        if wanted != self._low_watermark and self._platform.has_low_watermark:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, wanted)
            self._low_watermark = wanted


class TlsTransport:
    """TLS over a non-blocking socket. Await :meth:`handshake` first.

    A record may be in OpenSSL's hands when the socket has nothing left, so ``recv_into`` drains what there is
    and ``wait_readable`` never waits while decrypted bytes are pending. Files are read and encrypted.
    """

    __slots__ = ("_read_needs_write", "_socket", "_unsent", "_write_needs_read")

    def __init__(self, sock: socket.socket, context: ssl.SSLContext) -> None:
        sock.setblocking(False)
        self._socket = context.wrap_socket(sock, server_side=True, do_handshake_on_connect=False)
        self._read_needs_write = False
        self._write_needs_read = False
        self._unsent: bytes | None = None

    async def handshake(self) -> None:
        """Runs the handshake to its end.

        Raises:
            ssl.SSLError: the peer does not speak TLS, or the two do not agree.
            OSError: the connection broke.
        """
        while True:
            try:
                self._socket.do_handshake()
                return
            except ssl.SSLWantReadError:
                await trio.lowlevel.wait_readable(self._socket)
            except ssl.SSLWantWriteError:
                await trio.lowlevel.wait_writable(self._socket)

    def peer_certificate(self) -> bytes | None:
        """The client's certificate in DER form; None when it sent none."""
        return self._socket.getpeercert(binary_form=True)

    def recv_into(self, buffer: memoryview) -> int:
        received = 0
        self._read_needs_write = False
        while received < len(buffer):
            try:
                count = self._socket.recv_into(buffer[received:])
            except ssl.SSLWantReadError:
                break
            except ssl.SSLWantWriteError:
                self._read_needs_write = True
                break
            except ssl.SSLEOFError:
                return received
            if count == 0:
                return received
            received += count
        if received == 0:
            raise BlockingIOError
        return received

    def send(self, data: bytes | memoryview, more: bool = False) -> int:  # noqa: ARG002 - TLS has no such hint
        self._write_needs_read = False
        try:
            return self._socket.send(data)
        except ssl.SSLWantWriteError:
            raise BlockingIOError from None
        except ssl.SSLWantReadError:
            self._write_needs_read = True
            raise BlockingIOError from None

    def send_file(self, part: FileSlice, start: int, count: int) -> int:
        # OpenSSL must be offered the very same bytes again after it asked to wait.
        if self._unsent is None:
            self._unsent = part.read_at(start, min(count, FALLBACK_READ_BYTES))
            if not self._unsent:
                self._unsent = None
                return 0
        sent = self.send(self._unsent)
        self._unsent = None
        return sent

    async def wait_readable(self, wanted: int = 1) -> None:  # noqa: ARG002 - records hide how much there is
        if self._socket.pending():
            await trio.lowlevel.checkpoint()
        elif self._read_needs_write:
            await trio.lowlevel.wait_writable(self._socket)
        else:
            await trio.lowlevel.wait_readable(self._socket)

    async def wait_writable(self) -> None:
        if self._write_needs_read:
            await trio.lowlevel.wait_readable(self._socket)
        else:
            await trio.lowlevel.wait_writable(self._socket)

    def close(self) -> None:
        if self._socket.fileno() >= 0:
            with contextlib.suppress(OSError, ValueError):
                self._socket.unwrap()  # sends close_notify where it fits; the answer is not awaited
            with contextlib.suppress(OSError):
                trio.lowlevel.notify_closing(self._socket)
            self._socket.close()
