"""What the two code generators share: lines of source, names, and the walk over a tree."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from pybroker.protocol.primitives import NullableStructure, Structure, TaggedFields, Vector, WireFormat


class SourceWriter:
    """Source text under construction, with the constants that it refers to by name.

    Its globals are :data:`pybroker.protocol.wire.NAMES` and ``M``, the class of the message.
    """

    def __init__(self) -> None:
        self.lines: list[str] = []
        self._constants: dict[str, str] = {}
        self._depth = 0
        self._locals = 0

    def line(self, text: str) -> None:
        self.lines.append("    " * self._depth + text)

    @contextmanager
    def indented(self) -> Iterator[None]:
        """Lines one level deeper; a block that stays empty gets a ``pass``."""
        before = len(self.lines)
        self._depth += 1
        yield
        if len(self.lines) == before:
            self.line("pass")
        self._depth -= 1

    def local(self, prefix: str) -> str:
        """A name that no other local has."""
        self._locals += 1
        return f"{prefix}{self._locals}"

    def prepared(self, name: str, expression: str) -> str:
        """The name of a constant, which is made once by ``expression``; the name describes it in full."""
        self._constants.setdefault(name, expression)
        return name

    def factory(self, made: Any) -> str:
        """The name of a message's class, or of a structure's inside of it."""
        _, _, inner = made.__qualname__.partition(".")
        return self.prepared(f"M_{inner}", f"M.{inner}") if inner else "M"

    def fresh(self, default: Any) -> str:
        """An expression for a default: a literal, or what makes a new list or a new structure."""
        if isinstance(default, list):
            return "[]"
        if isinstance(default, bool | int | float | str | None):
            return repr(default)
        if isinstance(default, bytes):
            return self.prepared(f"bytes_{default.hex()}", repr(default))
        return self.factory(type(default)) + "()"

    def text(self) -> str:
        """All of it, the constants first."""
        constants = (f"{name} = {expression}" for name, expression in self._constants.items())
        return "\n".join([*constants, *self.lines, ""])


def walk(node: WireFormat) -> Iterator[WireFormat]:
    """A node and everything below it."""
    yield node
    if isinstance(node, Vector):
        yield from walk(node.element)
    elif isinstance(node, NullableStructure):
        yield from walk(node.structure)
    elif isinstance(node, Structure):
        for member in node.members.values():
            yield from walk(member)
        if node.tagged is not None:
            yield from walk(node.tagged)
    elif isinstance(node, TaggedFields):
        for field in node.fields:
            yield from walk(field.format)
