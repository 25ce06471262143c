"""From a frame to its reply: header, gates, decode, handler, encode.

Errors come in four kinds. A frame that cannot be read or is not served closes the connection with one log
line (ApiVersions alone is answered, in its first version). What a client must expect is an :class:`ApiError`.
A bug is logged once with its traceback and answered with UNKNOWN_SERVER_ERROR. Cancellation passes through.
"""

import logging
import struct
from collections.abc import Callable, Iterable
from typing import Any

import trio

from pybroker.handlers.api_versions import unsupported_version_response
from pybroker.handlers.context import ConnectionState, RequestContext
from pybroker.handlers.late import LateHandler
from pybroker.handlers.routes import Handler, Route
from pybroker.handlers.shared import SharedResponse
from pybroker.instruments.metrics import ServerMetrics
from pybroker.instruments.seams import Around
from pybroker.metadata.image import ClusterImage
from pybroker.model.errors import ApiError, CloseConnection, ErrorCode
from pybroker.protocol.apis import ApiSpec, api_by_key
from pybroker.protocol.codec import decoder, parts_encoder
from pybroker.protocol.error_replies import error_response
from pybroker.protocol.errors import MalformedMessage
from pybroker.protocol.messages import Message, RequestHeader
from pybroker.protocol.slices import release_slices
from pybroker.server.transport import Part

log = logging.getLogger(__name__)
request_log = logging.getLogger("kafka.request.logger")
"""By Kafka's name: at DEBUG one line for every request. Its level can be set at run time (KIP-412)."""

API_VERSIONS = 18
OPEN_TO_STRANGERS = frozenset({API_VERSIONS, 17, 36})
"""The APIs that may be called before authentication: ApiVersions, SaslHandshake, SaslAuthenticate."""

_START = struct.Struct(">hhi")
_SIZE_BYTES = 4
_HEADS = (struct.Struct(">ii"), struct.Struct(">iix"))
"""Size and response header by version: the correlation id, in version 1 an empty tag section."""


class _Call:
    """Everything that requests of one API and version need, made once by :func:`_make_call`."""

    __slots__ = ("_body_parts", "_head", "_head_bytes", "api", "decode_body", "decode_header", "handler")

    def __init__(
        self,
        api: ApiSpec,
        version: int,
        handler: Handler,
        decode_body: Callable[..., tuple[Any, int]],
        body_parts: Callable[[Any], list[Part]],
    ) -> None:
        self.api = api
        self.handler = handler
        self.decode_header = decoder(RequestHeader, api.request_header_version(version))
        self.decode_body = decode_body
        self._body_parts = body_parts
        self._head = _HEADS[api.response_header_version(version)]
        self._head_bytes = self._head.size - _SIZE_BYTES

    def encode_reply(self, correlation_id: int, response: Message | SharedResponse[Any]) -> list[Part]:
        """A whole reply: its size, its header and its body."""
        parts: list[Part]
        if isinstance(response, SharedResponse):
            parts = response.parts(self._body_parts)
        else:
            parts = self._body_parts(response)
        size = self._head_bytes
        for part in parts:
            size += len(part)
        parts.insert(0, self._head.pack(size, correlation_id))
        return parts


async def _make_call(api: ApiSpec, version: int, handler: Handler) -> _Call:
    """In steps of a few milliseconds, between which others have their turn: importing, generating twice."""
    made = handler.made() if isinstance(handler, LateHandler) else handler
    await trio.lowlevel.checkpoint()
    decode_body = decoder(api.request, version)
    await trio.lowlevel.checkpoint()
    return _Call(api, version, made, decode_body, parts_encoder(api.response, version))


def expected_error(error: Exception) -> ErrorCode | None:
    """The code of an exception that is no bug; None for all others. The default of ``Dispatcher``."""
    return error.code if isinstance(error, ApiError) else None


