"""The outbox sends parts in order, whatever the socket takes, and lets go of every file exactly once."""

import random

import pytest

from pybroker.instruments.metrics import ServerMetrics
from pybroker.server.outbox import FLUSH_BYTES, JOINED_BYTES, FileCutShort, Outbox
from pybroker.server.transport import Part
from tests.support.memory_transport import MemorySlice, MemoryTransport


async def make() -> tuple[MemoryTransport, Outbox]:
    transport = MemoryTransport()
    return transport, Outbox(transport, ServerMetrics())


async def test_small_pieces_leave_in_one_send() -> None:
    transport, outbox = await make()
    outbox.add([b"a", bytearray(b"b"), memoryview(b"c")])
    outbox.add([b"d"])
    assert outbox.flush()
    assert transport.log == [("send", 4, False)]
    assert outbox.pending_bytes == 0


async def test_large_pieces_are_not_copied_together() -> None:
    transport, outbox = await make()
    large = bytes(JOINED_BYTES)
    outbox.add([b"size", large, b"tail", large])
    assert outbox.flush()
    assert [call[1] for call in transport.log] == [4, JOINED_BYTES, 4, JOINED_BYTES]
    assert [call[2] for call in transport.log] == [True, True, True, False]


async def test_one_flush_does_not_keep_the_thread_for_ever() -> None:
    transport, outbox = await make()
    outbox.add([bytes(FLUSH_BYTES // 2)] * 5)
    assert not outbox.flush()
    assert len(transport.outgoing) == FLUSH_BYTES
    assert not outbox.flush()
    assert outbox.flush()
    assert len(transport.outgoing) == FLUSH_BYTES // 2 * 5


async def test_nothing_to_send_is_done_at_once() -> None:
    transport, outbox = await make()
    outbox.add([b"", MemorySlice(b"")])
    assert outbox.flush()
    assert outbox.flush()
    assert transport.log == []


@pytest.mark.parametrize("seed", range(20))
async def test_random_replies_arrive_whole_over_a_socket_that_takes_little(seed: int) -> None:
    rng = random.Random(seed)
    transport, outbox = await make()
    transport.largest_send = rng.choice((1, 7, 1000, 1 << 30))
    slices, expected = [], b""
    for _ in range(rng.randrange(1, 15)):
        parts: list[Part] = []
        for _ in range(rng.randrange(1, 5)):
            data = rng.randbytes(rng.choice((0, 1, 50, 900)))
            expected += data
            if rng.random() < 0.4:
                slices.append(MemorySlice(data))
                parts.append(slices[-1])
            else:
                parts.append(rng.choice((bytes, bytearray, memoryview))(data))
        outbox.add(parts)
        transport.allow(rng.randrange(0, 500))
        outbox.flush()
    transport.allow(None)
    while not outbox.flush():
        pass
    assert bytes(transport.outgoing) == expected
    assert outbox.pending_bytes == 0
    assert [part.releases for part in slices] == [1] * len(slices)


@pytest.mark.parametrize("allowed", [0, 3, 8, 12, 20])
async def test_discarding_lets_go_of_files_that_wait_or_are_half_sent(allowed: int) -> None:
    transport, outbox = await make()
    slices = [MemorySlice(b"12345678"), MemorySlice(b"12345678")]
    outbox.add([b"head", slices[0], slices[1]])
    transport.allow(allowed)
    outbox.flush()
    outbox.discard()
    assert [part.releases for part in slices] == [1, 1]
    assert outbox.flush()


async def test_a_file_that_ends_early_is_never_retried() -> None:
    transport, outbox = await make()
    part = MemorySlice(b"12345678", cut=8)
    outbox.add([b"head", part])
    with pytest.raises(FileCutShort, match="8 announced bytes are missing"):
        outbox.flush()
    assert bytes(transport.outgoing) == b"head"
    outbox.discard()
    assert part.releases == 1
