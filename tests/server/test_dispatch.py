"""Dispatch: what is answered, what closes the connection, and what a bug in a handler looks like outside."""

import logging
import struct
from typing import Any

import pytest
import trio

from pybroker.handlers.api_versions import ApiVersions
from pybroker.handlers.context import ConnectionState, RequestContext
from pybroker.handlers.routes import Route
from pybroker.handlers.shared import SharedResponse
from pybroker.instruments.metrics import ServerMetrics
from pybroker.instruments.seams import Answer, chain
from pybroker.model.errors import ApiError, CloseConnection, ErrorCode
from pybroker.protocol.codec import decode_exactly, encode
from pybroker.protocol.messages import (
    ApiVersionsRequest,
    ApiVersionsResponse,
    FetchRequest,
    FetchResponse,
    ListOffsetsRequest,
    MetadataRequest,
    MetadataResponse,
    ProduceRequest,
    ProduceResponse,
    RequestHeader,
)
from pybroker.protocol.slices import release_slices
from pybroker.server.dispatch import Dispatcher
from tests.support.memory_transport import MemorySlice

IMAGE: Any = object()


class Handler:
    """Does what it is told: returns a response, or raises."""

    def __init__(self) -> None:
        self.outcome: Any = MetadataResponse()
        self.seen: list[tuple[RequestContext, Any]] = []

    async def __call__(self, context: RequestContext, request: Any) -> Any:
        self.seen.append((context, request))
        if isinstance(self.outcome, BaseException):
            raise self.outcome
        return self.outcome


class Bench:
    def __init__(self, **options: Any) -> None:
        self.handler = Handler()
        self.metrics = ServerMetrics()
        self.routes = [Route(key, 0, 12 if key != 18 else 4, self.handler) for key in (0, 1, 3)]
        self.routes.append(Route(18, 0, 4, ApiVersions(lambda: self.routes)))
        self.dispatcher = Dispatcher(self.routes, lambda: IMAGE, self.metrics, **options)
        self.connection = ConnectionState(connection_id="c-1", listener="PLAINTEXT", client_host="10.0.0.7")

    async def ask(self, frame: bytes) -> bytes | None:
        parts = await self.dispatcher.handle_frame(self.connection, memoryview(bytearray(frame)))
        if parts is None:
            return None
        data = b"".join(
            bytes(part) if not isinstance(part, MemorySlice) else part.read_at(0, 99) for part in parts
        )
        (size,) = struct.unpack_from(">i", data)
        assert size == len(data) - 4
        return data[4:]


def frame(key: int, version: int, body: bytes, header_version: int = 1, client: str | None = "me") -> bytes:
    header = RequestHeader(
        request_api_key=key, request_api_version=version, correlation_id=77, client_id=client
    )
    return encode(header, header_version) + body


METADATA = frame(3, 1, encode(MetadataRequest(topics=[MetadataRequest.MetadataRequestTopic(name="t")]), 1))


async def test_a_handler_gets_its_request_and_knows_who_asks() -> None:
    bench = Bench()
    answer = await bench.ask(METADATA)
    assert answer == struct.pack(">i", 77) + encode(MetadataResponse(), 1)
    ((context, request),) = bench.handler.seen
    assert [topic.name for topic in request.topics] == ["t"]
    assert (context.api_key, context.api_version, context.correlation_id) == (3, 1, 77)
    assert (context.client_id, context.client_host, context.listener) == ("me", "10.0.0.7", "PLAINTEXT")
    assert (context.principal, context.connection_id, context.image) == ("User:ANONYMOUS", "c-1", IMAGE)
    assert bench.metrics.requests_by_api() == {3: 1}


async def test_a_flexible_response_has_the_flexible_header() -> None:
    bench = Bench()
    answer = await bench.ask(frame(3, 9, encode(MetadataRequest(topics=[]), 9), header_version=2))
    assert answer == struct.pack(">ix", 77) + encode(MetadataResponse(), 9)


async def test_a_handler_without_a_reply_sends_nothing() -> None:
    bench = Bench()
    bench.handler.outcome = None
    assert await bench.ask(METADATA) is None


