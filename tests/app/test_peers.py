"""How transactions reach other brokers: in which version, over how many connections, and who is asked after a
broker has moved."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio
from msgspec import field

from pybroker.app.peers import TransactionPeers
from pybroker.model.endpoint import Endpoint
from pybroker.model.errors import ApiError, ErrorCode
from pybroker.model.values import State
from pybroker.protocol.codec import encode
from pybroker.protocol.headers import decode_request_header
from pybroker.protocol.messages import (
    AddPartitionsToTxnRequest,
    AddPartitionsToTxnResponse,
    ApiVersionsResponse,
    WriteTxnMarkersRequest,
    WriteTxnMarkersResponse,
)
from pybroker.replication.peer import PeerSettings
from tests.replication.test_peer import read_frame, reply

SETTINGS = PeerSettings(client_id="1", min_backoff_s=0.01)
API_VERSIONS, ADD_PARTITIONS, WRITE_MARKERS = 18, 24, 27


class OtherBroker(State):
    """Answers what transactions ask; knows WriteTxnMarkers up to ``markers_version``."""

    markers_version: int
    endpoint: Endpoint = None  # made below
    asked: list[tuple[int, int, int]] = field(default_factory=list)
    """(connection, API, version) of each request but ApiVersions."""
    connections: int = 0
    ended: int = 0

    async def serve(self, stream: trio.SocketStream) -> None:
        self.connections += 1
        number = self.connections
        try:
            while True:
                frame = await read_frame(stream)
                header, _ = decode_request_header(frame)
                key, version = header.request_api_key, header.request_api_version
                if key == API_VERSIONS:
                    await reply(stream, frame, self._versions(version), flexible=False)
                    continue
                self.asked.append((number, key, version))
                response = WriteTxnMarkersResponse(markers=[]) if key == WRITE_MARKERS else _nothing_added()
                await reply(stream, frame, encode(response, version))
        except (trio.EndOfChannel, trio.BrokenResourceError):
            self.ended += 1

    def _versions(self, version: int) -> bytes:
        api = ApiVersionsResponse.ApiVersion
        served = ((ADD_PARTITIONS, 5), (WRITE_MARKERS, self.markers_version))
        keys = [api(api_key=key, min_version=0, max_version=last) for key, last in served]
        return encode(ApiVersionsResponse(api_keys=keys), version)


def _nothing_added() -> AddPartitionsToTxnResponse:
    return AddPartitionsToTxnResponse(results_by_transaction=[])


@asynccontextmanager
async def listening(*brokers: OtherBroker) -> AsyncIterator[None]:
    async with trio.open_nursery() as nursery:
        for broker in brokers:
            (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
            broker.endpoint = Endpoint("PLAINTEXT", "127.0.0.1", listener.socket.getsockname()[1])
            nursery.start_soon(trio.serve_listeners, broker.serve, [listener])
        yield
        nursery.cancel_scope.cancel()


def markers() -> WriteTxnMarkersRequest:
    return WriteTxnMarkersRequest(markers=[])


def partitions() -> AddPartitionsToTxnRequest:
    return AddPartitionsToTxnRequest(transactions=[])


@pytest.mark.parametrize(("known", "sent"), [(1, 1), (2, 2), (7, 2)])
async def test_markers_go_out_in_the_highest_version_that_both_know(known: int, sent: int) -> None:
    broker = OtherBroker(markers_version=known)
    async with listening(broker):
        peers = TransactionPeers(SETTINGS, lambda _broker_id: broker.endpoint)
        await peers.ask(2, markers())
        await peers.aclose()
    assert broker.asked == [(1, WRITE_MARKERS, sent)]


async def test_each_kind_of_request_has_a_connection_of_its_own() -> None:
    broker = OtherBroker(markers_version=2)
    async with listening(broker):
        peers = TransactionPeers(SETTINGS, lambda _broker_id: broker.endpoint)
        for request in (markers(), partitions(), markers(), partitions()):
            await peers.ask(2, request)
        await peers.aclose()
    assert broker.asked == [
        (1, WRITE_MARKERS, 2),
        (2, ADD_PARTITIONS, 5),
        (1, WRITE_MARKERS, 2),
        (2, ADD_PARTITIONS, 5),
    ]


async def test_a_broker_that_has_moved_is_asked_where_it_is_and_left_where_it_was() -> None:
    before, after = OtherBroker(markers_version=2), OtherBroker(markers_version=1)
    async with listening(before, after):
        where = [before]
        peers = TransactionPeers(SETTINGS, lambda _broker_id: where[0].endpoint)
        await peers.ask(2, markers())
        where[0] = after
        await peers.ask(2, markers())
        await peers.aclose()
        with trio.fail_after(5):
            while before.ended < before.connections:
                await trio.lowlevel.checkpoint()
    assert before.asked == [(1, WRITE_MARKERS, 2)]
    assert after.asked == [(1, WRITE_MARKERS, 1)], "what the one spoke says nothing of the other"


async def test_a_broker_that_is_not_there_is_a_network_exception() -> None:
    peers = TransactionPeers(SETTINGS, lambda _broker_id: None)
    with pytest.raises(ApiError) as caught:
        await peers.ask(2, markers())
    assert caught.value.code is ErrorCode.NETWORK_EXCEPTION
    assert "broker 2 is not there" in str(caught.value)


async def test_a_broker_that_does_not_answer_is_a_network_exception() -> None:
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    gone = Endpoint("PLAINTEXT", "127.0.0.1", listener.socket.getsockname()[1])
    await listener.aclose()
    peers = TransactionPeers(SETTINGS, lambda _broker_id: gone)
    with pytest.raises(ApiError) as caught:
        await peers.ask(2, markers())
    assert caught.value.code is ErrorCode.NETWORK_EXCEPTION
