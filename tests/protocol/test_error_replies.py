"""One code for a whole request reaches every item that the request names."""

from typing import Any

import pytest

from pybroker.model.errors import ErrorCode
from pybroker.protocol.apis import ApiSpec, api_by_key
from pybroker.protocol.codec import encode
from pybroker.protocol.error_replies import ITSELF, MIRRORS, Mirror, error_response

CODE = ErrorCode.CLUSTER_AUTHORIZATION_FAILED
WITHOUT_REPLY = {34}
"""AlterReplicaLogDirs nests its request the other way round; a bug there closes the connection."""


def sample(api: ApiSpec, version: int) -> Any:
    """A request with one item in every list of the version."""
    owner = api.request
    return fill(owner(), owner, owner.__spec__.fields, owner.__spec__, version)


def fill(target: Any, owner: Any, fields: Any, spec: Any, version: int) -> Any:
    scalars = {"string": "name", "uuid": bytes(range(16)), "bool": False, "float64": 0.0, "bytes": b"b"}
    for field in fields:
        if version not in field.versions or not field.is_array:
            continue
        if field.is_struct:
            item = getattr(owner, field.type)()
            fill(item, owner, spec.structs[field.type].fields, spec, version)
        else:
            item = scalars.get(field.type, 3)
        setattr(target, field.name, [item])
    return target


def codes(message: Any) -> list[int]:
    found = []
    for name in message.__slots__:
        value = getattr(message, name)
        if name.endswith("error_code") and name != "topic_config_error_code":
            found.append(value)
        elif isinstance(value, list):
            for item in value:
                if hasattr(item, "__slots__"):
                    found += codes(item)
    return found


@pytest.mark.parametrize("api", api_by_key.values(), ids=lambda api: api.name)
def test_every_version_of_every_api_can_tell_an_error(api: ApiSpec) -> None:
    for version in range(api.versions[0], api.versions[1] + 1):
        request = sample(api, version)
        if api.key == 0:
            request.acks = 1
        response = error_response(api, version, request, CODE, "why")
        if api.key in WITHOUT_REPLY:
            assert response is None
            continue
        assert response is not None
        encode(response, version)
        if api.key == 35 and version < 3:
            continue
        assert CODE in codes(response), f"{api.name} version {version}"


def walk(mirror: Mirror) -> list[Mirror]:
    return [mirror, *(walk(mirror.inner) if mirror.inner else [])]


@pytest.mark.parametrize("key", MIRRORS)
def test_the_table_names_fields_that_exist(key: int) -> None:
    response = api_by_key[key].response
    for top in MIRRORS[key]:
        assert top.response_list in response.__slots__
        for mirror in walk(top):
            struct = getattr(response, mirror.struct)
            assert set(mirror.keys) | set(mirror.fixed) <= set(struct.__slots__)
            assert mirror.inner is not None or mirror.code in struct.__slots__
            assert mirror.keys.get(ITSELF) is None


def test_an_api_outside_the_table_has_no_reply() -> None:
    api = api_by_key[34]
    assert error_response(api, 1, api.request(), CODE) is None


def test_a_request_for_all_topics_has_nothing_to_tell_of() -> None:
    api = api_by_key[3]
    request = api.request()
    request.topics = None  # type: ignore[attr-defined]
    response = error_response(api, 12, request, CODE)
    assert response is not None
    assert response.topics == []
