"""A row of the registry: one API, the versions served, who answers it."""

from collections.abc import Awaitable
from typing import Any, Protocol

from pybroker.handlers.context import RequestContext
from pybroker.model.values import Value


class Handler(Protocol):
    """Answers one API. Request and response are the API's own messages; the response may be a SharedResponse
    of one, and None means that no reply is sent."""

    def __call__(self, context: RequestContext, request: Any, /) -> Awaitable[Any]: ...


class Route(Value):
    """One API of the registry.

    Attributes:
        key: the API key.
        min_version, max_version: the versions served, both inclusive.
        handler: who answers.
        operation: the ACL operation that the API asks for, in Kafka's words; None when the handler decides
            by itself or nothing is needed.
    """

    key: int
    min_version: int
    max_version: int
    handler: Handler
    operation: str | None = None
