"""What ``protocol_specs/`` says, as frozen values: every message in every version, nothing about bytes."""

import re
from collections.abc import Iterator, Mapping
from typing import Final, TypeAlias

from pybroker.model.values import Value

INTEGER_BOUNDS: Final[Mapping[str, tuple[int, int]]] = {
    "int8": (-(2**7), 2**7 - 1),
    "int16": (-(2**15), 2**15 - 1),
    "uint16": (0, 2**16 - 1),
    "int32": (-(2**31), 2**31 - 1),
    "uint32": (0, 2**32 - 1),
    "int64": (-(2**63), 2**63 - 1),
}
"""Smallest and largest value (inclusive) of each integer type."""

PRIMITIVES: Final = frozenset({*INTEGER_BOUNDS, "bool", "float64", "uuid", "string", "bytes", "records"})
FILE_NAME: Final = re.compile(r"(\d\d)_([a-z0-9_]+)")
"""The stem of a file with an API: its key in two digits and its name."""

Default: TypeAlias = bool | int | float | str | bytes | tuple[()] | None
"""A field's default. ``()`` stands for a new empty list, or for a new struct with its own defaults."""


class SpecError(ValueError):
    """A spec file breaks the format; the text names the file, the message and the field."""


class VersionRange(Value):
    """Versions ``first`` to ``last``, both inclusive; empty when ``last < first``."""

    first: int
    last: int

    def __contains__(self, version: int) -> bool:
        return self.first <= version <= self.last

    def __bool__(self) -> bool:
        return self.first <= self.last

    def __iter__(self) -> Iterator[int]:
        return iter(range(self.first, self.last + 1))

    def __str__(self) -> str:
        if not self:
            return "none"
        return str(self.first) if self.first == self.last else f"{self.first}-{self.last}"

    def covers(self, other: "VersionRange") -> bool:
        return not other or (self.first <= other.first and other.last <= self.last)


NO_VERSIONS: Final = VersionRange(0, -1)


class FieldSpec(Value):
    """One field, in every version of its message."""

    name: str
    type: str
    """A primitive or the name of a struct of the same message; for arrays the type of the element."""
    is_array: bool
    versions: VersionRange
    nullable: VersionRange
    """The versions in which null may travel; part of ``versions``."""
    tag: int | None
    tagged: VersionRange
    """The versions in which the field travels in the tag section; empty when ``tag`` is None."""
    default: Default
    ignorable: bool
    """Whether a value may be dropped silently when a version lacks the field."""
    map_key: bool
    """Whether the field is part of the key of its list, which Kafka keeps as a map."""
    flexible: VersionRange | None
    """Where lengths of this field are compact, when that differs from the message."""

    @property
    def is_struct(self) -> bool:
        """Whether the field, or the element of its array, is a struct."""
        return self.type not in PRIMITIVES


class StructSpec(Value):
    """A nested struct: its fields in wire order."""

    name: str
    fields: tuple[FieldSpec, ...]


class MessageSpec(Value):
    """One message, in every version that Kafka 3.9 or a later release knows."""

    name: str
    versions: VersionRange
    flexible: VersionRange
    """The versions with compact lengths and tag sections; empty or up to the last version."""
    fields: tuple[FieldSpec, ...]
    structs: Mapping[str, StructSpec]


class ApiDefinition(Value):
    """The two messages of one API key."""

    key: int
    name: str
    request: MessageSpec
    response: MessageSpec


class SpecFile(Value):
    """What one file holds."""

    stem: str
    api: ApiDefinition | None
    messages: Mapping[str, MessageSpec]


def snake_case(name: str) -> str:
    """Kafka's camelCase name as it is spelled here: ``isKRaftController`` is ``is_kraft_controller``."""
    name = name.replace("KRaft", "Kraft")
    name = re.sub(r"([A-Z]+)([A-Z][a-z])", r"\1_\2", name)
    return re.sub(r"([a-z0-9])([A-Z])", r"\1_\2", name).lower()
