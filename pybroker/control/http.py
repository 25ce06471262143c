"""The HTTP API over the operations: ``POST /v1/<operation>`` with a JSON object of arguments.

The answer is JSON: the result, or ``{"kind": …, "error": …}`` with a status of 400 and above. ``GET
/v1/openapi.json`` describes all of it, ``GET /health`` answers when the cluster serves.
"""

import hmac
import json
import logging
import socket
from typing import Any

import trio
from hypercorn.config import Config
from hypercorn.trio import serve
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from pybroker import __version__
from pybroker.control.openapi import describe
from pybroker.control.operations import (
    EXPECTED,
    OPERATION_BY_NAME,
    Controls,
    NoSuchThing,
    OperationFailed,
    TimedOut,
)
from pybroker.control.reading import BadInput, read
from pybroker.instruments.faults import InvalidFault

log = logging.getLogger(__name__)

MAX_BODY_BYTES = 16 << 20
_STATUS: dict[type[Exception], int] = {
    BadInput: 400,
    InvalidFault: 400,
    NoSuchThing: 404,
    TimedOut: 408,
    OperationFailed: 409,
}


def bind(address: str) -> socket.socket:
    """A listening socket at ``host:port``; port 0 takes a free one.

    Raises:
        OSError: it cannot be had.
    """
    host, _, port = address.rpartition(":")
    return socket.create_server((host.strip("[]"), int(port)), reuse_port=False)


async def run(
    controls: Controls,
    listening: socket.socket,
    token: str = "",
    *,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serves the API on a listening socket until cancelled. Who does not show the token, if there is one, is
    refused."""
    config = Config()
    config.bind = [f"fd://{listening.detach()}"]
    config.graceful_timeout = 0.1
    config.loglevel = "WARNING"
    task_status.started()
    # Hypercorn listens to signals unless it is given something else to wait for.
    await serve(application(controls, token), config, shutdown_trigger=trio.sleep_forever)  # type: ignore[arg-type]


def application(controls: Controls, token: str = "") -> Starlette:
    """The API as an ASGI application."""
    api = _Api(controls, token)
    return Starlette(
        routes=[
            Route("/v1/openapi.json", api.openapi, methods=["GET"]),
            Route("/v1/{operation}", api.operate, methods=["POST"]),
            Route("/health", api.health, methods=["GET"]),
        ]
    )


class _Api:
    def __init__(self, controls: Controls, token: str) -> None:
        self._controls = controls
        self._token = token

    async def health(self, _request: Request) -> Response:
        return JSONResponse({"version": __version__})

    async def openapi(self, _request: Request) -> Response:
        return JSONResponse(describe())

    async def operate(self, request: Request) -> Response:
        if not self._is_allowed(request):
            return _refusal(401, "Unauthorized", "show the token: Authorization: Bearer <token>")
        name = request.path_params["operation"]
        operation = OPERATION_BY_NAME.get(name)
        if operation is None:
            known = ", ".join(OPERATION_BY_NAME)
            return _refusal(404, "NoSuchThing", f"there is no operation {name!r}; there are: {known}")
        try:
            arguments: Any = read(operation.arguments, _parsed(await _body(request)))
            return JSONResponse(await self._controls(name, arguments))
        except EXPECTED as error:
            return _refusal(_STATUS[type(error)], type(error).__name__, str(error))
        except Exception as error:  # the boundary of a bug
            log.exception("the operation %s failed", name)
            return _refusal(500, "Bug", f"{type(error).__name__}: {error}")

    def _is_allowed(self, request: Request) -> bool:
        if not self._token:
            return True
        shown = request.headers.get("authorization", "").removeprefix("Bearer ")
        return hmac.compare_digest(shown.encode(), self._token.encode())


async def _body(request: Request) -> bytes:
    body = bytearray()
    async for piece in request.stream():
        body += piece
        if len(body) > MAX_BODY_BYTES:
            raise BadInput(f"the body is larger than {MAX_BODY_BYTES} bytes")
    return bytes(body)


def _parsed(body: bytes) -> Any:
    try:
        return json.loads(body) if body.strip() else {}
    except ValueError as error:
        raise BadInput(f"the body is no JSON: {error}") from None


def _refusal(status: int, kind: str, error: str) -> Response:
    return JSONResponse({"kind": kind, "error": error}, status_code=status)