class Dispatcher:
    """Answers frames by the routes of the registry.

    Args:
        routes: what is served.
        image: gives the current cluster image; taken once per request.
        metrics: counts requests and refusals.
        expected_error: the table that maps exceptions to error codes.
        around: the seam; None is free.

    Raises:
        ValueError: a route serves an API or a version that the protocol does not know, or one twice.
    """

    def __init__(
        self,
        routes: Iterable[Route],
        image: Callable[[], ClusterImage],
        metrics: ServerMetrics,
        *,
        expected_error: Callable[[Exception], ErrorCode | None] = expected_error,
        around: Around | None = None,
    ) -> None:
        self._routes: dict[int, Route] = {}
        for route in routes:
            _check(route)
            if self._routes.setdefault(route.key, route) is not route:
                raise ValueError(f"API {route.key} has two routes")
        self._calls: dict[tuple[int, int], _Call] = {}
        self._image = image
        self._metrics = metrics
        self._expected_error = expected_error
        self._around = around

    async def handle_frame(self, connection: ConnectionState, frame: memoryview) -> list[Part] | None:
        """The reply to one frame, with its size in front; None when the request has no reply.

        Raises:
            CloseConnection: the frame cannot be answered; the message says why.
        """
        try:
            key, version, correlation_id = _START.unpack_from(frame)
        except struct.error:
            raise self._refusal(f"a frame of {len(frame)} bytes is no request") from None
        call = self._calls.get((key, version)) or await self._find_call(key, version)
        if call is None:
            route = self._routes[key]
            in_first_version = await _make_call(api_by_key[key], 0, route.handler)
            return in_first_version.encode_reply(correlation_id, unsupported_version_response(route))
        if not connection.is_authenticated and key not in OPEN_TO_STRANGERS:
            raise self._refusal(f"{call.api.name} before authentication")
        try:
            header, start = call.decode_header(frame, 0)
            # Bytes after the body are ignored, as in Kafka: librdkafka 2.16 sends three with Metadata v13.
            request, _ = call.decode_body(frame, start)
        except MalformedMessage as error:
            raise self._refusal(f"malformed: {error}") from None
        context = RequestContext(key, version, correlation_id, header.client_id, connection, self._image())
        self._metrics.requests[key] += 1
        if request_log.isEnabledFor(logging.DEBUG):
            request_log.debug(
                "%s version %d of client %r (correlation id %d, %s)",
                call.api.name,
                version,
                header.client_id,
                correlation_id,
                connection.connection_id,
            )
        try:
            if self._around is None:
                response = await call.handler(context, request)
            else:
                response = await self._intercepted(self._around, call, context, request)
        except CloseConnection:
            raise
        except Exception as error:  # noqa: BLE001 - the boundary of a bug
            response = self._failure(call, context, request, error)
        if response is None:
            return None
        try:
            return call.encode_reply(correlation_id, response)
        except Exception as error:  # noqa: BLE001 - the boundary of a bug
            release_slices(response)
            return call.encode_reply(correlation_id, self._failure(call, context, request, error))

    async def _intercepted(self, around: Around, call: _Call, context: RequestContext, request: Any) -> Any:
        """What the seam has sent. Files of a response that is not sent are let go."""
        made: list[Any] = []

        async def answer(wanted: Any) -> Any:
            try:
                response = await call.handler(context, wanted)
                made.append(response.copy() if isinstance(response, SharedResponse) else response)
            except CloseConnection:
                raise
            except Exception as error:  # noqa: BLE001 - the boundary of a bug
                made.append(self._failure(call, context, wanted, error))
            return made[-1]

        response = None
        try:
            response = await around(context, request, answer)
        finally:
            for other in made:
                if other is not response:
                    release_slices(other)
        return response

    def _failure(self, call: _Call, context: RequestContext, request: Any, error: Exception) -> Any:
        """The response that tells of an exception.

        Raises:
            CloseConnection: this API has no way to tell.
        """
        code = self._expected_error(error)
        message = error.message if isinstance(error, ApiError) else None
        if code is None:
            self._metrics.handler_failures += 1
            code = ErrorCode.UNKNOWN_SERVER_ERROR
            log.error(
                "%s version %d of client %r (correlation id %d, %s) failed",
                call.api.name,
                context.api_version,
                context.client_id,
                context.correlation_id,
                context.connection_id,
                exc_info=error,
            )
        response = error_response(call.api, context.api_version, request, code, message)
        if response is None:
            raise CloseConnection(f"{call.api.name} failed with {code.name} and has no reply to say so")
        return response

    async def _find_call(self, key: int, version: int) -> _Call | None:
        """Makes the row of an API and version; None for a version of ApiVersions that is not served."""
        route = self._routes.get(key)
        if route is None:
            name = api_by_key[key].name if key in api_by_key else "the unknown"
            raise self._refusal(f"{name} API {key} is not served")
        api = api_by_key[key]
        if not route.min_version <= version <= route.max_version:
            if key == API_VERSIONS:
                return None
            raise self._refusal(f"{api.name} version {version} is not served")
        call = await _make_call(api, version, route.handler)
        self._calls[key, version] = call
        return call

    def _refusal(self, reason: str) -> CloseConnection:
        self._metrics.frames_refused += 1
        return CloseConnection(reason)


def _check(route: Route) -> None:
    api = api_by_key.get(route.key)
    if api is None:
        raise ValueError(f"the protocol has no API {route.key}")
    lowest, highest = api.versions
    if not lowest <= route.min_version <= route.max_version <= highest:
        raise ValueError(
            f"{api.name} cannot serve versions {route.min_version} to {route.max_version}, "
            f"only {lowest} to {highest}"
        )
