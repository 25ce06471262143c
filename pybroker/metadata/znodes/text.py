"""How znodes write JSON and names: compact UTF-8, and percent signs for what a path cannot hold."""

from typing import Any
from urllib.parse import quote, unquote

from msgspec import json


class MalformedZnode(ValueError):
    """The data of a node is not what its path promises."""

    def __init__(self, path: str, data: bytes) -> None:
        super().__init__(f"{path} holds {data[:200]!r}")


def encode_json(value: object) -> bytes:
    """One compact UTF-8 object, as every writer of these nodes makes it."""
    return json.encode(value)


def decode_object(path: str, data: bytes) -> dict[str, Any]:
    """The object a node holds.

    Raises:
        MalformedZnode: it holds something else.
    """
    try:
        value = json.decode(data)
    except ValueError as error:
        raise MalformedZnode(path, data) from error
    if not isinstance(value, dict):
        raise MalformedZnode(path, data)
    return value


def sanitize(name: str) -> str:
    """A user or client name as part of a path (Kafka's ``Sanitizer``): all but [a-zA-Z0-9._-] as %XX."""
    return quote(name, safe="").replace("~", "%7E")


def desanitize(name: str) -> str:
    """The inverse of :func:`sanitize`."""
    return unquote(name)
