"""``frozen`` and ``define`` as attrs has them, but all classes share one way to compare, hash and print.

attrs writes and compiles these methods anew for every class, two thirds of what making a class costs, and a
start makes some hundred and fifty of them. To the type checker both are attrs' own.
"""

from collections.abc import Callable
from functools import cache, partial
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Final

import attrs

if TYPE_CHECKING:
    from attrs import define as define
    from attrs import frozen as frozen
else:

    def frozen(cls=None, *, eq=True, **options):
        """``attrs.frozen``: equal are instances of the same class with equal fields."""
        if cls is None:
            return partial(frozen, eq=eq, **options)
        return _made(attrs.frozen, cls, eq, options)

    def define(cls=None, *, eq=True, **options):
        """``attrs.define``. What has ``eq`` cannot be hashed."""
        if cls is None:
            return partial(define, eq=eq, **options)
        return _made(attrs.define, cls, eq, options)


def _made(maker: Callable[..., Any], cls: type, eq: bool, options: dict[str, Any]) -> Any:
    own: Final = cls.__dict__
    if eq and "__eq__" not in own:
        cls.__eq__ = _eq  # type: ignore[method-assign, assignment]
        if "__hash__" not in own or own["__hash__"] is None:
            cls.__hash__ = _hash if maker is attrs.frozen else None  # type: ignore[method-assign, assignment]
    if options.pop("repr", True) and "__repr__" not in own:
        cls.__repr__ = _repr  # type: ignore[method-assign, assignment]
    return maker(cls, eq=False, repr=False, **options)


def _eq(self: Any, other: Any) -> Any:
    if other.__class__ is not self.__class__:
        return NotImplemented
    values = _compared(self.__class__)
    return values(self) == values(other)


def _hash(self: Any) -> int:
    return hash(_compared(self.__class__)(self))


def _repr(self: Any) -> str:
    shown = (f"{one.name}={getattr(self, one.name)!r}" for one in attrs.fields(type(self)) if one.repr)
    return f"{type(self).__qualname__.rpartition('>.')[2]}({', '.join(shown)})"


@cache
def _compared(cls: Any) -> Callable[[Any], Any]:
    names = [one.name for one in attrs.fields(cls) if one.eq]
    return attrgetter(*names) if names else _nothing


def _nothing(_instance: object) -> tuple[()]:
    return ()
