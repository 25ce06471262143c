"""The controller's inbox: everything that happens to it waits here and is handled one at a time."""

from collections.abc import Awaitable, Callable

import trio

Handler = Callable[[], Awaitable[None]]


class EventQueue:
    """Handlers in order. One with a key that waits already is not put twice: looking once is enough."""

    def __init__(self) -> None:
        self._waiting: dict[object, Handler] = {}
        self._has_events = trio.Event()

    def put(self, handler: Handler, key: object | None = None) -> None:
        """Adds a handler. Called on the trio thread; does not wait."""
        self._waiting.setdefault(object() if key is None else key, handler)
        self._has_events.set()

    async def take(self) -> Handler:
        """The next handler, once there is one."""
        while not self._waiting:
            self._has_events = trio.Event()
            await self._has_events.wait()
        return self._waiting.pop(next(iter(self._waiting)))
