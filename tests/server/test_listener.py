"""Listeners bind what they are told, and let in as many connections as they are told."""

import logging
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager, suppress
from typing import Any

import pytest
import trio
import trustme
from trio.testing import MockClock, wait_all_tasks_blocked

from pybroker.handlers.context import ConnectionState
from pybroker.instruments.metrics import ServerMetrics
from pybroker.model.endpoint import Endpoint, SecurityProtocol
from pybroker.server.limits import ServerSettings
from pybroker.server.listener import CannotListen, Listener, Server, bind
from tests.support.memory_transport import SIZE, MemoryTransport

pytestmark = pytest.mark.fallbacks

LOOPBACK = Endpoint("PLAINTEXT", "127.0.0.1", 0)


class Echo:
    """Answers every frame with itself; a frame that starts with "wait" when the gate opens."""

    def __init__(self) -> None:
        self.gate = trio.Event()
        self.states: list[ConnectionState] = []

    async def handle_frame(self, connection: ConnectionState, frame: memoryview) -> list[Any]:
        self.states.append(connection)
        if frame[:4] == b"wait":
            await self.gate.wait()
        return [SIZE.pack(len(frame)), bytes(frame)]


@asynccontextmanager
async def running(*endpoints: Endpoint, **settings: Any) -> AsyncIterator[Server]:
    server = Server(endpoints or (LOOPBACK,), Echo(), ServerSettings(**settings), ServerMetrics())
    server.open()
    async with trio.open_nursery() as nursery:
        await nursery.start(server.run)
        try:
            yield server
        finally:
            nursery.cancel_scope.cancel()
            server.close()


async def connect(server: Server, listener: str = "PLAINTEXT") -> trio.SocketStream:
    return await trio.open_tcp_stream("127.0.0.1", server.ports[listener])


async def is_served(stream: trio.SocketStream) -> bool:
    """Whether the connection answers; False when the server closes it instead."""
    try:
        await stream.send_all(SIZE.pack(2) + b"hi")
        return await stream.receive_some(100) == SIZE.pack(2) + b"hi"
    except trio.BrokenResourceError:
        return False


async def test_several_named_listeners_serve_on_ports_of_their_own() -> None:
    async with running(LOOPBACK, Endpoint("INTERNAL", "localhost", 0)) as server:
        assert server.ports.keys() == {"PLAINTEXT", "INTERNAL"}
        assert len(set(server.ports.values())) == 2
        for name in server.ports:
            assert await is_served(await connect(server, name))
        assert [state.listener for state in server.handler.states] == ["PLAINTEXT", "INTERNAL"]


async def test_a_connection_knows_where_it_comes_from() -> None:
    async with running() as server:
        stream = await connect(server)
        assert await is_served(stream)
        (state,) = server.handler.states
        host, port = stream.socket.getsockname()
        assert (state.client_host, state.client_port) == (host, port)
        assert state.connection_id == f"127.0.0.1:{server.ports['PLAINTEXT']}-127.0.0.1:{port}-0"


def test_the_wildcard_listens_on_every_address_family_with_one_port() -> None:
    sockets = bind(Endpoint("PLAINTEXT", "", 0))
    try:
        assert len({sock.getsockname()[1] for sock in sockets}) == 1
        assert socket.AF_INET in {sock.family for sock in sockets}
        assert not any(sock.getblocking() for sock in sockets)
    finally:
        for sock in sockets:
            sock.close()


def test_a_port_in_use_is_one_clear_line_and_leaves_nothing_bound() -> None:
    (taken,) = bind(LOOPBACK)
    port = taken.getsockname()[1]
    server = Server(
        [Endpoint("FIRST", "127.0.0.1", 0), Endpoint("SECOND", "127.0.0.1", port)],
        Echo.__new__(Echo),
        ServerSettings(),
        ServerMetrics(),
    )
    with pytest.raises(CannotListen) as caught:
        server.open()
    assert str(caught.value) == f"listener SECOND://127.0.0.1:{port}: the port is in use by another process"
    assert server.endpoints == ()
    taken.close()


