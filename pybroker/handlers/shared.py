"""Responses that many clients get: made once and encoded once, for as long as they are true."""

from collections.abc import Callable
from copy import deepcopy
from typing import Any, Generic, TypeVar

from pybroker.protocol.message_classes import Message

M = TypeVar("M", bound=Message)


class SharedResponse(Generic[M]):
    """What a handler returns in place of its message when later requests will get the very same reply, in the
    same version. A dispatcher either sends its :meth:`parts`, or gives each request a :meth:`copy`."""

    __slots__ = ("_message", "_parts")

    def __init__(self, message: M) -> None:
        self._message: M | None = message
        self._parts: list[Any] | None = None

    def parts(self, encode: Callable[[M], list[Any]]) -> list[Any]:
        """The encoded message. It is encoded the first time, and only the bytes are kept: they are few beside
        the objects of a large message, and nothing to the garbage collector."""
        if self._parts is None:
            assert self._message is not None
            self._parts = encode(self._message)
            self._message = None
        return self._parts.copy()

    def copy(self) -> M:
        """The message for one request alone, which may change it."""
        assert self._message is not None, "it was encoded, and is bytes only"
        return deepcopy(self._message)
