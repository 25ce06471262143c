"""Any bytes on the port: no crash, bounded memory, one log line, and nobody else is affected.

The long form of this is ``interop/soak/mutated_frames.py``.
"""

import logging
import os
import socket
import struct
from typing import Any

import psutil
import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from pybroker.handlers.context import ConnectionState
from pybroker.handlers.routes import Route
from pybroker.instruments.metrics import ServerMetrics
from pybroker.model.endpoint import Endpoint
from pybroker.model.errors import ApiError, ErrorCode
from pybroker.protocol.apis import api_by_key
from pybroker.server.connection import Connection, ServerShare
from pybroker.server.dispatch import Dispatcher
from pybroker.server.limits import InFlightBytes, ServerSettings
from pybroker.server.listener import Listener, Server
from pybroker.server.platform import choose_platform
from pybroker.server.transport import SocketTransport
from tests.support.memory_transport import SIZE, MemoryTransport
from tests.support.mutated_frames import mutated_frames

pytestmark = pytest.mark.fallbacks

MEBIBYTE = 1024 * 1024


def rss_bytes() -> int:
    resident: int = psutil.Process(os.getpid()).memory_info().rss
    return resident


async def refuse(context: Any, request: Any) -> Any:
    raise ApiError(ErrorCode.CLUSTER_AUTHORIZATION_FAILED, "a handler that refuses all")


def every_api() -> Dispatcher:
    routes = [Route(api.key, *api.versions, refuse) for api in api_by_key.values()]
    image: Any = object()
    return Dispatcher(routes, lambda: image, ServerMetrics())


async def test_mutated_frames_are_answered_or_close_their_connection_only(
    nursery: trio.Nursery, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    share = ServerShare(every_api(), ServerMetrics(), InFlightBytes(-1), nursery)
    state = ConnectionState(connection_id="bystander", listener="PLAINTEXT")
    bystander = MemoryTransport()
    nursery.start_soon(Connection(bystander, state, share).run)
    closed = answered = 0
    for number, frame in enumerate(mutated_frames(seed=20260, count=3000)):
        transport = MemoryTransport()
        state = ConnectionState(connection_id=f"c-{number}", listener="PLAINTEXT")
        nursery.start_soon(Connection(transport, state, share).run)
        transport.feed_frames([frame])
        await wait_all_tasks_blocked()
        if transport.is_closed:
            closed += 1
        else:
            answered += 1
            transport.end()
    assert closed > 1000
    assert answered > 300
    assert sum("closed connection" in record.getMessage() for record in caplog.records) == closed
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]
    request = struct.pack(">hhih", 18, 0, 5, -1)
    bystander.feed_frames([request])
    assert (await bystander.wait_for_frames(1))[0][:4] == struct.pack(">i", 5)


async def test_streams_of_noise_close_their_connection(nursery: trio.Nursery) -> None:
    share = ServerShare(every_api(), ServerMetrics(), InFlightBytes(-1), nursery)
    for noise in (
        b"\0" * 100,
        b"\xff" * 100,
        b"GET / HTTP/1.1\r\n\r\n",
        SIZE.pack(8) + bytes(range(200, 208)),
    ):
        transport = MemoryTransport()
        state = ConnectionState(connection_id="c", listener="PLAINTEXT")
        nursery.start_soon(Connection(transport, state, share).run)
        transport.feed(noise)
        await wait_all_tasks_blocked()
        assert transport.is_closed


@pytest.mark.parametrize("sent", [10, 5000])
async def test_a_thousand_connections_that_announce_100_mib_cost_next_to_nothing(
    nursery: trio.Nursery, sent: int
) -> None:
    server = Server([], every_api(), ServerSettings(), ServerMetrics())
    listener = Listener(Endpoint("PLAINTEXT", "127.0.0.1", 0), [], server)
    listener.share_in(nursery)
    platform = choose_platform()
    clients = []
    before = rss_bytes()
    try:
        for _ in range(1000):
            ours, theirs = socket.socketpair()
            clients.append(theirs)
            transport = SocketTransport(ours, platform)
            nursery.start_soon(listener.run_connection, transport, "10.0.0.1", 1)
            theirs.sendall(SIZE.pack(100 * MEBIBYTE) + bytes(sent))
        await wait_all_tasks_blocked()
        assert rss_bytes() - before < 50 * MEBIBYTE
        assert len(listener.connections) == 1000
        theirs = clients[0]
        theirs.shutdown(socket.SHUT_WR)
        while len(listener.connections) == 1000:
            await trio.lowlevel.checkpoint()
    finally:
        for theirs in clients:
            theirs.close()
        while listener.connections:
            await trio.lowlevel.checkpoint()
