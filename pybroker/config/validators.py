"""What a configuration value may be, key by key: small objects that check a value and describe what is
allowed.

Source: the validators nested in ``ConfigDef`` and the few that Kafka's modules add. The words are Kafka's,
because administrators' tools show them; ``describe`` gives the text of Kafka's "Valid Values" column.
"""

import re
from collections.abc import Callable
from typing import Protocol

from pybroker.config.values import ConfigValue, InvalidValue, java_text
from pybroker.model.values import Value


class Validator(Protocol):
    """Checks one parsed value."""

    def check(self, name: str, value: ConfigValue) -> None:
        """Raises :class:`InvalidValue` when the value of the key ``name`` is not allowed."""

    def describe(self) -> str:
        """What is allowed, in Kafka's notation."""


class Range(Value):
    """A number between two bounds, both inclusive; ``None`` leaves that side open."""

    minimum: float | None
    maximum: float | None

    def check(self, name: str, value: ConfigValue) -> None:
        if not isinstance(value, int | float):
            raise InvalidValue(name, value, "Value must be non-null")
        if self.minimum is not None and value < self.minimum:
            raise InvalidValue(name, value, f"Value must be at least {java_text(self.minimum)}")
        if self.maximum is not None and value > self.maximum:
            raise InvalidValue(name, value, f"Value must be no more than {java_text(self.maximum)}")

    def describe(self) -> str:
        bounds = (self.minimum, self.maximum)
        shown = [java_text(bound) for bound in bounds if bound is not None]
        if self.minimum is not None:
            shown.insert(1, "...")
        else:
            shown.insert(0, "...")
        return f"[{','.join(shown)}]"


def at_least(minimum: float) -> Range:
    return Range(minimum, None)


def between(minimum: float, maximum: float) -> Range:
    return Range(minimum, maximum)


class OneOf(Value):
    """A string out of a fixed set."""

    allowed: tuple[str, ...]

    def check(self, name: str, value: ConfigValue) -> None:
        if value not in self.allowed:
            raise InvalidValue(name, value, f"String must be one of: {', '.join(self.allowed)}")

    def describe(self) -> str:
        return f"[{', '.join(self.allowed)}]"


def one_of(*allowed: str) -> OneOf:
    return OneOf(allowed)


class OneOfIgnoringCase(Value):
    """A string out of a fixed set of upper-case words, in any case."""

    allowed: tuple[str, ...]

    def check(self, name: str, value: ConfigValue) -> None:
        if not isinstance(value, str) or value.upper() not in self.allowed:
            words = ", ".join(self.allowed)
            raise InvalidValue(name, value, f"String must be one of (case insensitive): {words}")

    def describe(self) -> str:
        return f"(case insensitive) [{', '.join(self.allowed)}]"


def one_of_ignoring_case(*allowed: str) -> OneOfIgnoringCase:
    return OneOfIgnoringCase(allowed)


class ListOf(Value):
    """A list whose every element is out of a fixed set."""

    element: OneOf

    def check(self, name: str, value: ConfigValue) -> None:
        for item in value if isinstance(value, tuple) else ():
            self.element.check(name, item)

    def describe(self) -> str:
        return self.element.describe()


def list_of(*allowed: str) -> ListOf:
    return ListOf(OneOf(allowed))


class Check(Value):
    """A rule that none of the general validators says: a predicate, Kafka's words, and the description."""

    holds: Callable[[ConfigValue], bool]
    reason: Callable[[str, ConfigValue], str | None]
    description: str

    def check(self, name: str, value: ConfigValue) -> None:
        if not self.holds(value):
            raise InvalidValue(name, value, self.reason(name, value))

    def describe(self) -> str:
        return self.description


