"""N hostile bytes never cost more than O(N) time and memory, whatever message they claim to be."""

import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import suppress
from io import BytesIO
from typing import Any

import pytest
from construct import ConstructError

from pybroker.protocol import codec, messages
from pybroker.protocol.codec import MalformedMessage
from pybroker.protocol.messages import FetchRequest, MetadataRequest, ProduceRequest
from pybroker.protocol.schema import message_structure
from pybroker.protocol.specs import all_messages

FILLINGS = (
    b"\xff",
    b"\x00",
    b"\x01",
    b"\x02",
    b"\x7f",
    b"\x80",
    b"\x01\x00",
    b"\x00\x01",
    b"\x7f\xff\xff\xff",
)
BYTES_PER_BYTE = 1500
"""Memory that a byte may cost at worst: a structure of a few bytes whose many absent fields have defaults."""

FIXED_COST = 50_000


def versions() -> Iterator[tuple[type[Any], int]]:
    for name, spec in all_messages().items():
        for version in spec.versions:
            yield getattr(messages, name), version


def attempt(decode: Callable[[bytes], object], data: bytes) -> None:
    with suppress(MalformedMessage, ConstructError):
        decode(data)


@pytest.mark.parametrize("filling", FILLINGS, ids=bytes.hex)
def test_memory_is_linear_for_every_message(filling: bytes) -> None:
    data = filling * (600 // len(filling))
    for message, version in versions():
        decode = codec.decoder(message, version)
        tracemalloc.start()
        attempt(decode, data)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < FIXED_COST + BYTES_PER_BYTE * len(data), (message, version)


@pytest.mark.parametrize("filling", FILLINGS, ids=bytes.hex)
def test_time_is_linear(filling: bytes) -> None:
    """Quadratic work on 200 kB would take minutes, and run into the suite's time-out."""
    data = filling * (200_000 // len(filling))
    for message, version in (
        (FetchRequest, 13),
        (FetchRequest, 6),
        (ProduceRequest, 9),
        (MetadataRequest, 12),
    ):
        tree = message_structure(message, version)
        decode = codec.decoder(message, version)
        attempt(decode, data)
        attempt(lambda data, tree=tree: tree.parse_stream(BytesIO(data)), data)


@pytest.mark.parametrize("count", [1000, 2**24, 2**31 - 1])
def test_a_count_that_lies_is_refused_before_anything_is_made_of_it(count: int) -> None:
    body = count.to_bytes(4, "big") + bytes(100)
    with pytest.raises(MalformedMessage, match="more elements than bytes"):
        codec.decode(MetadataRequest, 1, body)


def test_many_tagged_fields_in_few_bytes_are_refused() -> None:
    with pytest.raises(MalformedMessage, match="tagged fields"):
        codec.decode(MetadataRequest, 12, bytes.fromhex("000101ffffffff0f"))


def test_the_most_elements_that_bytes_can_hold_are_read() -> None:
    """The bound is not too tight: an array may fill the message to the last byte."""
    topics = [MetadataRequest.MetadataRequestTopic(name="") for _ in range(5000)]
    request = MetadataRequest(topics=topics)
    assert codec.decode_exactly(MetadataRequest, 0, codec.encode(request, 0)) == request


def test_nesting_is_bounded_by_the_spec() -> None:
    """No structure contains itself, so the depth of a tree is fixed and so is that of the generated code."""
    for spec in all_messages().values():
        for name, struct in spec.structs.items():
            seen, todo = set(), [field.type for field in struct.fields if field.is_struct]
            while todo:
                inner = todo.pop()
                assert inner != name, (spec.name, name)
                if inner not in seen:
                    seen.add(inner)
                    todo += [field.type for field in spec.structs[inner].fields if field.is_struct]
