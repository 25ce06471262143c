"""The headers around requests and responses; which version of them applies follows from the API."""

from collections.abc import Callable
from struct import Struct
from typing import Final

from pybroker.protocol.apis import api_by_key
from pybroker.protocol.codec import decoder
from pybroker.protocol.errors import MalformedMessage
from pybroker.protocol.messages import RequestHeader

_LEAD: Final = Struct(">hhi")
_CORRELATION_ID: Final = (Struct(">i").pack, Struct(">ix").pack)

_decoders: dict[tuple[int, int], Callable[..., tuple[RequestHeader, int]]] = {}


class UnknownApi(MalformedMessage):
    """A request whose API key has no spec, so that not even its header can be read to the end."""

    def __init__(self, api_key: int, api_version: int, correlation_id: int) -> None:
        super().__init__(
            f"unknown API key {api_key} (version {api_version}, correlation id {correlation_id})"
        )
        self.api_key = api_key
        self.api_version = api_version
        self.correlation_id = correlation_id


def decode_request_header(frame: bytes | bytearray | memoryview) -> tuple[RequestHeader, int]:
    """The header at the start of a frame, and the position of the body.

    The version is not checked against the versions of the API: the caller answers for that.

    Raises:
        UnknownApi: there is no spec for the API key.
        MalformedMessage: the header is cut short or broken.
    """
    if len(frame) < _LEAD.size:
        raise MalformedMessage(f"a request of {len(frame)} bytes has no header")
    api_key, api_version, correlation_id = _LEAD.unpack_from(frame)
    decode = _decoders.get((api_key, api_version))
    if decode is None:
        if api_key not in api_by_key:
            raise UnknownApi(api_key, api_version, correlation_id)
        decode = _decoder(api_key, api_version)
    return decode(frame)


def _decoder(api_key: int, api_version: int) -> Callable[..., tuple[RequestHeader, int]]:
    """The decoder of the header. Only versions that exist are remembered: clients must not fill memory."""
    api = api_by_key[api_key]
    found = decoder(RequestHeader, api.request_header_version(api_version))
    first, last = api.versions
    if first <= api_version <= last:
        _decoders[api_key, api_version] = found
    return found


def encode_response_header(correlation_id: int, version: int) -> bytes:
    """ResponseHeader of version 0 or 1 as bytes; version 1 ends with an empty tag section."""
    return _CORRELATION_ID[version](correlation_id)
