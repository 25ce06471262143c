"""What the two code generators share: lines of source, names, and the walk over a tree."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from pybroker.protocol.primitives import NullableStructure, Structure, TaggedFields, Vector, WireFormat


class SourceWriter:
    """Source text under construction, with the constants that it refers to by name."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.constants: dict[str, Any] = {}
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

    def constant(self, name: str, value: Any) -> str:
        """The name under which the code finds ``value``; equal names of different values are told apart."""
        unique, number = name, 1
        while self.constants.setdefault(unique, value) is not value:
            number += 1
            unique = f"{name}_{number}"
        return unique

    def prepared(self, name: str, value: Any) -> str:
        """As :meth:`constant`, for values that the name describes in full: the first one serves them all."""
        self.constants.setdefault(name, value)
        return name

    def fresh(self, default: Any) -> str:
        """An expression for a default: a literal, or what makes a new list or a new structure."""
        if isinstance(default, list):
            return "[]"
        if isinstance(default, bool | int | float | str | None):
            return repr(default)
        if isinstance(default, bytes):
            return self.prepared(f"bytes_{default.hex()}", default)
        return self.constant(type(default).__name__, type(default)) + "()"

    def compile(self, function: str, filename: str) -> Any:
        """Compile the lines and return the function of that name."""
        namespace = dict(self.constants)
        exec(compile("\n".join(self.lines), filename, "exec"), namespace)
        return namespace[function]


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
