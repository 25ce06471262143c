"""Frozen values as plain data."""

from enum import Enum
from typing import Any

from attrs import fields, has

from pybroker.instruments.plain import plain_bytes


def plain_value(value: Any) -> Any:
    """Attrs values as dictionaries, tuples as lists, enums by value, bytes as text."""
    if has(type(value)):
        return {field.name: plain_value(getattr(value, field.name)) for field in fields(type(value))}
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, dict):
        return {str(name): plain_value(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain_value(item) for item in value]
    if isinstance(value, (bytes, bytearray, memoryview)):
        return plain_bytes(value)
    return value