@pytest.mark.parametrize(
    ("endpoint", "words"),
    [
        (Endpoint("PLAINTEXT", "no.such.host.invalid", 0), "cannot resolve 'no.such.host.invalid'"),
        (Endpoint("PLAINTEXT", "192.0.2.1", 0), "this machine has no such address"),
    ],
)
def test_an_address_that_cannot_be_bound_says_why(endpoint: Endpoint, words: str) -> None:
    with pytest.raises(CannotListen, match=words):
        bind(endpoint)


async def test_connections_beyond_the_limit_of_an_address_are_closed(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    async with running(max_connections_per_ip=2) as server:
        streams = [await connect(server) for _ in range(2)]
        assert [await is_served(stream) for stream in streams] == [True, True]
        assert not await is_served(await connect(server))
        assert server.metrics.connections_rejected == 1
        await streams[0].aclose()
        await wait_all_tasks_blocked()
        assert await is_served(await connect(server))
    assert "max.connections.per.ip" in caplog.text


async def test_an_override_holds_for_its_address_only() -> None:
    overrides = {"127.0.0.1": 1, "10.0.0.1": 0}
    async with running(max_connections_per_ip=0, max_connections_per_ip_overrides=overrides) as server:
        first = await connect(server)
        assert await is_served(first)
        assert not await is_served(await connect(server))


async def test_connections_beyond_max_connections_wait_until_one_is_gone() -> None:
    async with running(max_connections=1) as server:
        first = await connect(server)
        assert await is_served(first)
        second = await connect(server)
        await wait_all_tasks_blocked()
        assert server.metrics.connections == 1
        await first.aclose()
        assert await is_served(second)


async def test_the_inter_broker_listener_gets_in_at_the_expense_of_another_one() -> None:
    endpoints = (LOOPBACK, Endpoint("BROKER", "127.0.0.1", 0))
    async with running(*endpoints, max_connections=1, inter_broker_listener="BROKER") as server:
        client = await connect(server)
        assert await is_served(client)
        assert await is_served(await connect(server, "BROKER"))
        assert await client.receive_some(1) == b""


async def test_small_replies_are_not_delayed_by_the_kernel() -> None:
    async with running(socket_send_buffer_bytes=50_000) as server:
        with socket.socket() as sock:
            server.listeners["PLAINTEXT"]._set_options(sock)
            assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) != 0
            assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) >= 50_000


class InMemory:
    """A listener without sockets whose connections are memory transports."""

    def __init__(self, nursery: trio.Nursery, endpoint: Endpoint = LOOPBACK, **settings: Any) -> None:
        self.server = Server([], Echo(), ServerSettings(**settings), ServerMetrics())
        self.listener = Listener(endpoint, [], self.server)
        self.server.listeners["PLAINTEXT"] = self.listener
        self.listener.share_in(nursery)
        self.nursery = nursery
        nursery.start_soon(self.listener.serve, nursery)

    def connect(self) -> MemoryTransport:
        transport = MemoryTransport()
        self.nursery.start_soon(self.listener.run_connection, transport, "10.0.0.1", 1234)
        return transport


