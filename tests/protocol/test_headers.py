"""Headers around requests and responses."""

import pytest

from pybroker.protocol.codec import MalformedMessage, encode
from pybroker.protocol.headers import UnknownApi, decode_request_header, encode_response_header
from pybroker.protocol.messages import RequestHeader, ResponseHeader


def header(key: int, version: int, client_id: str | None = "client") -> RequestHeader:
    return RequestHeader(
        request_api_key=key, request_api_version=version, correlation_id=77, client_id=client_id
    )


@pytest.mark.parametrize(
    ("key", "version", "header_version"), [(7, 0, 0), (0, 8, 1), (0, 9, 2), (18, 99, 2), (17, 0, 1)]
)
@pytest.mark.parametrize("client_id", [None, "", "ünïcode"])
def test_the_header_version_follows_from_api_and_version(
    key: int, version: int, header_version: int, client_id: str | None
) -> None:
    data = encode(header(key, version, client_id), header_version)
    expected = header(key, version, client_id if header_version else "")
    assert decode_request_header(memoryview(bytearray(data + b"body"))) == (expected, len(data))


def test_tagged_fields_of_the_header_are_skipped() -> None:
    data = encode(header(0, 9), 2)[:-1] + bytes.fromhex("010302aabb")
    assert decode_request_header(data) == (header(0, 9), len(data))


def test_an_unknown_api_is_reported_with_its_correlation_id() -> None:
    with pytest.raises(UnknownApi) as caught:
        decode_request_header(encode(header(999, 3), 1))
    assert (caught.value.api_key, caught.value.api_version, caught.value.correlation_id) == (999, 3, 77)


@pytest.mark.parametrize("size", range(16))
def test_a_header_cut_short_is_malformed(size: int) -> None:
    with pytest.raises(MalformedMessage):
        decode_request_header(encode(header(0, 8), 1)[:size])


@pytest.mark.parametrize("version", [0, 1])
def test_response_headers_are_those_of_the_spec(version: int) -> None:
    assert encode_response_header(-5, version) == encode(ResponseHeader(correlation_id=-5), version)