non_empty = Check(
    lambda value: value != "", lambda _name, _value: "String must be non-empty", "non-empty string"
)
non_null = Check(
    lambda value: value is not None, lambda _name, _value: "entry must be non null", "non-null string"
)
_CLUSTER_ID = re.compile(r"[A-Za-z0-9_-]{22}")
cluster_id_or_empty = Check(
    lambda value: value == "" or (isinstance(value, str) and _CLUSTER_ID.fullmatch(value) is not None),
    lambda _name, _value: "a cluster's id is a UUID in URL-safe base64, 22 characters",
    "22 characters of URL-safe base64, or nothing",
)
gzip_level = Check(
    lambda value: isinstance(value, int) and (1 <= value <= 9 or value == -1),
    lambda _name, _value: "Value must be between 1 and 9 or equal to -1",
    "[1,...,9] or -1",
)
remote_thread_pool_size = Check(
    lambda value: isinstance(value, int) and (value == -1 or value > 0),
    lambda _name, _value: "Value can be -1 or greater than 0",
    "-1 (the value of remote.log.manager.thread.pool.size) or [1,...]",
)

host_and_port = Check(
    lambda value: value == "" or re.fullmatch(r"[^\s/]+:[0-9]{1,5}", str(value)) is not None,
    lambda _name, _value: "Value must be host:port",
    "host:port",
)

_THROTTLED_REPLICA = re.compile(r"([0-9]+:[0-9]+)?")
_THROTTLED_FORMAT = "[partitionId]:[brokerId],[partitionId]:[brokerId],..."


def _are_throttled_replicas(value: ConfigValue) -> bool:
    items = [item.strip() for item in value] if isinstance(value, tuple) else []
    return all(_THROTTLED_REPLICA.fullmatch(item) for item in items) or "".join(items) == "*"


throttled_replicas = Check(
    _are_throttled_replicas,
    lambda name, _value: (
        f"{name} must be the literal '*' or a list of replicas in the following format: {_THROTTLED_FORMAT}"
    ),
    _THROTTLED_FORMAT,
)

# Kafka's metadata versions: inter.broker.protocol.version and the two message format versions are out of
# these.
# fmt: off
_METADATA_VERSIONS = (
    "0.8.0", "0.8.1", "0.8.2", "0.9.0", "0.10.0-IV0", "0.10.0-IV1", "0.10.1-IV0", "0.10.1-IV1", "0.10.1-IV2",
    "0.10.2-IV0", "0.11.0-IV0", "0.11.0-IV1", "0.11.0-IV2", "1.0-IV0", "1.1-IV0", "2.0-IV0", "2.0-IV1",
    "2.1-IV0", "2.1-IV1", "2.1-IV2", "2.2-IV0", "2.2-IV1", "2.3-IV0", "2.3-IV1", "2.4-IV0", "2.4-IV1",
    "2.5-IV0", "2.6-IV0", "2.7-IV0", "2.7-IV1", "2.7-IV2", "2.8-IV0", "2.8-IV1", "3.0-IV0", "3.0-IV1",
    "3.1-IV0", "3.2-IV0", "3.3-IV0", "3.3-IV1", "3.3-IV2", "3.3-IV3", "3.4-IV0", "3.5-IV0", "3.5-IV1",
    "3.5-IV2", "3.6-IV0", "3.6-IV1", "3.6-IV2", "3.7-IV0", "3.7-IV1", "3.7-IV2", "3.7-IV3", "3.7-IV4",
    "3.8-IV0", "3.9-IV0", "4.0-IV0", "4.0-IV1",
)
# fmt: on
_RELEASES = frozenset(version.partition("-")[0] for version in _METADATA_VERSIONS) - {"4.0"}


def _is_metadata_version(value: ConfigValue) -> bool:
    text = str(value)
    parts = text.split(".")
    wanted = 3 if text.startswith("0.") else 2
    key = text if len(parts) <= wanted else ".".join(parts[:wanted])
    return key in _RELEASES or key in _METADATA_VERSIONS


metadata_version = Check(
    _is_metadata_version,
    lambda _name, value: f"Version {value} is not a valid version",
    f"[{', '.join(_METADATA_VERSIONS)}]",
)
