"""Frozen values as plain data."""

from enum import Enum
from typing import Any

from msgspec import Struct

from pybroker.instruments.plain import plain_bytes


def plain_value(value: Any) -> Any:
    """Values as dictionaries, tuples as lists, enums by value, bytes as text."""
    if isinstance(value, Struct):
        return {name: plain_value(getattr(value, name)) for name in value.__struct_fields__}
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, dict):
        return {str(name): plain_value(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain_value(item) for item in value]
    if isinstance(value, (bytes, bytearray, memoryview)):
        return plain_bytes(value)
    return value
