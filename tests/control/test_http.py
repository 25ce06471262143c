"""The HTTP API: operations by name, refusals by status, the token, and the description of itself."""

from typing import Any

import httpx
import pytest
from openapi_spec_validator import validate

from pybroker.control import operations as ops
from pybroker.control.http import MAX_BODY_BYTES, application
from pybroker.control.operations import NoSuchThing, OperationFailed, TimedOut
from pybroker.testing.controls import HostControls


class Recorder:
    """Controls that remember what was asked, and answer or fail as they are told."""

    def __init__(self, outcome: Any = None) -> None:
        self.outcome = outcome
        self.asked: list[tuple[str, Any]] = []

    async def __call__(self, operation: str, arguments: Any, /) -> Any:
        self.asked.append((operation, arguments))
        if isinstance(self.outcome, Exception):
            raise self.outcome
        return self.outcome


def client(controls: Recorder, token: str = "", **headers: str) -> httpx.AsyncClient:
    transport = httpx.ASGITransport(app=application(controls, token), raise_app_exceptions=False)
    return httpx.AsyncClient(transport=transport, base_url="http://broker", headers=headers)


async def test_an_operation_gets_its_arguments_and_gives_its_result() -> None:
    controls = Recorder({"now_ms": 7})
    async with client(controls) as http:
        answer = await http.post("/v1/advance", json={"days": 8, "only": "retention"})
    assert (answer.status_code, answer.json()) == (200, {"now_ms": 7})
    assert controls.asked == [("advance", ops.Advance(days=8.0, only=("retention",)))]
    assert ops.Advance(days=1, hours=1, minutes=1, seconds=1.5, ms=1).total_ms == 90_061_501


async def test_no_body_means_no_arguments() -> None:
    controls = Recorder()
    async with client(controls) as http:
        assert (await http.post("/v1/reset")).json() is None
    assert controls.asked == [("reset", ops.Nothing())]


@pytest.mark.parametrize(
    ("outcome", "status"),
    [
        (NoSuchThing("x"), 404),
        (TimedOut("x"), 408),
        (OperationFailed("x"), 409),
        (RuntimeError("x"), 500),
    ],
)
async def test_a_failure_has_a_status_a_kind_and_words(outcome: Exception, status: int) -> None:
    async with client(Recorder(outcome)) as http:
        answer = await http.post("/v1/reset")
    assert answer.status_code == status
    assert "x" in answer.json()["error"]


@pytest.mark.parametrize(
    ("path", "body", "status", "words"),
    [
        ("/v1/rest", b"", 404, "there is no operation 'rest'; there are: reset"),
        ("/v1/kill", b"{}", 400, "broker is missing"),
        ("/v1/kill", b"{", 400, "the body is no JSON"),
        ("/v1/kill", b'{"broker": "first"}', 400, "'first' is not a whole number"),
        ("/v1/kill", b" " * (MAX_BODY_BYTES + 1), 400, "larger than"),
    ],
)
async def test_a_bad_request_reaches_no_operation(path: str, body: bytes, status: int, words: str) -> None:
    controls = Recorder()
    async with client(controls) as http:
        answer = await http.post(path, content=body)
    assert answer.status_code == status
    assert words in answer.json()["error"]
    assert controls.asked == []


async def test_without_the_token_nothing_is_done() -> None:
    controls = Recorder()
    async with client(controls, token="secret") as http:
        assert (await http.post("/v1/reset")).status_code == 401
        assert (await http.post("/v1/reset", headers={"Authorization": "Bearer sesame"})).status_code == 401
        assert controls.asked == []
        assert (await http.post("/v1/reset", headers={"Authorization": "Bearer secret"})).status_code == 200
        assert (await http.get("/health")).status_code == 200


async def test_the_description_is_valid_openapi_and_has_every_operation() -> None:
    async with client(Recorder()) as http:
        described = (await http.get("/v1/openapi.json")).json()
    validate(described)
    assert set(described["paths"]) == {f"/v1/{operation.name}" for operation in ops.OPERATIONS}


def test_every_operation_can_be_carried_out() -> None:
    assert [each.name for each in ops.OPERATIONS if not hasattr(HostControls, each.name)] == []
