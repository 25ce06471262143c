"""From a message to the bytes of a request frame, right or wrong."""

from collections.abc import Callable
from typing import Any

from interop.differential.wire import CLIENT_ID, CORRELATION_ID, framed
from pybroker.protocol.apis import ApiSpec, api_by_key
from pybroker.protocol.codec import encode
from pybroker.protocol.message_classes import Message
from pybroker.protocol.messages import RequestHeader

API_OF: dict[type[Any], ApiSpec] = {api.request: api for api in api_by_key.values()}
Twist = Callable[[bytes, bytes, bool], tuple[bytes, bytes]]
"""What makes a frame wrong: (header, body, is flexible) -> (header, body)."""

NULL_HERE = "\x01null\x01"
"""A string that is sent as null, whatever the field allows."""

LONG_HERE = "\x01long\x01"
"""A string whose length says more than the frame holds."""


def header_of(api: ApiSpec, version: int, client_id: str | None = CLIENT_ID) -> bytes:
    header = RequestHeader(
        request_api_key=api.key,
        request_api_version=version,
        correlation_id=CORRELATION_ID,
        client_id=client_id,
    )
    return encode(header, api.request_header_version(version))


def request_frame(message: Message, version: int, twist: Twist | None, client_id: str | None) -> bytes:
    """The frame of a request, length included."""
    api = API_OF[type(message)]
    header, body = header_of(api, version, client_id), encode(message, version)
    is_flexible = api.is_flexible(version)
    body = _spoil_strings(body, is_flexible=is_flexible)
    if twist is not None:
        header, body = twist(header, body, is_flexible)
    return framed(header + body)


def _spoil_strings(body: bytes, *, is_flexible: bool) -> bytes:
    for mark, compact, plain in ((NULL_HERE, b"\x00", b"\xff\xff"), (LONG_HERE, b"\xff\x7f", b"\x7f\xff")):
        text = mark.encode()
        kept = b"" if mark == NULL_HERE else text
        length = bytes([len(text) + 1]) if is_flexible else len(text).to_bytes(2, "big")
        body = body.replace(length + text, (compact if is_flexible else plain) + kept)
    return body


def trailing(header: bytes, body: bytes, _is_flexible: bool) -> tuple[bytes, bytes]:
    return header, body + b"\x00\x01\x02"


def cut_by_one(header: bytes, body: bytes, _is_flexible: bool) -> tuple[bytes, bytes]:
    return (header, body[:-1]) if body else (header[:-1], body)


def cut_in_half(header: bytes, body: bytes, _is_flexible: bool) -> tuple[bytes, bytes]:
    return header, body[: len(body) // 2]


def no_body(header: bytes, _body: bytes, _is_flexible: bool) -> tuple[bytes, bytes]:
    return header, b""


def unknown_tag(header: bytes, body: bytes, is_flexible: bool) -> tuple[bytes, bytes]:
    """A tagged field that nobody knows, at the end of a body that ends without any."""
    if not is_flexible or not body.endswith(b"\x00"):
        return header, body
    return header, body[:-1] + b"\x01\x63\x02\xab\xcd"


def header_tag(header: bytes, body: bytes, is_flexible: bool) -> tuple[bytes, bytes]:
    """The same in the header."""
    return (header[:-1] + b"\x01\x63\x02\xab\xcd", body) if is_flexible else (header, body)


def headless(header: bytes, _body: bytes, _is_flexible: bool) -> tuple[bytes, bytes]:
    """Nothing after the correlation id."""
    return header[:8], b""


WRONG_FRAMES: dict[str, Twist] = {
    "bytes after the end": trailing,
    "last byte missing": cut_by_one,
    "second half missing": cut_in_half,
    "no body": no_body,
    "header without client id": headless,
}
RIGHT_FRAMES: dict[str, Twist] = {
    "unknown tag in the body": unknown_tag,
    "unknown tag in the header": header_tag,
}
