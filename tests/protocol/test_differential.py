"""The generated codec and the interpreted tree are the same codec, for every message and version."""

import random
from io import BytesIO
from typing import Any

import pytest
from construct import ConstructError

from pybroker.protocol import codec, messages
from pybroker.protocol.errors import MalformedMessage
from pybroker.protocol.primitives import Structure
from pybroker.protocol.schema import message_structure
from pybroker.protocol.specs import all_messages
from tests.protocol.random_messages import random_value

NAMES = sorted(all_messages())
MIN_VALUES = 4
MAX_VALUES = 16
ENOUGH_BYTES = 800
"""Small messages get more values: a version is done after the minimum and this many bytes."""

GARBAGE_PER_VALUE = 4


def interpret(tree: Structure, data: bytes) -> tuple[Any, int] | None:
    """What the tree makes of the bytes, and how many it read; None when it refuses."""
    stream = BytesIO(data)
    try:
        return tree.parse_stream(stream), stream.tell()
    except ConstructError:
        return None


def generated(message: type[Any], version: int, data: bytes) -> tuple[Any, int] | None:
    """The same of the generated decoder."""
    try:
        return codec.decode(message, version, data)
    except MalformedMessage:
        return None


def spoil(rng: random.Random, data: bytes) -> bytes:
    """The bytes cut short, with some bytes replaced, with bytes taken out or put in; or nothing but noise."""
    kind = rng.randrange(5)
    place = rng.randrange(len(data) + 1)
    if kind == 0:
        return data[:place]
    if kind == 1:
        return rng.randbytes(rng.randrange(60))
    if kind == 2:
        return data[:place] + rng.randbytes(rng.randrange(1, 6)) + data[place:]
    if kind == 3:
        return data[:place] + data[place + rng.randrange(1, 6) :]
    spoilt = bytearray(data)
    for _ in range(rng.randrange(1, 4)):
        if spoilt:
            spoilt[rng.randrange(len(spoilt))] = rng.choice((0, 1, 0x7F, 0x80, 0xFF, rng.randrange(256)))
    return bytes(spoilt)


@pytest.mark.parametrize("name", NAMES)
def test_generated_code_agrees_with_the_tree(name: str) -> None:
    message = getattr(messages, name)
    for version in message.__spec__.versions:
        rng = random.Random(f"{name} {version}")
        tree = message_structure(message, version)
        spent = 0
        for number in range(MAX_VALUES):
            if number >= MIN_VALUES and spent > ENOUGH_BYTES:
                break
            value = random_value(rng, tree)
            data = codec.encode(value, version)
            spent += len(data)
            assert data == tree.build(value), (name, version, value)
            assert b"".join(codec.encode_parts(value, version)) == data
            assert codec.decode(message, version, data) == (value, len(data)), (name, version)
            assert codec.decode_exactly(message, version, memoryview(data)) == value
            assert interpret(tree, data) == (value, len(data)), (name, version)
            for _ in range(GARBAGE_PER_VALUE):
                agree_on(message, version, tree, spoil(rng, data))


def agree_on(message: type[Any], version: int, tree: Structure, data: bytes) -> None:
    expected = interpret(tree, data)
    found = generated(message, version, data)
    assert (found is None) == (expected is None), (message, version, data.hex(), expected, found)
    if found is not None and expected is not None:
        assert found[1] == expected[1], (message, version, data.hex())
        # NaN differs from itself, its bytes do not
        same = found[0] == expected[0] or codec.encode(found[0], version) == codec.encode(
            expected[0], version
        )
        assert same, (message, version, data.hex())


@pytest.mark.parametrize("name", NAMES)
def test_a_message_cut_short_is_refused(name: str) -> None:
    """A message has no proper prefix that is a message; what has no bytes at all cannot be cut."""
    message = getattr(messages, name)
    for version in message.__spec__.versions:
        rng = random.Random(f"{name} {version}")
        data = codec.encode(random_value(rng, message_structure(message, version)), version)
        for cut in {0, 1, len(data) // 2, len(data) - 1, *(rng.randrange(len(data) + 1) for _ in range(3))}:
            if 0 <= cut < len(data):
                with pytest.raises(MalformedMessage):
                    codec.decode(message, version, data[:cut])
