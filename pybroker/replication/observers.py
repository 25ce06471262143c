"""Who is told that something about a partition is new, instead of looking at it again and again."""

from typing import Protocol


class Observer(Protocol):
    """Somebody who has been told all there is of a partition."""

    def on_news(self, *, is_urgent: bool) -> None:
        """There is something new. ``is_urgent`` is False for what can wait until it is asked for again: a
        high watermark that has moved."""


class Observers:
    """The observers of one partition. They come and go by themselves; telling them costs nothing while there
    are none. Its one writer is the trio thread."""

    __slots__ = ("_observers",)

    def __init__(self) -> None:
        self._observers: set[Observer] = set()

    def __len__(self) -> int:
        return len(self._observers)

    def add(self, observer: Observer) -> None:
        self._observers.add(observer)

    def discard(self, observer: Observer) -> None:
        self._observers.discard(observer)

    def tell(self, *, is_urgent: bool) -> None:
        """Tell everybody; nobody leaves by it."""
        for observer in self._observers:
            observer.on_news(is_urgent=is_urgent)