async def test_a_shared_response_is_encoded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench()
    bench.handler.outcome = SharedResponse(MetadataResponse(controller_id=5))
    first = await bench.ask(METADATA)
    monkeypatch.setattr(bench.dispatcher._calls[3, 1], "_body_parts", None)
    assert await bench.ask(METADATA) == first
    assert first == struct.pack(">i", 77) + encode(MetadataResponse(controller_id=5), 1)


async def test_a_seam_may_change_a_shared_response_without_changing_the_next() -> None:
    async def change(context: RequestContext, request: Any, answer: Answer) -> Any:
        response = await answer(request)
        response.controller_id += 1
        return response

    bench = Bench(around=change)
    bench.handler.outcome = SharedResponse(MetadataResponse(controller_id=5))
    for _ in range(2):
        answer = await bench.ask(METADATA)
        assert answer is not None
        assert decode_exactly(MetadataResponse, 1, answer, 4).controller_id == 6


async def test_a_version_of_api_versions_that_is_not_served_is_answered_in_version_0() -> None:
    answer = await Bench().ask(frame(18, 99, b"\xff" * 20, header_version=2))
    assert answer is not None
    response = decode_exactly(ApiVersionsResponse, 0, answer, 4)
    assert response.error_code == ErrorCode.UNSUPPORTED_VERSION
    assert [(row.api_key, row.min_version, row.max_version) for row in response.api_keys] == [(18, 0, 4)]


async def test_api_versions_has_no_tags_in_its_response_header() -> None:
    request = ApiVersionsRequest(client_software_name="x", client_software_version="1")
    answer = await Bench().ask(frame(18, 3, encode(request, 3), header_version=2))
    assert answer is not None
    assert decode_exactly(ApiVersionsResponse, 3, answer, 4).error_code == 0


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (b"", "a frame of 0 bytes is no request"),
        (b"\0\x03\0\x01\0\0\0", "a frame of 7 bytes is no request"),
        (frame(4711, 0, b""), "the unknown API 4711 is not served"),
        (frame(-1, 0, b""), "the unknown API -1 is not served"),
        (frame(2, 1, encode(ListOffsetsRequest(), 1)), "ListOffsets API 2 is not served"),
        (frame(3, 13, b""), "Metadata version 13 is not served"),
        (frame(3, -1, b""), "Metadata version -1 is not served"),
        (METADATA[:-1], "malformed: MetadataRequest v1"),
        (METADATA[:9], "malformed: RequestHeader v1"),
        (frame(3, 1, struct.pack(">i", 2**31 - 1)), "malformed: MetadataRequest v1"),
    ],
)
async def test_what_cannot_be_read_or_is_not_served_closes_the_connection(bad: bytes, reason: str) -> None:
    bench = Bench()
    with pytest.raises(CloseConnection, match=reason):
        await bench.ask(bad)
    assert bench.handler.seen == []
    assert bench.metrics.frames_refused == 1


async def test_bytes_after_the_body_are_ignored_because_librdkafka_sends_some() -> None:
    bench = Bench()
    assert await bench.ask(METADATA + b"???") is not None
    assert len(bench.handler.seen) == 1


async def test_an_expected_error_is_told_without_a_line_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    bench = Bench()
    bench.handler.outcome = ApiError(ErrorCode.NOT_CONTROLLER)
    answer = await bench.ask(METADATA)
    assert answer is not None
    response = decode_exactly(MetadataResponse, 1, answer, 4)
    assert [(topic.name, topic.error_code) for topic in response.topics] == [("t", ErrorCode.NOT_CONTROLLER)]
    assert caplog.records == []
    assert bench.metrics.handler_failures == 0


async def test_other_exceptions_are_expected_when_the_table_says_so(caplog: pytest.LogCaptureFixture) -> None:
    bench = Bench(
        expected_error=lambda error: ErrorCode.KAFKA_STORAGE_ERROR if isinstance(error, OSError) else None
    )
    bench.handler.outcome = OSError("disk gone")
    answer = await bench.ask(METADATA)
    assert answer is not None
    response = decode_exactly(MetadataResponse, 1, answer, 4)
    assert response.topics[0].error_code == ErrorCode.KAFKA_STORAGE_ERROR
    assert caplog.records == []


