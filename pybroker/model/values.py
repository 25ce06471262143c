"""The bases of all value classes: msgspec's structs, which are made, compared and hashed in C.

Beside attrs or dataclasses making a class takes a tenth, which counts at a start, and making an instance a
sixth, which counts with every request. An instance has slots only and no weak references. Options are those
of :class:`msgspec.Struct`, given after the base: ``class Batch(Value, kw_only=True)``.
"""

from typing import dataclass_transform

from msgspec import Struct, field


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
class Value(Struct, frozen=True):
    """Frozen. Equal are those of one class with equal fields; ``eq=False`` leaves that to identity."""


@dataclass_transform(field_specifiers=(field,))
class State(Struct):
    """What its one writer may change. It cannot be hashed, unless ``eq=False``."""
