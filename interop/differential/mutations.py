"""Wrong and unusual requests made from a right one: each field in turn gets values that its type allows."""

import copy
import random
from collections.abc import Iterator
from typing import Any

from msgspec import Struct

from interop.differential.allowed import UNREADABLE
from interop.differential.frames import LONG_HERE, NULL_HERE
from pybroker.protocol.message_classes import Message
from pybroker.protocol.spec_model import INTEGER_BOUNDS
from pybroker.protocol.specs import FieldSpec, MessageSpec

STRANGE_STRINGS = ("", "no-such-thing", "bad name/é", ".", "x" * 250, NULL_HERE, LONG_HERE)
STRANGE_UUID = bytes(range(16))
ZERO_UUID = bytes(16)
STRANGE_BYTES = (b"", b"\x00" * 7, UNREADABLE)

SPECIAL_VALUES: dict[str, tuple[Any, ...]] = {
    # Two thousand million partitions: Kafka makes the list of them and dies of it.
    "num_partitions": (-1, -2, 0),
    "count": (-1, -2, 0),
    # The wait for data is real time.
    "max_wait_ms": (-1, 0, -(2**31)),
    "rebalance_timeout_ms": (-1, 0),
    # Whether a topic is made within a few milliseconds is chance.
    "timeout_ms": (-1, 0, 2**31 - 1, -(2**31)),
    # A member more in a group that is there already would wait for the others.
    "group_id": ("", "no-such-{n}", NULL_HERE, LONG_HERE),
    "session_timeout_ms": (-1, 0, 2**31 - 1, -(2**31)),
}
"""Fields whose usual strange values would prove nothing, or take long; they get these instead."""


class Mutation(Struct, frozen=True):
    label: str
    message: Message


def mutations(message: Message, version: int) -> list[Mutation]:
    """Every mutation of a message, in a fixed order."""
    spec = type(message).__spec__
    return [
        Mutation(label, _with(message, path, value))
        for path, label, value in _variations(spec, spec.fields, message, version, (), "")
    ]


def sample(found: list[Mutation], count: int, seed: str) -> list[Mutation]:
    """At most ``count`` of them in their order, the same ones for the same seed."""
    if len(found) <= count:
        return found
    chosen = sorted(random.Random(seed).sample(range(len(found)), count))
    return [found[index] for index in chosen]


Path = tuple[str | int, ...]


def _variations(
    spec: MessageSpec, fields: tuple[FieldSpec, ...], holder: Message, version: int, path: Path, label: str
) -> Iterator[tuple[Path, str, Any]]:
    for field in fields:
        if version not in field.versions:
            continue
        value = getattr(holder, field.name)
        here, name = (*path, field.name), f"{label}{field.name}"
        for strange in _strange_values(field, value, version):
            if version in field.tagged and strange in (NULL_HERE, LONG_HERE):
                continue  # a tag has a size of its own, which would be wrong then
            yield here, f"{name}={_brief(strange)}", strange
        inner = value[0] if field.is_array and value else value
        if field.is_struct and isinstance(inner, Message):
            deeper = (*here, 0) if field.is_array else here
            yield from _variations(spec, spec.structs[field.type].fields, inner, version, deeper, f"{name}.")


def _strange_values(field: FieldSpec, value: Any, version: int) -> Iterator[Any]:
    if version in field.nullable and value is not None and field.type != "records":
        yield None
    if field.is_array:
        yield from _strange_arrays(field, value)
    elif not field.is_struct:
        yield from (strange for strange in _strange_scalars(field) if strange != value)


def _strange_arrays(field: FieldSpec, value: list[Any] | None) -> Iterator[list[Any]]:
    if value:
        yield []
        yield [value[0], *value]
        if not field.is_struct:
            yield from ([strange] for strange in _strange_scalars(field))


def _strange_scalars(field: FieldSpec) -> tuple[Any, ...]:
    if field.name in SPECIAL_VALUES:
        return SPECIAL_VALUES[field.name]
    if field.type in INTEGER_BOUNDS:
        low, high = INTEGER_BOUNDS[field.type]
        return (low, high, -1, -2, 0, 7) if low else (low, high, 7)
    match field.type:
        case "bool":
            return (True, False)
        case "string":
            return STRANGE_STRINGS
        case "uuid":
            return (ZERO_UUID, STRANGE_UUID)
        case "bytes" | "records":
            return STRANGE_BYTES
    return (0.0, -1.0, float("inf"))


def _brief(value: Any) -> str:
    if isinstance(value, list):
        return "[]" if not value else f"[{len(value)} elements]"
    text = repr(value)
    return text if len(text) <= 24 else f"{text[:20]}…"


def _with(message: Message, path: Path, value: Any) -> Message:
    changed = copy.deepcopy(message)
    holder: Any = changed
    for step in path[:-1]:
        holder = holder[step] if isinstance(step, int) else getattr(holder, step)
    setattr(holder, str(path[-1]), value)
    return changed
