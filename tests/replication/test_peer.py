"""A connection to another broker: what it sends, and what becomes of it without an answer."""

import itertools
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
import trio

from pybroker.model.endpoint import Endpoint, SecurityProtocol
from pybroker.protocol.codec import decode, encode
from pybroker.protocol.headers import decode_request_header, encode_response_header
from pybroker.protocol.messages import (
    ApiVersionsResponse,
    ControlledShutdownRequest,
    FetchRequest,
    FetchResponse,
    UpdateMetadataRequest,
    UpdateMetadataResponse,
)
from pybroker.replication.peer import Peer, PeerSettings, PeerUnreachable, api_of

SETTINGS = PeerSettings(client_id="broker-1", min_backoff_s=0.01)
_SIZE = struct.Struct(">i")

Answer = Callable[[trio.SocketStream], Awaitable[None]]


async def read_frame(stream: trio.SocketStream) -> bytes:
    data = bytearray()
    while len(data) < 4 or len(data) < 4 + _SIZE.unpack_from(data)[0]:
        chunk = await stream.receive_some()
        if not chunk:
            raise trio.EndOfChannel
        data += chunk
    return bytes(data[4:])


async def reply(stream: trio.SocketStream, frame: bytes, body: bytes, *, flexible: bool = True) -> None:
    header, _ = decode_request_header(frame)
    answer = encode_response_header(header.correlation_id, 1 if flexible else 0) + body
    await stream.send_all(_SIZE.pack(len(answer)) + answer)


