"""Random values that fit a tree of constructs, with the lengths at which encodings change their form."""

import random
import struct
from typing import Any

from pybroker.protocol.primitives import (
    Blob,
    Fixed,
    NullableStructure,
    Structure,
    Text,
    Vector,
    WireFormat,
)

ALPHABETS = ("abcXYZ.-_", "aé", "語x", "😀ж")
LENGTHS = (0, 1, 2, 5, 12, 40, 126, 127, 128, 130, 300)
INTEGER_BITS = {"b": 8, "h": 16, "H": 16, "i": 32, "I": 32, "q": 64}


def random_value(rng: random.Random, node: WireFormat, *, depth: int = 0) -> Any:
    """A value for one node; arrays get shorter with depth, which counts the arrays around it."""
    if isinstance(node, Fixed):
        return random_fixed(rng, node.format)
    if isinstance(node, Structure):
        return random_structure(rng, node, depth=depth)
    if isinstance(node, NullableStructure):
        return None if rng.random() < 0.3 else random_structure(rng, node.structure, depth=depth)
    assert isinstance(node, Text | Blob | Vector)
    if node.nullable and rng.random() < 0.25:
        return None
    if isinstance(node, Text):
        return random_text(rng)
    if isinstance(node, Blob):
        return rng.randbytes(rng.choice(LENGTHS))
    count = random_count(rng, node.element, depth)
    return [random_value(rng, node.element, depth=depth + 1) for _ in range(count)]


def random_count(rng: random.Random, element: WireFormat, depth: int) -> int:
    if isinstance(element, Fixed) and rng.random() < 0.1:
        return 130
    if depth == 0 and rng.random() < 0.02:
        return 130
    return rng.choice((0, 1, 2, 3, 6, 9) if depth < 2 else (0, 1, 2))


def random_structure(rng: random.Random, node: Structure, *, depth: int) -> Any:
    values = {name: random_value(rng, member, depth=depth) for name, member in node.members.items()}
    if node.tagged is not None:
        for field in node.tagged.fields:
            if rng.random() < 0.5:
                values[field.name] = random_value(rng, field.format, depth=depth + 1)
    return node.factory(**values)


def random_fixed(rng: random.Random, format_: str) -> Any:
    if format_ == "?":
        return rng.random() < 0.5
    if format_ == "16s":
        return rng.choice((bytes(16), rng.randbytes(16)))
    if format_ == "d":
        return rng.choice((0.0, -1.5, 1e300, struct.unpack(">d", b"\x3f" + rng.randbytes(7))[0]))
    bits = INTEGER_BITS[format_]
    low, high = (0, 2**bits - 1) if format_.isupper() else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
    return rng.choice((0, 1, low, high, -1 if low else 7, rng.randint(low, high)))


def random_text(rng: random.Random) -> str:
    alphabet = rng.choice(ALPHABETS)
    return "".join(rng.choices(alphabet, k=rng.choice(LENGTHS)))
