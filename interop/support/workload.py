"""What is produced, the same for every client: deterministic records of all shapes."""

import random
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence

from interop.support.client import Headers, Message, Received, Traits

TIMESTAMP_STEP_MS = 10
_NULL_EVERY = 7
_TEXT = "abcdefghijklmnopqrstuvwxyz0123456789 äöü€"


def make_messages(
    count: int, traits: Traits, seed: int = 0, first: int = 0, partitions: int | None = None
) -> list[Message]:
    """`count` messages numbered from `first`, round robin over `partitions`, or as many as the client makes.

    Keys and values of all kinds: null, empty, text, binary, up to 2 KB; up to 3 headers, with repeated names
    and null values; timestamps in steps of TIMESTAMP_STEP_MS that end about now.
    """
    rng = random.Random(seed * 1_000_003 + first)
    base_ms = int(time.time() * 1000) - (first + count) * TIMESTAMP_STEP_MS
    return [
        Message(
            partition=number % (partitions or traits.partition_count),
            key=_blob(rng, number, f"key-{number}", traits) if number % _NULL_EVERY != 3 else None,
            value=_blob(rng, number, f"value-{seed}-{number}", traits) if number % _NULL_EVERY != 5 else None,
            headers=_headers(rng, number, traits),
            timestamp_ms=base_ms + number * TIMESTAMP_STEP_MS if traits.own_timestamps else None,
        )
        for number in range(first, first + count)
    ]


def by_partition(messages: Iterable[Message]) -> dict[int, list[Message]]:
    """The messages of each partition in the order they are sent."""
    parts: dict[int, list[Message]] = defaultdict(list)
    for message in messages:
        parts[message.partition].append(message)
    return dict(parts)


def check_received(
    sent: Sequence[Message], received: Sequence[Received], first_offset: int = 0, *, is_dense: bool = True
) -> None:
    """Every record of one partition came once, in order, with its own key, value, headers and timestamp.
    Where markers and aborted records lie between them, offsets only grow."""
    offsets = [record.offset for record in received]
    assert offsets == sorted(set(offsets)), f"offsets do not grow: {offsets}"
    assert len(received) == len(sent), f"{len(received)} records came, {len(sent)} were sent"
    for position, (message, record) in enumerate(zip(sent, received, strict=True)):
        where = f"partition {record.partition}, record {position}"
        if is_dense:
            assert record.offset == first_offset + position, f"{where}: offset {record.offset}"
        assert record.key == message.key, f"{where}: key {record.key!r} instead of {message.key!r}"
        assert record.value == message.value, f"{where}: value {record.value!r} instead of {message.value!r}"
        assert record.headers == message.headers, f"{where}: headers {record.headers} not {message.headers}"
        if message.timestamp_ms is not None:
            assert record.timestamp_ms == message.timestamp_ms, f"{where}: timestamp {record.timestamp_ms}"


def check_in_any_order(sent: Sequence[Message], received: Sequence[Received]) -> None:
    """Every record of one partition came once, with key, value and headers; offsets are dense from 0."""
    assert [record.offset for record in received] == list(range(len(sent)))
    came = Counter((record.key, record.value, record.headers) for record in received)
    missing = Counter((message.key, message.value, message.headers) for message in sent) - came
    assert not missing, f"{missing.total()} records did not come, one of them {next(iter(missing))}"


def _blob(rng: random.Random, number: int, name: str, traits: Traits) -> bytes:
    if number % 11 == 4 and not traits.empty_is_null:
        return b""
    size = 2000 if number % 97 == 0 else rng.randrange(0, 120)
    if traits.binary and number % 2:
        return name.encode() + b"\x00\xff\n" + rng.randbytes(size)
    return (name + " " + "".join(rng.choices(_TEXT, k=size))).strip().encode()


def _headers(rng: random.Random, number: int, traits: Traits) -> Headers:
    if not traits.headers:
        return ()
    if not traits.binary:
        return (("source", b"interop"), ("empty", b""))
    headers: list[tuple[str, bytes | None]] = [("number", str(number).encode())]
    if number % 5 == 0:
        headers.append(("trace", rng.randbytes(16)))
    if number % 5 == 1:
        headers.append(("number", b"again"))
        headers.append(("nothing", None if traits.null_header_values else b""))
    return tuple(headers) if number % 5 != 4 else ()
