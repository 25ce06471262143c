"""Names for what each server chooses by itself: topic ids, producer ids, session ids, member ids.

A request holds a :class:`Ref` where such a value belongs; each server gets its own.
"""

from typing import Any

from msgspec import Struct

from pybroker.protocol.message_classes import Message


class Ref(Struct, frozen=True):
    """The value that was captured under ``name``, with ``plus`` added to it when it is a number."""

    name: str
    plus: int = 0

    def __add__(self, more: int) -> "Ref":
        return Ref(self.name, self.plus + more)


class Made(Struct, frozen=True):
    """A value that is made from others of the same server, such as a batch with its producer id."""

    make: Any
    """Called with the values of ``refs``."""
    refs: tuple[Ref, ...]


def numbered(value: Any, number: int) -> Any:
    """A copy with the number in place of ``{n}`` in every string: each request names something new."""
    match value:
        case str():
            return value.replace("{n}", str(number))
        case list():
            return [numbered(element, number) for element in value]
        case Message():
            return type(value)(**{name: numbered(getattr(value, name), number) for name in value.__slots__})
    return value


Values = dict[str, Any]


class NotCaptured(Exception):
    """A request needs a value that an earlier reply of this server should have brought."""


def resolve(value: Any, values: Values) -> Any:
    """A copy of a message (or a part of one) with the values of one server in place of the names.

    Raises:
        NotCaptured: nothing was captured under a name.
    """
    match value:
        case Ref(name, plus):
            if name not in values:
                raise NotCaptured(name)
            return values[name] + plus if plus else values[name]
        case Made(make, refs):
            return make(*(resolve(ref, values) for ref in refs))
        case list():
            return [resolve(element, values) for element in value]
        case Message():
            return type(value)(**{name: resolve(getattr(value, name), values) for name in value.__slots__})
    return value