async def test_idle_connections_are_swept_out_also_while_they_wait_for_an_answer(
    nursery: trio.Nursery, autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    memory = InMemory(nursery, connections_max_idle_ms=8000)
    idle, waiting, chatty = memory.connect(), memory.connect(), memory.connect()
    waiting.feed_frames([b"wait"])
    for _ in range(15):
        chatty.feed_frames([b"x"])
        await trio.sleep(1)
    assert (idle.is_closed, waiting.is_closed, chatty.is_closed) == (True, True, False)
    assert "idle for longer than connections.max.idle.ms" in caplog.text


async def test_an_idle_connection_lives_at_least_its_time(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    memory = InMemory(nursery, connections_max_idle_ms=8000)
    idle = memory.connect()
    await trio.sleep(7.9)
    assert not idle.is_closed
    await trio.sleep(2)
    assert idle.is_closed


async def test_a_client_that_never_reads_its_replies_is_idle_too(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    memory = InMemory(nursery, connections_max_idle_ms=8000)
    stuck = memory.connect()
    stuck.allow(3)
    stuck.feed_frames([b"x" * 100])
    await trio.sleep(12)
    assert stuck.is_closed


async def test_who_stalls_inside_a_frame_while_memory_is_short_is_closed(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    memory = InMemory(nursery, connections_max_idle_ms=8000, queued_max_request_bytes=10_000)
    stalled, other = memory.connect(), memory.connect()
    stalled.feed(SIZE.pack(200_000) + bytes(20_000))
    await wait_all_tasks_blocked()
    stalled.feed(bytes(100))
    await wait_all_tasks_blocked()
    other.feed_frames([b"hello"])
    assert await other.wait_for_frames(1) == [b"hello"]
    assert stalled.is_closed
    assert memory.server.in_flight.used_bytes == 0


async def test_stopping_answers_what_is_in_flight_and_closes_the_rest(nursery: trio.Nursery) -> None:
    memory = InMemory(nursery)
    idle, busy = memory.connect(), memory.connect()
    busy.feed_frames([b"wait"])
    await wait_all_tasks_blocked()
    nursery.start_soon(memory.server.stop)
    await wait_all_tasks_blocked()
    assert (idle.is_closed, busy.is_closed) == (True, False)
    memory.server.handler.gate.set()
    assert await busy.wait_for_frames(1) == [b"wait"]
    await wait_all_tasks_blocked()
    assert busy.is_closed


async def test_stopping_cuts_off_what_is_not_finished_in_time(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    memory = InMemory(nursery)
    busy = memory.connect()
    busy.feed_frames([b"wait"])
    await wait_all_tasks_blocked()
    await memory.server.stop(grace_s=2)
    assert busy.is_closed
    assert busy.frames() == []


async def test_strangers_on_a_sasl_listener_have_a_limit_of_their_own(nursery: trio.Nursery) -> None:
    endpoint = Endpoint("SASL", "127.0.0.1", 0, SecurityProtocol.SASL_PLAINTEXT)
    memory = InMemory(nursery, endpoint, sasl_server_max_receive_size=1000)
    small, large = memory.connect(), memory.connect()
    small.feed_frames([bytes(1000)])
    large.feed_frames([bytes(1001)])
    await small.wait_for_frames(1)
    await wait_all_tasks_blocked()
    assert large.is_closed
    assert not memory.server.handler.states[0].is_authenticated


async def test_a_tls_listener_serves_clients_and_survives_those_that_speak_plain(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("broker.test").configure_cert(context)
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    endpoint = Endpoint("SECURE", "127.0.0.1", 0, SecurityProtocol.SSL)
    server = Server([endpoint], Echo(), ServerSettings(), ServerMetrics(), tls={"SECURE": context})
    server.open()
    async with trio.open_nursery() as nursery:
        await nursery.start(server.run)
        plain = await connect(server, "SECURE")
        await plain.send_all(SIZE.pack(2) + b"hi, this is no handshake")
        with suppress(trio.BrokenResourceError):
            while await plain.receive_some(100):  # an alert may come first
                pass
        raw = await connect(server, "SECURE")
        secure = trio.SSLStream(raw, trusting, server_hostname="broker.test")
        await secure.send_all((SIZE.pack(100_000) + bytes(100_000)) * 3)
        received = 0
        while received < 3 * 100_004:
            received += len(await secure.receive_some(1 << 20))
        (state, *_) = server.handler.states
        assert state.connection_id.startswith(f"127.0.0.1:{server.ports['SECURE']}-127.0.0.1:")
        await server.stop()
    assert sum("TLS handshake with 127.0.0.1" in record.getMessage() for record in caplog.records) == 1
    assert server.metrics.connections == 0


async def test_run_ends_when_the_server_was_stopped() -> None:
    server = Server([LOOPBACK], Echo(), ServerSettings(), ServerMetrics())
    server.open()
    with trio.fail_after(5):
        async with trio.open_nursery() as nursery:
            await nursery.start(server.run)
            stream = await connect(server)
            assert await is_served(stream)
            await server.stop()
    assert await stream.receive_some(1) == b""
    with pytest.raises(OSError, match="connect"):
        await connect(server)


def test_a_burst_of_connections_waits_for_a_loop_that_is_busy() -> None:
    (listening,) = bind(LOOPBACK, backlog=50)
    with listening, ExitStack() as clients:
        for _ in range(200):  # nobody accepts them; one that does not fit would have to try again later
            clients.enter_context(socket.create_connection(listening.getsockname()[:2], timeout=0.5))