async def test_a_bug_is_logged_once_with_its_circumstances_and_answered(
    caplog: pytest.LogCaptureFixture,
) -> None:
    bench = Bench()
    bench.handler.outcome = ZeroDivisionError("oops")
    answer = await bench.ask(METADATA)
    assert answer is not None
    response = decode_exactly(MetadataResponse, 1, answer, 4)
    assert response.topics[0].error_code == ErrorCode.UNKNOWN_SERVER_ERROR
    (record,) = caplog.records
    assert record.levelno == logging.ERROR
    assert record.getMessage() == "Metadata version 1 of client 'me' (correlation id 77, c-1) failed"
    assert record.exc_info is not None
    assert bench.metrics.handler_failures == 1


async def test_a_response_that_cannot_be_encoded_is_a_bug_and_its_files_are_released(
    caplog: pytest.LogCaptureFixture,
) -> None:
    bench = Bench()
    part = MemorySlice(b"records")
    bench.handler.outcome = FetchResponse(
        throttle_time_ms=2**40,
        responses=[
            FetchResponse.FetchableTopicResponse(partitions=[FetchResponse.PartitionData(records=part)])
        ],
    )
    answer = await bench.ask(frame(1, 7, encode(FetchRequest(), 7)))
    assert answer is not None
    assert decode_exactly(FetchResponse, 7, answer, 4).error_code == ErrorCode.UNKNOWN_SERVER_ERROR
    assert part.releases == 1
    assert len(caplog.records) == 1


async def test_file_slices_travel_as_parts_of_the_reply() -> None:
    bench = Bench()
    response = FetchResponse(
        responses=[
            FetchResponse.FetchableTopicResponse(
                topic="t", partitions=[FetchResponse.PartitionData(records=MemorySlice(b"records"))]
            )
        ]
    )
    bench.handler.outcome = response
    answer = await bench.ask(frame(1, 7, encode(FetchRequest(), 7)))
    assert answer is not None
    decoded = decode_exactly(FetchResponse, 7, answer, 4)
    assert bytes(decoded.responses[0].partitions[0].records) == b"records"


async def test_a_failed_produce_without_acknowledgement_closes_the_connection() -> None:
    bench = Bench()
    bench.handler.outcome = ApiError(ErrorCode.NOT_LEADER_OR_FOLLOWER)
    with pytest.raises(CloseConnection, match="Produce failed with NOT_LEADER_OR_FOLLOWER"):
        await bench.ask(frame(0, 3, encode(ProduceRequest(acks=0), 3)))


async def test_a_failed_produce_tells_every_partition() -> None:
    bench = Bench()
    bench.handler.outcome = ApiError(ErrorCode.CLUSTER_AUTHORIZATION_FAILED, "no")
    topic = ProduceRequest.TopicProduceData
    partition = ProduceRequest.PartitionProduceData
    request = ProduceRequest(
        acks=1,
        topic_data=[topic(name="a", partition_data=[partition(index=4, records=b""), partition(index=5)])],
    )
    answer = await bench.ask(frame(0, 8, encode(request, 8)))
    assert answer is not None
    (told,) = decode_exactly(ProduceResponse, 8, answer, 4).responses
    assert told.name == "a"
    assert [(p.index, p.error_code, p.base_offset, p.error_message) for p in told.partition_responses] == [
        (4, 31, -1, "no"),
        (5, 31, -1, "no"),
    ]


async def test_closing_and_cancellation_pass_through() -> None:
    bench = Bench()
    bench.handler.outcome = CloseConnection("enough")
    with pytest.raises(CloseConnection, match="enough"):
        await bench.ask(METADATA)

    async def endless(context: RequestContext, request: Any) -> Any:
        await trio.sleep_forever()

    dispatcher = Dispatcher([Route(3, 0, 1, endless)], lambda: IMAGE, ServerMetrics())
    with trio.CancelScope() as scope:
        scope.cancel()
        await dispatcher.handle_frame(bench.connection, memoryview(METADATA))
    assert scope.cancelled_caught


