"""Requests of every API and version with something wrong in them, the same ones for the same seed."""

import random
import struct
from collections.abc import Iterator, Mapping
from typing import Any

from pybroker.protocol.apis import ApiSpec, api_by_key
from pybroker.protocol.codec import encode
from pybroker.protocol.messages import RequestHeader
from pybroker.records.batch import Record
from pybroker.records.builder import build_batch

INTERESTING = (
    b"\x00\x00\x00\x00",
    b"\xff\xff\xff\xff",
    b"\x7f\xff\xff\xff",
    b"\x80\x00\x00\x00",
    b"\x00\x01\x00\x00",
    b"\xff\xff\xff\xff\x0f",
    b"\xff" * 10,
)
_SCALARS: dict[str, Any] = {
    "string": "some-name",
    "uuid": bytes(range(16)),
    "bool": True,
    "float64": 1.5,
    "int8": 1,
    "bytes": bytes(range(40)),
    "records": build_batch([Record(number, 1, b"key", b"value", ()) for number in range(3)]),
}


_FIELDS: dict[str, Any] = {"acks": 1, "partition": 0, "index": 0, "partition_index": 0, "fetch_offset": 0}
"""Values with which more requests get past the first check."""


def mutated_frames(
    seed: int, count: int, served: Mapping[int, tuple[int, int]] | None = None
) -> Iterator[bytes]:
    """``count`` frames without their sizes; about one in fifty is left as it was.

    Nine in ten are of the APIs and versions in ``served``, when it is given.
    """
    rng = random.Random(seed)
    everything = {api.key: api.versions for api in api_by_key.values()}
    known: dict[tuple[int, int], bytes] = {}
    for _ in range(count):
        ranges = served if served and rng.random() < 0.9 else everything
        api = api_by_key[rng.choice(list(ranges))]
        version = rng.randint(*ranges[api.key])
        frame = known.get((api.key, version))
        if frame is None:
            frame = known[api.key, version] = sample_frame(api, version)
        yield mutate(rng, frame)


def sample_frame(api: ApiSpec, version: int) -> bytes:
    """A well-formed request with two items in every list."""
    request = _fill(api.request(), api.request, api.request.__spec__.fields, version)
    header = RequestHeader(
        request_api_key=api.key, request_api_version=version, correlation_id=1, client_id="fuzz"
    )
    return encode(header, api.request_header_version(version)) + encode(request, version)


def mutate(rng: random.Random, frame: bytes) -> bytes:
    """The frame with one to three things wrong."""
    data = bytearray(frame)
    if rng.random() < 0.02:
        return frame
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        _MUTATIONS[rng.randrange(len(_MUTATIONS))](rng, data)
    return bytes(data)


def _flip_bits(rng: random.Random, data: bytearray) -> None:
    for _ in range(rng.randint(1, 8)):
        if data:
            data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)


def _overwrite(rng: random.Random, data: bytearray) -> None:
    value = rng.choice(INTERESTING)
    start = rng.randrange(len(data) + 1)
    data[start : start + len(value)] = value


def _insert(rng: random.Random, data: bytearray) -> None:
    start = rng.randrange(len(data) + 1)
    data[start:start] = rng.choice((*INTERESTING, rng.randbytes(rng.randint(1, 200))))


def _cut(rng: random.Random, data: bytearray) -> None:
    del data[rng.randrange(len(data) + 1) :]


def _remove(rng: random.Random, data: bytearray) -> None:
    start = rng.randrange(len(data) + 1)
    del data[start : start + rng.randint(1, 16)]


def _repeat(rng: random.Random, data: bytearray) -> None:
    start = rng.randrange(len(data) + 1)
    data[start:start] = data[start : start + rng.randint(1, 100)] * rng.randint(1, 30)


def _other_version(rng: random.Random, data: bytearray) -> None:
    if len(data) >= 4:
        struct.pack_into(">h", data, 2, rng.randint(-2, 20))


def _noise(rng: random.Random, data: bytearray) -> None:
    data[8:] = rng.randbytes(rng.randint(0, 300))


_MUTATIONS = (
    _flip_bits,
    _flip_bits,
    _overwrite,
    _overwrite,
    _insert,
    _cut,
    _remove,
    _repeat,
    _other_version,
    _noise,
)


def _fill(target: Any, owner: Any, fields: Any, version: int) -> Any:
    for field in fields:
        if version not in field.versions:
            continue
        if field.is_struct:
            struct_fields = owner.__spec__.structs[field.type].fields
            make = getattr(owner, field.type)
            items = [_fill(make(), owner, struct_fields, version) for _ in range(2)]
            value = items if field.is_array else items[0]
        elif field.name in _FIELDS:
            value = _FIELDS[field.name]
        else:
            value = _SCALARS.get(field.type, 3)
            value = [value, value] if field.is_array else value
        setattr(target, field.name, value)
    return target
