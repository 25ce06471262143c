"""The two places where dispatch lets instruments look at a request: before its handler, and before its reply
is sent. Fault rules and the journal plug in here; a seam that is None costs one test per request.

What a seam is given lives only as long as the request: byte fields are views of a receive buffer, and whoever
keeps anything copies it. Contexts and messages are typed in rooms above this one, hence ``Any``.
"""

from typing import Any, Protocol

from attrs import frozen


@frozen
class Replacement:
    """What a seam wants sent instead. ``response`` None: no reply at all, the request hangs unanswered."""

    response: Any


class BeforeHandler(Protocol):
    """Sees a decoded request. It may wait (a delay), replace the answer, or raise to close the connection."""

    async def __call__(self, context: Any, request: Any, /) -> Replacement | None: ...


class BeforeSend(Protocol):
    """Sees a request with its response (None: the request has no reply), before the response is encoded."""

    async def __call__(self, context: Any, request: Any, response: Any, /) -> Replacement | None: ...
