"""Frames are cut from the stream; a size is a claim that costs nothing until its bytes arrive."""

import random
import struct
from collections.abc import Callable

import pytest

from pybroker.protocol.framing import (
    CLAIM_BELIEVED_AFTER_BYTES,
    COPY_UP_TO_BYTES,
    FrameError,
    FrameReader,
    LargeBuffers,
    ReceiveBuffer,
)

SHARED_BYTES = 8192


def reader(limit: int = 1 << 20, shared: ReceiveBuffer | None = None) -> FrameReader:
    return FrameReader(limit, shared or ReceiveBuffer(SHARED_BYTES), LargeBuffers())


def framed(*bodies: bytes) -> bytes:
    return b"".join(struct.pack(">i", len(body)) + body for body in bodies)


def source(data: bytes, largest: int = 1 << 30) -> Callable[[memoryview], int]:
    remaining = bytearray(data)

    def recv_into(buffer: memoryview) -> int:
        count = min(len(buffer), len(remaining), largest)
        buffer[:count] = remaining[:count]
        del remaining[:count]
        return count

    return recv_into


def read_all(frames: FrameReader, data: bytes, largest: int = 1 << 30) -> list[bytes]:
    recv_into = source(data, largest)
    found = []
    while frames.receive(recv_into):
        while (frame := frames.next_frame()) is not None:
            found.append(bytes(frame))
            frame = None
        frames.settle()
    return found


def test_all_frames_of_one_receive_come_out_in_order() -> None:
    frames = reader()
    frames.receive(source(framed(b"one", b"", b"three")))
    assert [bytes(frame) for frame in iter(frames.next_frame, None)] == [b"one", b"", b"three"]
    frames.settle()
    assert frames.is_between_frames


@pytest.mark.parametrize("largest", [1, 2, 3, 5, 7, 4096, 5000, 1 << 20])
def test_frames_do_not_depend_on_how_the_stream_is_cut(largest: int) -> None:
    rng = random.Random(largest)
    sizes = [0, 1, 3, 4, SHARED_BYTES - 4, SHARED_BYTES - 3, SHARED_BYTES, 3 * SHARED_BYTES, 17, 0, 50_000]
    if largest < 100:
        sizes = [*sizes[:6], 40]
    bodies = [rng.randbytes(size) for size in sizes]
    assert read_all(reader(), framed(*bodies), largest) == bodies


def test_random_streams_survive_random_cuts() -> None:
    rng = random.Random(4)
    for _ in range(30):
        bodies = [rng.randbytes(rng.choice((0, 10, 2000, 9000, 30_000))) for _ in range(12)]
        frames = reader()
        data = framed(*bodies)
        recv_into = source(data)
        found = []
        received = 0
        while received < len(data):
            most = rng.randrange(1, 12_000)
            received += frames.receive(
                lambda buffer, most=most, recv_into=recv_into: recv_into(buffer[:most])
            )
            while (frame := frames.next_frame()) is not None:
                found.append(bytes(frame))
                frame = None
            frames.settle()
        assert found == bodies


@pytest.mark.parametrize("size", [0, 5, COPY_UP_TO_BYTES, COPY_UP_TO_BYTES + 1, SHARED_BYTES, 100_000])
def test_frames_are_writable_because_storage_patches_offsets_in_place(size: int) -> None:
    frames = reader()
    recv_into = source(framed(bytes(size)))
    frame = None
    while frame is None:
        frames.receive(recv_into)
        frame = frames.next_frame()
        frames.settle()
    assert not frame.readonly
    frame[:1] = b"\xff"[:size]


def test_the_largest_allowed_frame_passes_and_one_byte_more_does_not() -> None:
    assert read_all(reader(limit=100), framed(bytes(100))) == [bytes(100)]
    frames = reader(limit=100)
    frames.receive(source(framed(bytes(101))))
    with pytest.raises(FrameError, match="a frame of 101 bytes, more than the 100 bytes allowed"):
        frames.next_frame()


def test_a_frame_before_a_bad_size_is_still_delivered() -> None:
    frames = reader(limit=100)
    frames.receive(source(framed(b"good") + b"\xff\xff\xff\xff"))
    assert bytes(frames.next_frame() or b"") == b"good"
    with pytest.raises(FrameError, match="negative size -1"):
        frames.next_frame()


@pytest.mark.parametrize(
    ("start", "words"),
    [
        (b"\x16\x03\x01\x02\x00\x01", "speaks TLS"),
        (b"GET / HTTP/1.1\r\n", "speaks HTTP"),
        (struct.pack(">i", -(2**31)), "negative size -2147483648"),
    ],
)
def test_the_refusal_says_what_the_bytes_look_like(start: bytes, words: str) -> None:
    frames = reader()
    frames.receive(source(start))
    with pytest.raises(FrameError, match=words):
        frames.next_frame()


