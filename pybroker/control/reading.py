"""Plain data (JSON, YAML) into values, and their JSON schemas: the classes are the one truth.

Supported: bool, int, float, str, enums by value, other values, ``X | None``, ``tuple[X, ...]`` (one X
may stand for a tuple of it) and ``Mapping[str, X]``.
"""

import difflib
import types
from collections.abc import Callable, Mapping, Sequence
from enum import Enum
from functools import cache
from inspect import cleandoc
from typing import Any, TypeAlias, TypeVar, Union, get_args, get_origin

from msgspec import Struct
from msgspec.structs import FieldInfo
from msgspec.structs import fields as read_fields

T = TypeVar("T")
Path: TypeAlias = tuple[str | int, ...]
"""Where something stands: names of fields and positions in lists."""


class BadInput(ValueError):
    """Something is missing, unknown or of the wrong kind. The message names the place and what is allowed."""


def read(kind: type[T], plain: Any, place: Callable[[Path], str] | None = None) -> T:
    """The value of class ``kind`` that ``plain`` describes.

    Args:
        place: what to call a place in messages; by default dotted names.

    Raises:
        BadInput: see there.
    """
    value: T = _Reader(place or dotted).value(kind, plain, ())
    return value


@cache
def _fields(kind: type[Struct]) -> tuple[FieldInfo, ...]:
    return read_fields(kind)


def dotted(path: Path) -> str:
    """A place in words: ``topics[2].name``."""
    text = ""
    for step in path:
        text += f"[{step}]" if isinstance(step, int) else f".{step}" if text else step
    return text or "the input"


class _Reader:
    def __init__(self, place: Callable[[Path], str]) -> None:
        self._place = place

    def value(self, kind: Any, plain: Any, path: Path) -> Any:
        if kind is Any:
            return plain
        origin = get_origin(kind)
        if origin in (Union, types.UnionType):
            inner = [each for each in get_args(kind) if each is not type(None)]
            return None if plain is None else self.value(inner[0], plain, path)
        if origin is tuple:
            items = plain if isinstance(plain, (list, tuple)) else [plain]
            item_kind = get_args(kind)[0]
            return tuple(self.value(item_kind, item, (*path, number)) for number, item in enumerate(items))
        if origin is not None and issubclass(origin, Mapping):
            self._expect(isinstance(plain, dict), "a mapping", plain, path)
            item_kind = get_args(kind)[1]
            return {
                str(name): self.value(item_kind, item, (*path, str(name))) for name, item in plain.items()
            }
        if issubclass(kind, Struct):
            return self._struct(kind, plain, path)
        if issubclass(kind, Enum):
            return self._enum(kind, plain, path)
        return self._scalar(kind, plain, path)

    def _struct(self, kind: type[Struct], plain: Any, path: Path) -> Any:
        self._expect(isinstance(plain, dict), "a mapping", plain, path)
        known = {field.name: field for field in _fields(kind)}
        for name in plain:
            if name not in known:
                raise self._bad((*path, name), f"unknown; {_choice(str(name), list(known))}")
        values = {}
        for name, field in known.items():
            if name in plain:
                values[name] = self.value(field.type, plain[name], (*path, name))
            elif field.required:
                raise self._bad(path, f"{name} is missing")
        try:
            return kind(**values)
        except ValueError as error:
            raise self._bad(path, str(error)) from None

    def _enum(self, kind: type[Enum], plain: Any, path: Path) -> Enum:
        try:
            return kind(plain)
        except ValueError:
            known = [str(each.value) for each in kind]
            raise self._bad(path, f"{plain!r} is unknown; {_choice(str(plain), known)}") from None

    def _scalar(self, kind: type, plain: Any, path: Path) -> Any:
        if kind is float and isinstance(plain, int) and not isinstance(plain, bool):
            return float(plain)
        if kind is str and isinstance(plain, (int, float)):
            return str(plain).lower() if isinstance(plain, bool) else str(plain)
        is_right = isinstance(plain, kind) and (kind is bool or not isinstance(plain, bool))
        self._expect(is_right, _NAMES[kind], plain, path)
        return plain

    def _expect(self, is_right: bool, wanted: str, plain: Any, path: Path) -> None:
        if not is_right:
            raise self._bad(path, f"{plain!r} is not {wanted}")

    def _bad(self, path: Path, problem: str) -> BadInput:
        return BadInput(f"{self._place(path)}: {problem}")


_NAMES = {bool: "true or false", int: "a whole number", float: "a number", str: "text"}


def _choice(name: str, known: Sequence[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    return f"did you mean {close[0]}?" if close else f"allowed are {', '.join(known) or 'none'}"


def schema(kind: Any) -> dict[str, Any]:
    """The JSON schema of a class, or of any type that it may contain."""
    if kind is Any:
        return {}
    origin = get_origin(kind)
    if origin in (Union, types.UnionType):
        inner = [each for each in get_args(kind) if each is not type(None)]
        return {"anyOf": [schema(inner[0]), {"type": "null"}]}
    if origin is tuple:
        return {"type": "array", "items": schema(get_args(kind)[0])}
    if origin is not None and issubclass(origin, Mapping):
        return {"type": "object", "additionalProperties": schema(get_args(kind)[1])}
    if issubclass(kind, Struct):
        required = [field.name for field in _fields(kind) if field.required]
        described: dict[str, Any] = {
            "type": "object",
            "description": cleandoc(kind.__doc__ or ""),
            "properties": {field.name: _property(field) for field in _fields(kind)},
            "additionalProperties": False,
        }
        return {**described, "required": required} if required else described
    if issubclass(kind, Enum):
        return {"type": "string", "enum": [each.value for each in kind]}
    return {"type": _SCHEMA_TYPES[kind]}


_SCHEMA_TYPES = {bool: "boolean", int: "integer", float: "number", str: "string"}


def _property(field: FieldInfo) -> dict[str, Any]:
    described = schema(field.type)
    if isinstance(field.default, (bool, int, float, str)):
        return {**described, "default": field.default}
    return described