async def test_strangers_may_only_ask_for_versions_and_authenticate() -> None:
    bench = Bench()
    bench.connection.is_authenticated = False
    assert await bench.ask(frame(18, 0, b"")) is not None
    with pytest.raises(CloseConnection, match="Metadata before authentication"):
        await bench.ask(METADATA)


async def test_the_seam_can_answer_in_the_handlers_place() -> None:
    async def fault(context: RequestContext, request: Any, answer: Answer) -> Any:
        return MetadataResponse(controller_id=9) if context.correlation_id == 77 else await answer(request)

    bench = Bench(around=fault)
    answer = await bench.ask(METADATA)
    assert answer is not None
    assert decode_exactly(MetadataResponse, 1, answer, 4).controller_id == 9
    assert bench.handler.seen == []


async def test_the_seam_sees_both_sides_and_can_swallow_the_reply() -> None:
    seen: list[tuple[int, int]] = []

    async def watch(context: RequestContext, request: Any, answer: Answer) -> Any:
        response = await answer(request)
        seen.append((len(request.topics), response.controller_id))
        return None if len(seen) > 1 else response

    bench = Bench(around=watch)
    assert await bench.ask(METADATA) is not None
    assert await bench.ask(METADATA) is None
    assert seen == [(1, -1), (1, -1)]


async def test_the_seam_sees_a_failure_as_the_reply_that_tells_of_it() -> None:
    async def watch(context: RequestContext, request: Any, answer: Answer) -> Any:
        response = await answer(request)
        assert [topic.error_code for topic in response.topics] == [ErrorCode.UNKNOWN_SERVER_ERROR]
        return response

    bench = Bench(around=watch)
    bench.handler.outcome = RuntimeError("a bug")
    assert await bench.ask(METADATA) is not None


async def test_the_outer_seam_of_a_chain_sees_what_the_inner_one_made() -> None:
    async def inner(context: RequestContext, request: Any, answer: Answer) -> Any:
        return MetadataResponse(controller_id=3)

    async def outer(context: RequestContext, request: Any, answer: Answer) -> Any:
        response = await answer(request)
        response.controller_id += 1
        return response

    answer = await Bench(around=chain(outer, inner)).ask(METADATA)
    assert answer is not None
    assert decode_exactly(MetadataResponse, 1, answer, 4).controller_id == 4


@pytest.mark.parametrize("ending", ["swallowed", "closed"])
async def test_a_reply_that_is_not_sent_lets_go_of_its_files(ending: str) -> None:
    async def swallow(context: RequestContext, request: Any, answer: Answer) -> Any:
        await answer(request)
        if ending == "closed":
            raise CloseConnection("enough")

    part = MemorySlice(b"records")
    bench = Bench(around=swallow)
    partition = FetchResponse.PartitionData(records=part)
    bench.handler.outcome = FetchResponse(
        responses=[FetchResponse.FetchableTopicResponse(partitions=[partition])]
    )
    asked = frame(1, 7, encode(FetchRequest(), 7))
    if ending == "closed":
        with pytest.raises(CloseConnection):
            await bench.ask(asked)
    else:
        assert await bench.ask(asked) is None
    assert part.releases == 1


def test_releasing_ignores_what_holds_no_file() -> None:
    release_slices([b"x", memoryview(b"x"), None, 1, "text", MetadataResponse()])


@pytest.mark.parametrize(
    ("route", "words"),
    [
        (Route(4711, 0, 0, Handler()), "no API 4711"),
        (Route(3, 0, 99, Handler()), "Metadata cannot serve versions 0 to 99"),
        (Route(3, 2, 1, Handler()), "Metadata cannot serve versions 2 to 1"),
    ],
)
def test_a_route_that_the_protocol_does_not_know_stops_the_start(route: Route, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Dispatcher([route], lambda: IMAGE, ServerMetrics())


def test_an_api_with_two_routes_stops_the_start() -> None:
    with pytest.raises(ValueError, match="API 3 has two routes"):
        Dispatcher([Route(3, 0, 1, Handler()), Route(3, 2, 3, Handler())], lambda: IMAGE, ServerMetrics())
