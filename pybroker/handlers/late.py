"""Handlers and services that are made when they are first asked for: a start is over sooner without them."""

from collections.abc import Awaitable, Callable
from importlib import import_module
from typing import Any, Generic, TypeVar

from pybroker.handlers.context import RequestContext
from pybroker.handlers.routes import Handler

T = TypeVar("T")


class Late(Generic[T]):
    """A service that is made, and its module imported, when somebody first needs it."""

    __slots__ = ("_make", "_service")

    def __init__(self, make: Callable[[], T]) -> None:
        self._make = make
        self._service: T | None = None

    def made(self) -> T:
        """The service, the same one every time."""
        if self._service is None:
            self._service = self._make()
        return self._service


class LateHandler:
    """Stands for a handler of this package until a request needs it.

    Args:
        place: ``module.Class`` below ``pybroker.handlers``; ``offset_fetch`` alone means
            ``offset_fetch.OffsetFetchHandler``.
        arguments: what the class is made with; a service that is late itself is made then.
    """

    __slots__ = ("_arguments", "_handler", "_place")

    def __init__(self, place: str, *arguments: object) -> None:
        self._place = place
        self._arguments = arguments
        self._handler: Handler | None = None

    def __call__(self, context: RequestContext, request: Any, /) -> Awaitable[Any]:
        return self.made()(context, request)

    def made(self) -> Handler:
        """The handler itself, the same every time. The first call imports it, a few milliseconds of work."""
        if self._handler is None:
            module, _, name = self._place.partition(".")
            maker = getattr(import_module(f"pybroker.handlers.{module}"), name or _class_name(module))
            made = (each.made() if isinstance(each, Late) else each for each in self._arguments)
            handler: Handler = maker(*made)
            self._handler = handler
        return self._handler


def _class_name(module: str) -> str:
    return "".join(word.capitalize() for word in module.split("_")) + "Handler"
