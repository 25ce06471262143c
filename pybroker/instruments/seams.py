"""Where dispatch lets instruments look at a request and its answer. Fault rules and the journal plug
in here; a seam that is None costs one test per request.

What a seam is given lives only as long as the request: byte fields are views of a receive buffer, and whoever
keeps anything copies it. Contexts and messages are typed in rooms above this one, hence ``Any``.
"""

from collections.abc import Awaitable, Callable
from typing import Any, Protocol, TypeAlias

Answer: TypeAlias = Callable[[Any], Awaitable[Any]]
"""Has a request answered as if there were no seam: by its handler, failures turned into replies that tell of
them. The response is None when the request has no reply."""


class Around(Protocol):
    """Stands around a handler: may wait, change the request, answer by itself, or change the response.

    It returns what is sent; None sends nothing. It may raise CloseConnection.
    """

    async def __call__(self, context: Any, request: Any, answer: Answer, /) -> Any: ...


def chain(outer: Around, inner: Around) -> Around:
    """Two seams as one."""

    async def both(context: Any, request: Any, answer: Answer) -> Any:
        async def answer_within(changed: Any) -> Any:
            return await inner(context, changed, answer)

        return await outer(context, request, answer_within)

    return both
