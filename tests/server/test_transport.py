"""The five calls over real sockets: plain and TLS, with the system's extras and without them."""

import errno
import os
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio
import trustme

from pybroker.server.platform import FORCE_FALLBACKS, PORTABLE, Platform, choose_platform
from pybroker.server.transport import LOW_WATERMARK_BYTES, SocketTransport, TlsTransport

pytestmark = pytest.mark.fallbacks

PLATFORMS = [choose_platform({}), PORTABLE]


class OpenFile:
    """A file slice over a real descriptor."""

    def __init__(self, path: Path, position: int, size: int) -> None:
        self._file = path.open("rb")
        self.position = position
        self._size = size

    def __len__(self) -> int:
        return self._size

    def fileno(self) -> int:
        return self._file.fileno()

    def read_at(self, offset: int, size: int) -> bytes:
        self._file.seek(self.position + offset)
        return self._file.read(min(size, self._size - offset))

    def release(self) -> None:
        self._file.close()


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    theirs.settimeout(5)
    yield ours, theirs
    ours.close()
    theirs.close()


@pytest.fixture(params=PLATFORMS, ids=["system", "portable"])
def platform(request: pytest.FixtureRequest) -> Platform:
    chosen: Platform = request.param
    return chosen


def test_the_environment_forces_the_portable_paths() -> None:
    assert choose_platform({FORCE_FALLBACKS: "1"}) == PORTABLE
    assert choose_platform({FORCE_FALLBACKS: "0"}) == choose_platform({})
    assert PORTABLE.sendfile is None


async def test_calls_raise_instead_of_waiting(
    pair: tuple[socket.socket, socket.socket], platform: Platform
) -> None:
    transport = SocketTransport(pair[0], platform)
    with pytest.raises(BlockingIOError):
        transport.recv_into(memoryview(bytearray(10)))
    with pytest.raises(BlockingIOError):
        while True:
            transport.send(bytes(100_000))


async def test_bytes_go_both_ways_and_the_end_reads_as_zero(
    pair: tuple[socket.socket, socket.socket], platform: Platform
) -> None:
    transport = SocketTransport(pair[0], platform)
    assert transport.send(b"head ", more=True) == 5
    assert transport.send(b"tail") == 4
    assert pair[1].recv(100) == b"head tail"
    pair[1].sendall(b"hello")
    await transport.wait_readable()
    buffer = bytearray(10)
    assert transport.recv_into(memoryview(buffer)) == 5
    pair[1].shutdown(socket.SHUT_WR)
    await transport.wait_readable()
    assert transport.recv_into(memoryview(buffer)) == 0
    transport.close()
    transport.close()


async def test_a_piece_of_a_file_is_sent_from_its_place(
    pair: tuple[socket.socket, socket.socket], platform: Platform, tmp_path: Path
) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"0123456789")
    part = OpenFile(path, 2, 6)
    transport = SocketTransport(pair[0], platform)
    assert transport.send_file(part, 1, 5) == 5
    assert pair[1].recv(100) == b"34567"
    part.release()


async def test_a_file_system_without_sendfile_is_read_instead(
    pair: tuple[socket.socket, socket.socket], tmp_path: Path
) -> None:
    calls: list[int] = []

    def unsupported(out: int, source: int, offset: int, count: int) -> int:
        calls.append(offset)
        raise OSError(errno.EINVAL, "Invalid argument")

    path = tmp_path / "log"
    path.write_bytes(b"0123456789")
    part = OpenFile(path, 0, 10)
    transport = SocketTransport(pair[0], Platform(unsupported, 0, has_low_watermark=False))
    assert transport.send_file(part, 0, 4) == 4
    assert transport.send_file(part, 4, 6) == 6
    assert pair[1].recv(100) == b"0123456789"
    assert calls == [0]
    part.release()


async def test_a_connection_that_is_gone_is_no_reason_to_read_instead(
    pair: tuple[socket.socket, socket.socket], tmp_path: Path
) -> None:
    def gone(out: int, source: int, offset: int, count: int) -> int:
        raise BrokenPipeError(errno.EPIPE, "Broken pipe")

    path = tmp_path / "log"
    path.write_bytes(b"0123456789")
    part = OpenFile(path, 0, 10)
    transport = SocketTransport(pair[0], Platform(gone, 0, has_low_watermark=False))
    with pytest.raises(BrokenPipeError):
        transport.send_file(part, 0, 4)
    part.release()


async def test_a_file_that_was_cut_sends_nothing_and_says_so(
    pair: tuple[socket.socket, socket.socket], platform: Platform, tmp_path: Path
) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"0123456789")
    part = OpenFile(path, 2, 8)
    os.truncate(path, 4)
    transport = SocketTransport(pair[0], platform)
    assert transport.send_file(part, 0, 8) == 2
    assert transport.send_file(part, 2, 6) == 0
    part.release()


@pytest.mark.skipif(not choose_platform({}).has_low_watermark, reason="no SO_RCVLOWAT here")
async def test_the_low_watermark_is_bounded_and_goes_back_to_one(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    ours, theirs = pair
    transport = SocketTransport(ours, choose_platform({}))
    theirs.sendall(b"x" * 10)

    def watermark() -> int:
        return ours.getsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT)

    for wanted, expected in ((5, 5), (10 * LOW_WATERMARK_BYTES, LOW_WATERMARK_BYTES), (1, 1)):
        with trio.move_on_after(0):
            await transport.wait_readable(wanted)
        assert watermark() == expected