@asynccontextmanager
async def listening(answer: Answer) -> AsyncIterator[Peer]:
    """A peer whose other end is ``answer``, called for each connection."""

    async def serve(stream: trio.SocketStream) -> None:
        try:
            await answer(stream)
        except (trio.EndOfChannel, trio.BrokenResourceError):
            return

    async with trio.open_nursery() as nursery:
        (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        nursery.start_soon(trio.serve_listeners, serve, [listener])
        port = listener.socket.getsockname()[1]
        async with Peer(Endpoint("PLAINTEXT", "127.0.0.1", port), SETTINGS) as peer:
            yield peer
        nursery.cancel_scope.cancel()


async def test_requests_go_out_cold_in_the_version_asked_for_and_share_a_connection() -> None:
    seen = []

    async def answer(stream: trio.SocketStream) -> None:
        while True:
            frame = await read_frame(stream)
            header, start = decode_request_header(frame)
            request, _ = decode(UpdateMetadataRequest, header.request_api_version, frame, start)
            seen.append(
                (header.request_api_key, header.request_api_version, header.client_id, request.controller_id)
            )
            await reply(stream, frame, encode(UpdateMetadataResponse(error_code=7), 8))

    async with listening(answer) as peer:
        for controller_id in (3, 4):
            response = await peer.ask(UpdateMetadataRequest(controller_id=controller_id), 8)
            assert response.error_code == 7
    assert seen == [(6, 8, "broker-1", 3), (6, 8, "broker-1", 4)]


async def test_several_tasks_may_ask_at_once() -> None:
    async def answer(stream: trio.SocketStream) -> None:
        while True:
            frame = await read_frame(stream)
            header, start = decode_request_header(frame)
            request, _ = decode(UpdateMetadataRequest, header.request_api_version, frame, start)
            await reply(stream, frame, encode(UpdateMetadataResponse(error_code=request.controller_id), 8))

    answers = {}

    async with listening(answer) as peer, trio.open_nursery() as nursery:

        async def ask(number: int) -> None:
            response = await peer.ask(UpdateMetadataRequest(controller_id=number), 8)
            answers[number] = response.error_code

        for number in range(10):
            nursery.start_soon(ask, number)
    assert answers == {number: number for number in range(10)}


async def test_large_responses_arrive_whole_and_their_records_are_views() -> None:
    records = bytes(range(256)) * 8192
    body = encode(
        FetchResponse(
            responses=[
                FetchResponse.FetchableTopicResponse(
                    topic_id=bytes(range(16)), partitions=[FetchResponse.PartitionData(records=records)]
                )
            ]
        ),
        17,
    )

    async def answer(stream: trio.SocketStream) -> None:
        while True:
            await reply(stream, await read_frame(stream), body)

    async with listening(answer) as peer:
        for _ in range(3):
            response = await peer.ask(FetchRequest(), 17)
            data = response.responses[0].partitions[0].records
            assert isinstance(data, memoryview)
            assert data == records


async def test_a_cancelled_request_does_not_leave_its_answer_to_the_next_one() -> None:
    connections = []

    async def answer(stream: trio.SocketStream) -> None:
        connections.append(stream)
        number = len(connections)
        frame = await read_frame(stream)
        if number == 1:
            await trio.sleep_forever()
        await reply(stream, frame, encode(UpdateMetadataResponse(error_code=number), 8))

    async with listening(answer) as peer:
        with trio.move_on_after(0.05):
            await peer.ask(UpdateMetadataRequest(), 8)
        response = await peer.ask(UpdateMetadataRequest(), 8)
        assert response.error_code == 2


async def test_no_answer_in_time_is_unreachable() -> None:
    async def answer(stream: trio.SocketStream) -> None:
        await trio.sleep_forever()

    async with listening(answer) as peer:
        with pytest.raises(PeerUnreachable, match="no answer in time"):
            await peer.ask(UpdateMetadataRequest(), 8, timeout_s=0.02)


@pytest.mark.parametrize(
    "garbage",
    [b"", b"\x00\x00\x00\x08\x00\x00\x00\x63\x00\x00\x00\x00", b"\xff\xff\xff\xff", b"\x00\x00\x00\x01\x00"],
    ids=["closed", "another correlation id", "a negative size", "a short header"],
)
async def test_what_is_no_answer_is_unreachable(garbage: bytes) -> None:
    async def answer(stream: trio.SocketStream) -> None:
        await read_frame(stream)
        await stream.send_all(garbage)
        await stream.aclose()

    async with listening(answer) as peer:
        with pytest.raises(PeerUnreachable, match=r"127\.0\.0\.1"):
            await peer.ask(UpdateMetadataRequest(), 8)


async def test_attempts_to_connect_keep_a_growing_distance(autojump_clock: trio.testing.MockClock) -> None:
    settings = PeerSettings(min_backoff_s=0.1, max_backoff_s=0.35)
    peer = Peer(Endpoint("PLAINTEXT", "127.0.0.1", 1, SecurityProtocol.SSL), settings)
    times = []
    for _ in range(5):
        with pytest.raises(PeerUnreachable):
            await peer.ask(UpdateMetadataRequest(), 8)
        times.append(trio.current_time())
    distances = [round(later - earlier, 3) for earlier, later in itertools.pairwise(times)]
    assert distances == [0.1, 0.2, 0.35, 0.35]


async def test_the_common_version_is_the_highest_that_both_know() -> None:
    said = ApiVersionsResponse(
        api_keys=[
            ApiVersionsResponse.ApiVersion(api_key=1, min_version=4, max_version=12),
            ApiVersionsResponse.ApiVersion(api_key=7, min_version=9, max_version=9),
        ]
    )

    async def answer(stream: trio.SocketStream) -> None:
        await reply(stream, await read_frame(stream), encode(said, 3), flexible=False)

    async with listening(answer) as peer:
        assert await peer.negotiated(FetchRequest) == 12
        for request in (ControlledShutdownRequest, UpdateMetadataRequest):
            with pytest.raises(PeerUnreachable, match="no version"):
                await peer.negotiated(request)


def test_every_request_has_its_api() -> None:
    assert api_of(FetchRequest).key == 1
    assert api_of(ControlledShutdownRequest).key == 7
