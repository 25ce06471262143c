"""ApiVersions lists the registry, keeps the client's name, and speaks to clients of every age."""

from typing import Any

import pytest

from pybroker.handlers.api_versions import ApiVersions, Features, unsupported_version_response
from pybroker.handlers.context import ConnectionState, RequestContext
from pybroker.handlers.routes import Route
from pybroker.model.errors import ErrorCode
from pybroker.protocol.codec import decode_exactly, encode
from pybroker.protocol.messages import ApiVersionsRequest, ApiVersionsResponse

IMAGE: Any = object()


async def nobody(context: RequestContext, request: Any) -> Any:
    raise AssertionError("not called")


ROUTES = (Route(3, 0, 12, nobody), Route(18, 0, 4, nobody))
FEATURES = Features(
    supported={"metadata.version": (1, 21), "group.version": (0, 1)},
    finalized={"group.version": 1, "kraft.version": 0},
    epoch=7,
)


async def ask(
    version: int, name: str = "apache-kafka-java", release: str = "3.9.0"
) -> tuple[ApiVersionsResponse, ConnectionState]:
    connection = ConnectionState(connection_id="c", listener="PLAINTEXT")
    context = RequestContext(18, version, 1, None, connection, IMAGE)
    request = ApiVersionsRequest(client_software_name=name, client_software_version=release)
    response = await ApiVersions(lambda: ROUTES, lambda: FEATURES)(context, request)
    return decode_exactly(ApiVersionsResponse, version, encode(response, version)), connection


@pytest.mark.parametrize("version", range(5))
async def test_every_version_lists_the_registry(version: int) -> None:
    response, _ = await ask(version)
    assert response.error_code == ErrorCode.NONE
    assert [(row.api_key, row.min_version, row.max_version) for row in response.api_keys] == [
        (3, 0, 12),
        (18, 0, 4),
    ]


async def test_the_clients_name_is_kept_for_the_connection() -> None:
    _, connection = await ask(3, "librdkafka", "2.6.1-rc1")
    assert (connection.software_name, connection.software_version) == ("librdkafka", "2.6.1-rc1")


@pytest.mark.parametrize(
    ("name", "release"),
    [("", "1"), ("x", ""), ("a b", "1"), ("-a", "1"), ("a", "1."), ("a\n", "1"), ("ü", "1")],
)
async def test_a_name_with_other_characters_is_an_invalid_request(name: str, release: str) -> None:
    response, connection = await ask(4, name, release)
    assert response.error_code == ErrorCode.INVALID_REQUEST
    assert response.api_keys == []
    assert connection.software_name == ""


async def test_older_clients_send_no_name_and_are_not_asked_for_one() -> None:
    response, _ = await ask(2, "", "")
    assert response.error_code == ErrorCode.NONE


async def test_features_with_level_0_are_shown_from_version_4_on() -> None:
    old, _ = await ask(3)
    new, _ = await ask(4)
    assert [f.name for f in old.supported_features] == ["metadata.version"]
    assert [(f.name, f.min_version, f.max_version) for f in new.supported_features] == [
        ("metadata.version", 1, 21),
        ("group.version", 0, 1),
    ]


async def test_only_features_in_force_are_finalized() -> None:
    response, _ = await ask(3)
    assert response.finalized_features_epoch == 7
    assert [(f.name, f.max_version_level, f.min_version_level) for f in response.finalized_features] == [
        ("group.version", 1, 1)
    ]


def test_the_answer_to_an_unknown_version_names_the_versions_of_this_api_only() -> None:
    response = unsupported_version_response(ROUTES[1])
    decoded = decode_exactly(ApiVersionsResponse, 0, encode(response, 0))
    assert decoded.error_code == ErrorCode.UNSUPPORTED_VERSION
    assert [(row.api_key, row.min_version, row.max_version) for row in decoded.api_keys] == [(18, 0, 4)]