@pytest.mark.skipif(not choose_platform({}).has_low_watermark, reason="no SO_RCVLOWAT here")
async def test_without_the_option_the_hint_does_nothing(pair: tuple[socket.socket, socket.socket]) -> None:
    transport = SocketTransport(pair[0], PORTABLE)
    pair[1].sendall(b"x")
    await transport.wait_readable(5000)
    assert pair[0].getsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT) == 1


@pytest.fixture(scope="module")
def contexts() -> tuple[ssl.SSLContext, ssl.SSLContext]:
    authority = trustme.CA()
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("broker.test").configure_cert(server)
    client = ssl.create_default_context()
    authority.configure_trust(client)
    return server, client


class TlsPair:
    """Our TLS transport and a blocking client in a thread."""

    def __init__(
        self, pair: tuple[socket.socket, socket.socket], contexts: tuple[ssl.SSLContext, ssl.SSLContext]
    ) -> None:
        self.transport = TlsTransport(pair[0], contexts[0])
        self._raw = pair[1]
        self._context = contexts[1]
        self.client: ssl.SSLSocket

    async def connect(self) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.to_thread.run_sync, self._connect)
            await self.transport.handshake()

    def _connect(self) -> None:
        self.client = self._context.wrap_socket(self._raw, server_hostname="broker.test")

    async def receive(self, count: int) -> bytes:
        data = bytearray(count)
        received = 0
        while received < count:
            await self.transport.wait_readable()
            try:
                got = self.transport.recv_into(memoryview(data)[received:])
            except BlockingIOError:
                continue
            assert got > 0
            received += got
        return bytes(data)

    async def send(self, data: bytes) -> None:
        sent = 0
        while sent < len(data):
            try:
                sent += self.transport.send(data[sent:])
            except BlockingIOError:
                await self.transport.wait_writable()

    def client_receive(self, count: int) -> bytes:
        data = b""
        while len(data) < count and (more := self.client.recv(count - len(data))):
            data += more
        return data


async def test_tls_drains_all_records_that_are_there_before_it_waits(
    pair: tuple[socket.socket, socket.socket], contexts: tuple[ssl.SSLContext, ssl.SSLContext]
) -> None:
    tls = TlsPair(pair, contexts)
    await tls.connect()
    for part in (b"one", b"two", b"three"):  # three records
        tls.client.sendall(part)
    await tls.transport.wait_readable()
    buffer = bytearray(100)
    assert tls.transport.recv_into(memoryview(buffer)) == len(b"onetwothree")
    with pytest.raises(BlockingIOError):
        tls.transport.recv_into(memoryview(buffer))


async def test_tls_does_not_wait_for_the_socket_while_decrypted_bytes_are_pending(
    pair: tuple[socket.socket, socket.socket], contexts: tuple[ssl.SSLContext, ssl.SSLContext]
) -> None:
    tls = TlsPair(pair, contexts)
    await tls.connect()
    tls.client.sendall(b"x" * 1000)  # one record, read in three pieces: the socket is empty after the first
    buffer = bytearray(400)
    with trio.fail_after(5):
        for expected in (400, 400, 200):
            await tls.transport.wait_readable()
            assert tls.transport.recv_into(memoryview(buffer)) == expected


async def test_tls_carries_large_data_both_ways(
    pair: tuple[socket.socket, socket.socket], contexts: tuple[ssl.SSLContext, ssl.SSLContext]
) -> None:
    tls = TlsPair(pair, contexts)
    await tls.connect()
    data = os.urandom(600_000)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.to_thread.run_sync, tls.client.sendall, data)
        assert await tls.receive(len(data)) == data
    async with trio.open_nursery() as nursery:
        nursery.start_soon(tls.send, data)
        assert await trio.to_thread.run_sync(tls.client_receive, len(data)) == data


async def test_tls_sends_files_by_reading_them(
    pair: tuple[socket.socket, socket.socket],
    contexts: tuple[ssl.SSLContext, ssl.SSLContext],
    tmp_path: Path,
) -> None:
    tls = TlsPair(pair, contexts)
    await tls.connect()
    path = tmp_path / "log"
    data = os.urandom(700_000)
    path.write_bytes(data)
    part = OpenFile(path, 0, len(data) + 5)

    async def send() -> None:
        sent = 0
        while sent < len(data):
            try:
                sent += tls.transport.send_file(part, sent, len(part) - sent)
            except BlockingIOError:
                await tls.transport.wait_writable()
        assert tls.transport.send_file(part, sent, 5) == 0

    async with trio.open_nursery() as nursery:
        nursery.start_soon(send)
        assert await trio.to_thread.run_sync(tls.client_receive, len(data)) == data
    part.release()


async def test_the_end_of_a_tls_stream_reads_as_zero(
    pair: tuple[socket.socket, socket.socket], contexts: tuple[ssl.SSLContext, ssl.SSLContext]
) -> None:
    tls = TlsPair(pair, contexts)
    await tls.connect()
    tls.client.sendall(b"last words")
    tls.client.shutdown(socket.SHUT_WR)
    buffer = bytearray(100)
    await tls.transport.wait_readable()
    assert tls.transport.recv_into(memoryview(buffer)) == 10
    await tls.transport.wait_readable()
    assert tls.transport.recv_into(memoryview(buffer)) == 0
    tls.transport.close()


async def test_a_client_that_does_not_speak_tls_fails_the_handshake(
    pair: tuple[socket.socket, socket.socket], contexts: tuple[ssl.SSLContext, ssl.SSLContext]
) -> None:
    transport = TlsTransport(pair[0], contexts[0])
    pair[1].sendall(b"\0\0\0\x10 this is no TLS at all")
    with pytest.raises(ssl.SSLError):
        await transport.handshake()
    transport.close()
