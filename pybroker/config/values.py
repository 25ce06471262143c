"""Configuration values: from text to Python, back to Kafka's text, and Kafka's words for what is wrong with
them.

Source: ``ConfigDef.parseType`` and ``ConfigDef.convertToString`` of Kafka 3.9. Integers have Java's ranges,
text is trimmed as Java's ``String.trim`` does, lists are split at commas.
"""

import math
import re
from enum import IntEnum
from typing import Final, TypeAlias

ConfigValue: TypeAlias = bool | int | float | str | tuple[str, ...] | None
"""A parsed value. ``None`` is Kafka's null: the key is not set and has no other default."""


class ConfigType(IntEnum):
    """Type of a key, with the number that DescribeConfigs replies carry
    (``DescribeConfigsResponse.ConfigType``).
    """

    UNKNOWN = 0
    BOOLEAN = 1
    STRING = 2
    INT = 3
    SHORT = 4
    LONG = 5
    DOUBLE = 6
    LIST = 7
    CLASS = 8
    PASSWORD = 9


HIDDEN: Final = "[hidden]"
"""What Kafka prints in place of a password."""


class InvalidConfig(ValueError):
    """A value, or a combination of values, that cannot be used. The text is Kafka's own sentence."""


class InvalidValue(InvalidConfig):
    """One key's value is wrong: ``Invalid value <value> for configuration <name>: <reason>``."""

    def __init__(self, name: str, value: ConfigValue, reason: str | None = None) -> None:
        tail = "" if reason is None else f": {reason}"
        super().__init__(f"Invalid value {java_text(value)} for configuration {name}{tail}")
        self.name = name
        self.value = value
        self.reason = reason


class NotSupported(InvalidConfig):
    """A value that is well-formed, but asks for something that this broker has not."""


_JAVA_SPACE = "".join(map(chr, range(0x21)))
_LIST_SEPARATOR = re.compile(r"\s*,\s*")
_INTEGER = re.compile(r"[+-]?[0-9]+")
_DOUBLE = re.compile(r"([+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?|[+-]?(?:NaN|Infinity))[fFdD]?")
_INTEGER_BITS: Final = {ConfigType.SHORT: 16, ConfigType.INT: 32, ConfigType.LONG: 64}


def parse_value(name: str, text: str, config_type: ConfigType) -> ConfigValue:
    """The value that a text stands for. It is not yet checked against the key's validator.

    Raises:
        InvalidValue: the text is not of that type.
    """
    trimmed = text.strip(_JAVA_SPACE)
    match config_type:
        case ConfigType.BOOLEAN:
            return _parse_boolean(name, text, trimmed)
        case ConfigType.SHORT | ConfigType.INT | ConfigType.LONG:
            return _parse_integer(name, text, trimmed, config_type)
        case ConfigType.DOUBLE:
            return _parse_double(name, text, trimmed)
        case ConfigType.LIST:
            return tuple(_LIST_SEPARATOR.split(trimmed)) if trimmed else ()
        case _:
            return trimmed


def format_value(value: ConfigValue) -> str | None:
    """The text of a value as DescribeConfigs shows it; ``None`` stays ``None``."""
    if value is None:
        return None
    if isinstance(value, tuple):
        return ",".join(value)
    return java_text(value)


def java_text(value: ConfigValue) -> str:
    """The value as Java prints it inside a sentence: ``null``, ``true``, ``[a, b]``, ``1.0E10``."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return _java_double(value)
    if isinstance(value, tuple):
        return f"[{', '.join(value)}]"
    return str(value)


def _parse_boolean(name: str, text: str, trimmed: str) -> bool:
    match trimmed.lower():
        case "true":
            return True
        case "false":
            return False
        case _:
            raise InvalidValue(name, text, "Expected value to be either true or false")


def _parse_integer(name: str, text: str, trimmed: str, config_type: ConfigType) -> int:
    bits = _INTEGER_BITS[config_type]
    # 20 characters hold every 64-bit number unless it is padded with zeros; longer text is refused unread.
    if _INTEGER.fullmatch(trimmed) and len(trimmed.lstrip("+-0")) <= 20:
        number = int(trimmed)
        if -(1 << (bits - 1)) <= number < 1 << (bits - 1):
            return number
    raise InvalidValue(name, text, f"Not a number of type {config_type.name}")


def _parse_double(name: str, text: str, trimmed: str) -> float:
    matched = _DOUBLE.fullmatch(trimmed)
    if matched is None:
        raise InvalidValue(name, text, "Not a number of type DOUBLE")
    return float(matched.group(1))


def _java_double(value: float) -> str:
    """``Double.toString``: plain from 0.001 up to 10 million, otherwise one digit before the point and
    ``E``.
    """
    if not math.isfinite(value):
        return "NaN" if math.isnan(value) else ("Infinity" if value > 0 else "-Infinity")
    if value == 0 or 1e-3 <= abs(value) < 1e7:
        plain = repr(value)
        # repr turns to the exponent form below 1e-4 only, which is outside this range.
        return plain if "." in plain else f"{plain}.0"
    sign, digits, exponent = _decimal_parts(value)
    return f"{sign}{digits[0]}.{digits[1:] or '0'}E{exponent}"


def _decimal_parts(value: float) -> tuple[str, str, int]:
    """Sign, shortest significant digits and the exponent of the first of them."""
    mantissa, _, exponent = f"{value!r}".lstrip("-").partition("e")
    whole, _, fraction = mantissa.partition(".")
    fraction = "" if fraction == "0" else fraction
    digits = (whole + fraction).lstrip("0")
    leading = len(whole) - 1 if whole != "0" else -(len(fraction) - len(fraction.lstrip("0")) + 1)
    return ("-" if value < 0 else "", digits.rstrip("0") or "0", int(exponent or 0) + leading)