def test_a_claim_costs_only_what_has_arrived() -> None:
    frames = reader(limit=1 << 30)
    frames.receive(source(struct.pack(">i", 1 << 30) + b"123456"))
    assert frames.next_frame() is None
    frames.settle()
    assert frames.large_bytes == 0
    assert frames.missing_bytes == 0
    assert not frames.is_between_frames


def test_a_large_frame_gets_its_own_buffer_once_enough_has_arrived() -> None:
    frames = reader(limit=1 << 30)
    frames.receive(source(struct.pack(">i", 200_000) + bytes(CLAIM_BELIEVED_AFTER_BYTES)))
    assert frames.next_frame() is None
    frames.settle()
    assert frames.large_bytes == CLAIM_BELIEVED_AFTER_BYTES
    assert frames.missing_bytes == 200_000 - CLAIM_BELIEVED_AFTER_BYTES


def test_nothing_beyond_a_large_frame_is_read_into_its_buffer() -> None:
    frames = reader()
    recv_into = source(framed(bytes(50_000), b"next"))
    frames.receive(recv_into)
    assert frames.next_frame() is None
    frames.settle()
    assert frames.receive(recv_into) == 50_000 + 4 - SHARED_BYTES
    assert len(frames.next_frame() or b"") == 50_000
    assert frames.next_frame() is None
    frames.receive(recv_into)
    assert bytes(frames.next_frame() or b"") == b"next"


def test_a_receive_that_would_block_changes_nothing() -> None:
    def blocked(buffer: memoryview) -> int:
        raise BlockingIOError

    frames = reader()
    data = framed(b"a whole frame")
    frames.receive(source(data[:7]))
    assert frames.next_frame() is None
    frames.settle()
    with pytest.raises(BlockingIOError):
        frames.receive(blocked)
    frames.receive(source(data[7:]))
    assert bytes(frames.next_frame() or b"") == b"a whole frame"


def test_a_buffer_that_a_waiting_request_still_shows_is_not_written_to_again() -> None:
    shared = ReceiveBuffer(SHARED_BYTES)
    first, second = reader(shared=shared), reader(shared=shared)
    body = bytes([7]) * (COPY_UP_TO_BYTES + 1)
    first.receive(source(framed(body, b"pipelined behind it")))
    kept = first.next_frame()
    second.receive(source(framed(bytes(SHARED_BYTES - 4))))
    assert kept == body
    assert bytes(first.next_frame() or b"") == b"pipelined behind it"


def test_a_buffer_that_nobody_shows_is_used_again() -> None:
    shared = ReceiveBuffer(SHARED_BYTES)
    buffer = id(shared.take())
    frames = reader(shared=shared)
    read_all(frames, framed(bytes(5000), b"small", bytes(3000)))
    assert id(shared.take()) == buffer


def test_a_small_frame_does_not_keep_the_shared_buffer() -> None:
    shared = ReceiveBuffer(SHARED_BYTES)
    buffer = id(shared.take())
    frames = reader(shared=shared)
    frames.receive(source(framed(bytes(COPY_UP_TO_BYTES))))
    kept = frames.next_frame()
    frames.settle()
    assert id(shared.take()) == buffer
    assert kept is not None


def test_large_buffers_go_back_to_the_pool_and_come_out_again() -> None:
    pool = LargeBuffers()
    frames = FrameReader(1 << 20, ReceiveBuffer(SHARED_BYTES), pool)
    assert read_all(frames, framed(bytes(200_000))) == [bytes(200_000)]
    assert pool.free_bytes == 262_144
    assert read_all(frames, framed(b"x" * 250_000)) == [b"x" * 250_000]
    assert pool.free_bytes == 262_144


def test_a_large_buffer_that_is_still_shown_does_not_go_back_to_the_pool() -> None:
    pool = LargeBuffers()
    frames = FrameReader(1 << 20, ReceiveBuffer(SHARED_BYTES), pool)
    recv_into = source(framed(b"y" * 200_000))
    kept = None
    while kept is None:
        frames.receive(recv_into)
        kept = frames.next_frame()
        frames.settle()
    assert frames.next_frame() is None
    assert pool.free_bytes == 0
    assert kept == b"y" * 200_000


def test_the_pool_keeps_no_more_than_its_limit() -> None:
    pool = LargeBuffers(limit_bytes=300_000)
    holders = [[pool.take(200_000)], [pool.take(200_000)], [pool.take(100 << 20)]]
    for holder in holders:
        pool.give_back(holder)
    assert pool.free_bytes == 262_144


def test_dropping_a_connection_inside_a_large_frame_gives_the_buffer_back() -> None:
    pool = LargeBuffers()
    frames = FrameReader(1 << 20, ReceiveBuffer(SHARED_BYTES), pool)
    frames.receive(source(framed(bytes(200_000))))
    frames.settle()
    frames.drop()
    assert pool.free_bytes == 262_144
    assert frames.is_between_frames
