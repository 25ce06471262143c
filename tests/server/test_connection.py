"""One connection: one receive per wake-up, replies in order and in one send, nothing held back by a wait."""

import gc
import logging
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from pybroker.handlers.context import ConnectionState
from pybroker.instruments.metrics import ServerMetrics
from pybroker.model.errors import CloseConnection
from pybroker.server.connection import REPLY_BACKLOG_BYTES, Connection, ServerShare
from pybroker.server.limits import InFlightBytes
from tests.support.memory_transport import SIZE, MemorySlice, MemoryTransport

Reply = list[Any] | None


class Scripted:
    """Answers frames by their first word; replies are whole, with their size in front."""

    def __init__(self) -> None:
        self.gates: dict[bytes, trio.Event] = {}
        self.cancelled: list[bytes] = []
        self.handled: list[bytes] = []
        self.special: dict[bytes, Callable[[memoryview], Awaitable[Reply]]] = {}

    async def handle_frame(self, connection: ConnectionState, frame: memoryview) -> Reply:
        word = bytes(frame[:8]).strip(b"\0")
        self.handled.append(word)
        if word in self.special:
            return await self.special[word](frame)
        if word.startswith(b"wait"):
            gate = self.gates.setdefault(word, trio.Event())
            try:
                await gate.wait()
            except trio.Cancelled:
                self.cancelled.append(word)
                raise
        if word == b"none":
            return None
        if word == b"close":
            raise CloseConnection("told to")
        if word == b"bug":
            raise RuntimeError("a bug below dispatch")
        return reply(b"re:" + word)


def reply(body: bytes) -> list[Any]:
    return [SIZE.pack(len(body)), body]


class Served:
    def __init__(self, nursery: trio.Nursery, limit: int = 1 << 20, in_flight: int = -1) -> None:
        self.transport = MemoryTransport()
        self.handler = Scripted()
        self.metrics = ServerMetrics()
        self.share = ServerShare(self.handler, self.metrics, InFlightBytes(in_flight), nursery)
        self.nursery = nursery
        self.limit = limit
        self.connection = self.connect(self.transport)

    def connect(self, transport: MemoryTransport) -> Connection:
        state = ConnectionState(connection_id="c-1", listener="PLAINTEXT", max_frame_bytes=self.limit)
        connection = Connection(transport, state, self.share)
        self.nursery.start_soon(connection.run)
        return connection

    def sends(self) -> int:
        return sum(1 for call in self.transport.log if call[0] == "send")


@asynccontextmanager
async def serving(**options: Any) -> AsyncIterator[Served]:
    async with trio.open_nursery() as nursery:
        yield Served(nursery, **options)
        nursery.cancel_scope.cancel()


async def test_replies_of_one_wake_up_leave_in_order_and_in_one_send() -> None:
    async with serving() as served:
        served.transport.feed_frames([b"a", b"b", b"none", b"c"])
        assert await served.transport.wait_for_frames(3) == [b"re:a", b"re:b", b"re:c"]
        assert served.sends() == 1


async def test_a_handler_that_does_not_wait_costs_no_pass_through_the_scheduler() -> None:
    async with serving() as served:
        served.transport.feed_frames([b"a"] * 10)
        await served.transport.wait_for_frames(10)
        assert [call[0] for call in served.transport.log[:3]] == ["wait", "recv", "send"]


async def test_replies_before_a_waiting_handler_are_sent_before_it_waits() -> None:
    async with serving() as served:
        served.transport.feed_frames([b"a", b"b", b"wait", b"d"])
        assert await served.transport.wait_for_frames(2) == [b"re:a", b"re:b"]
        await wait_all_tasks_blocked()
        assert served.handler.handled == [b"a", b"b", b"wait"]
        served.handler.gates[b"wait"].set()
        assert (await served.transport.wait_for_frames(4))[2:] == [b"re:wait", b"re:d"]


async def test_replies_that_do_not_fit_the_socket_reach_it_while_a_handler_waits() -> None:
    async with serving() as served:
        served.transport.allow(3)
        served.transport.feed_frames([b"a", b"wait", b"c"])
        await wait_all_tasks_blocked()
        assert len(served.transport.outgoing) == 3
        served.transport.allow(None)
        assert await served.transport.wait_for_frames(1) == [b"re:a"]
        assert not served.handler.gates[b"wait"].is_set()
        served.handler.gates[b"wait"].set()
        assert await served.transport.wait_for_frames(3) == [b"re:a", b"re:wait", b"re:c"]


async def test_order_holds_when_the_handler_is_done_before_the_stuck_replies_are() -> None:
    async with serving() as served:
        served.transport.allow(3)
        served.transport.feed_frames([b"a", b"wait", b"c"])
        await wait_all_tasks_blocked()
        served.handler.gates[b"wait"].set()
        await wait_all_tasks_blocked()
        served.transport.allow(2)
        await wait_all_tasks_blocked()
        served.transport.allow(None)
        assert await served.transport.wait_for_frames(3) == [b"re:a", b"re:wait", b"re:c"]


@pytest.mark.parametrize("step", [1, 2, 5])
async def test_short_reads_and_short_sends_change_nothing(step: int) -> None:
    async with serving() as served:
        served.transport.largest_read = step
        served.transport.largest_send = step
        served.transport.feed_frames([b"a", b"none", b"b"])
        assert await served.transport.wait_for_frames(2) == [b"re:a", b"re:b"]


async def test_a_client_that_does_not_read_its_replies_is_not_read_either() -> None:
    async def big(frame: memoryview) -> Reply:
        return reply(bytes(100_000))

    async with serving() as served:
        served.handler.special[b"big"] = big
        served.transport.allow(10)
        served.transport.feed_frames([b"big"] * 100)
        await wait_all_tasks_blocked()
        assert len(served.handler.handled) == REPLY_BACKLOG_BYTES // 100_000 + 1
        served.transport.allow(None)
        assert len(await served.transport.wait_for_frames(100)) == 100


async def test_the_low_watermark_hint_is_what_a_large_frame_lacks_and_one_again_after_it() -> None:
    async with serving() as served:
        body = b"big" + bytes(300_000)
        served.transport.feed(SIZE.pack(len(body)) + body[:10_000])
        await wait_all_tasks_blocked()
        served.transport.feed(body[10_000:200_000])
        await wait_all_tasks_blocked()
        served.transport.feed(body[200_000:])
        await served.transport.wait_for_frames(1)
        await wait_all_tasks_blocked()
        waits = [call[1] for call in served.transport.log if call[0] == "wait"]
        assert waits[0] == 1
        assert len(body) - 10_000 in waits
        assert len(body) - 200_000 in waits
        assert waits[-1] == 1


async def test_a_request_that_waits_keeps_its_bytes_while_others_receive() -> None:
    async def slow(frame: memoryview) -> Reply:
        await trio.lowlevel.checkpoint()
        await gate.wait()
        return reply(bytes(frame[8:]))

    gate = trio.Event()
    async with serving() as served:
        served.handler.special[b"slow"] = slow
        body = b"slow\0\0\0\0" + b"x" * 5000
        served.transport.feed_frames([body, b"behind"])
        await wait_all_tasks_blocked()
        other = MemoryTransport()
        served.connect(other)
        other.feed_frames([b"o" * 30_000] * 2)
        await other.wait_for_frames(2)
        gate.set()
        assert await served.transport.wait_for_frames(2) == [b"x" * 5000, b"re:behind"]


async def test_everything_sent_before_the_half_close_is_answered_before_the_close() -> None:
    async with serving() as served:
        served.transport.feed_frames([b"a", b"wait"])
        served.transport.end()
        await wait_all_tasks_blocked()
        served.handler.gates[b"wait"].set()
        assert await served.transport.wait_for_frames(2) == [b"re:a", b"re:wait"]
        await wait_all_tasks_blocked()
        assert served.transport.is_closed


async def test_a_bad_size_closes_with_one_line_after_the_replies_before_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    async with serving(limit=100) as served:
        served.transport.feed(SIZE.pack(1) + b"a" + SIZE.pack(101))
        await wait_all_tasks_blocked()
        assert served.transport.is_closed
        assert served.transport.frames() == [b"re:a"]
    assert [record.getMessage() for record in caplog.records] == [
        "closed connection c-1 on PLAINTEXT: a frame of 101 bytes, more than the 100 bytes allowed"
    ]


async def test_a_handler_may_close_the_connection_and_earlier_replies_still_leave() -> None:
    async with serving() as served:
        served.transport.feed_frames([b"a", b"close", b"never"])
        await wait_all_tasks_blocked()
        assert served.transport.is_closed
        assert served.transport.frames() == [b"re:a"]
        assert served.handler.handled == [b"a", b"close"]
        assert served.connection.close_reason == "told to"


async def test_a_bug_below_dispatch_closes_only_this_connection(caplog: pytest.LogCaptureFixture) -> None:
    async with serving() as served:
        other = MemoryTransport()
        served.connect(other)
        served.transport.feed_frames([b"bug"])
        await wait_all_tasks_blocked()
        assert served.transport.is_closed
        other.feed_frames([b"fine"])
        assert await other.wait_for_frames(1) == [b"re:fine"]
    assert "a bug below dispatch" in caplog.text


async def test_a_broken_connection_is_closed_quietly(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    async with serving() as served:
        served.transport.break_down()
        served.transport.feed_frames([b"a"])
        await wait_all_tasks_blocked()
        assert served.transport.is_closed
    assert caplog.records == []


async def test_a_client_that_is_gone_while_a_handler_waits_closes_after_the_handler() -> None:
    async with serving() as served:
        served.transport.break_down()
        served.transport.feed_frames([b"a", b"wait"])
        await wait_all_tasks_blocked()
        assert not served.transport.is_closed
        served.handler.gates[b"wait"].set()
        await wait_all_tasks_blocked()
        assert served.transport.is_closed


async def test_a_client_that_leaves_stuck_replies_behind_closes_after_the_handler() -> None:
    async with serving() as served:
        served.transport.allow(3)
        served.transport.feed_frames([b"a", b"wait"])
        await wait_all_tasks_blocked()
        served.transport.break_down()
        await wait_all_tasks_blocked()
        assert not served.transport.is_closed
        served.handler.gates[b"wait"].set()
        await wait_all_tasks_blocked()
        assert served.transport.is_closed
        assert len(served.transport.outgoing) == 3


async def test_a_handler_that_fails_after_a_wait_fails_like_one_that_did_not_wait() -> None:
    async def late(frame: memoryview) -> Reply:
        await trio.lowlevel.checkpoint()
        raise CloseConnection("late")

    async with serving() as served:
        served.handler.special[b"late"] = late
        served.transport.feed_frames([b"a", b"late"])
        await wait_all_tasks_blocked()
        assert served.transport.is_closed
        assert served.transport.frames() == [b"re:a"]
        assert served.connection.close_reason == "late"
        assert served.share.in_flight.used_bytes == 0


async def test_a_handler_may_wait_many_times_and_catch_what_its_waits_raise() -> None:
    async def patient(frame: memoryview) -> Reply:
        for _ in range(3):
            await trio.lowlevel.checkpoint()
        with trio.move_on_after(0) as scope:
            await trio.sleep_forever()
        return reply(b"timed out" if scope.cancelled_caught else b"?")

    async with serving() as served:
        served.handler.special[b"patient"] = patient
        served.transport.feed_frames([b"patient"])
        assert await served.transport.wait_for_frames(1) == [b"timed out"]


async def test_stopping_closes_an_idle_connection_at_once() -> None:
    async with serving() as served:
        await wait_all_tasks_blocked()
        served.connection.stop()
        await wait_all_tasks_blocked()
        assert served.transport.is_closed


async def test_stopping_lets_requests_in_flight_finish_and_their_replies_go_out() -> None:
    async with serving() as served:
        served.transport.feed_frames([b"wait", b"after"])
        await wait_all_tasks_blocked()
        served.connection.stop()
        await wait_all_tasks_blocked()
        assert not served.transport.is_closed
        served.handler.gates[b"wait"].set()
        assert await served.transport.wait_for_frames(2) == [b"re:wait", b"re:after"]
        await wait_all_tasks_blocked()
        assert served.transport.is_closed


async def test_closing_cancels_the_handler_that_waits() -> None:
    async with serving() as served:
        served.transport.feed_frames([b"wait"])
        await wait_all_tasks_blocked()
        served.connection.close("because")
        await wait_all_tasks_blocked()
        assert served.handler.cancelled == [b"wait"]
        assert served.transport.is_closed


async def test_file_slices_are_sent_in_their_place_and_released_once() -> None:
    first, second = MemorySlice(b"f" * 10), MemorySlice(b"")

    async def fetch(frame: memoryview) -> Reply:
        return [SIZE.pack(16), b"abc", first, b"def", second]

    async with serving() as served:
        served.handler.special[b"fetch"] = fetch
        served.transport.largest_send = 4
        served.transport.feed_frames([b"a", b"fetch", b"z"])
        assert await served.transport.wait_for_frames(3) == [b"re:a", b"abc" + b"f" * 10 + b"def", b"re:z"]
    assert (first.releases, second.releases) == (1, 1)


async def test_memory_before_a_file_says_that_more_follows() -> None:
    async def fetch(frame: memoryview) -> Reply:
        return [SIZE.pack(8), MemorySlice(b"12345678")]

    async with serving() as served:
        served.handler.special[b"fetch"] = fetch
        served.transport.feed_frames([b"fetch"])
        await served.transport.wait_for_frames(1)
        assert served.transport.log[2:] == [("send", 4, True), ("file", 8), ("wait", 1)]


async def test_an_empty_slice_at_the_end_does_not_make_the_kernel_wait_for_more() -> None:
    async def fetch(frame: memoryview) -> Reply:
        return [SIZE.pack(3), b"abc", MemorySlice(b"")]

    async with serving() as served:
        served.handler.special[b"fetch"] = fetch
        served.transport.feed_frames([b"fetch"])
        await served.transport.wait_for_frames(1)
        assert [call for call in served.transport.log if call[0] == "send"] == [("send", 7, False)]


async def test_a_file_cut_short_closes_the_connection_and_is_never_padded() -> None:
    cut, behind = MemorySlice(b"12345678", cut=3), MemorySlice(b"x")

    async def fetch(frame: memoryview) -> Reply:
        return [SIZE.pack(9), cut, behind]

    async with serving() as served:
        served.handler.special[b"fetch"] = fetch
        served.transport.feed_frames([b"fetch", b"after"])
        await wait_all_tasks_blocked()
        assert served.transport.is_closed
        assert bytes(served.transport.outgoing) == SIZE.pack(9) + b"12345"
        assert "3 announced bytes are missing" in served.connection.close_reason
    assert (cut.releases, behind.releases) == (1, 1)


async def test_slices_of_replies_that_are_never_sent_are_released() -> None:
    slices = [MemorySlice(b"x" * 100) for _ in range(3)]

    async def fetch(frame: memoryview) -> Reply:
        return [SIZE.pack(100), slices[frame[8]]]

    async with serving() as served:
        served.handler.special[b"fetch"] = fetch
        served.transport.allow(50)
        served.transport.feed_frames([b"fetch\0\0\0" + bytes([number]) for number in range(3)])
        await wait_all_tasks_blocked()
        served.connection.close("gone")
        await wait_all_tasks_blocked()
    assert [part.releases for part in slices] == [1, 1, 1]


async def test_beyond_the_bytes_in_flight_a_connection_is_not_read() -> None:
    async with serving(in_flight=50_000) as served:
        large = b"wait" + bytes(100_000)
        served.transport.feed_frames([large])
        await wait_all_tasks_blocked()
        assert served.share.in_flight.used_bytes >= 100_000
        other = MemoryTransport()
        served.connect(other)
        other.feed_frames([b"b"])
        await wait_all_tasks_blocked()
        assert other.frames() == []
        served.handler.gates[b"wait"].set()
        assert await other.wait_for_frames(1) == [b"re:b"]
        await served.transport.wait_for_frames(1)
        await wait_all_tasks_blocked()
        assert served.share.in_flight.used_bytes == 0


async def test_frames_that_are_all_half_received_do_not_wait_for_each_other_for_ever() -> None:
    async with serving(in_flight=100_000) as served:
        transports = [MemoryTransport() for _ in range(4)]
        for transport in transports:
            served.connect(transport)
            transport.feed(SIZE.pack(120_000) + b"half" + bytes(60_000))
        await wait_all_tasks_blocked()
        for transport in transports:
            transport.feed(bytes(59_996))
        for transport in transports:
            assert await transport.wait_for_frames(1) == [b"re:half"]
        await wait_all_tasks_blocked()
        assert served.share.in_flight.used_bytes == 0
        assert served.share.in_flight.favoured is None


async def test_a_connection_that_dies_inside_a_large_frame_gives_back_its_share() -> None:
    async with serving(in_flight=100_000) as served:
        served.transport.feed(SIZE.pack(200_000) + bytes(150_000))
        await wait_all_tasks_blocked()
        assert served.share.in_flight.used_bytes == 150_000
        served.transport.end()
        await wait_all_tasks_blocked()
        assert served.transport.is_closed
        assert served.share.in_flight.used_bytes == 0


async def test_a_long_burst_lets_other_connections_in_between() -> None:
    async def busy(frame: memoryview) -> Reply:
        until = trio.lowlevel.current_clock().current_time() + 0.001
        while trio.current_time() < until:
            pass
        return reply(b"done")

    async with serving() as served:
        served.handler.special[b"busy"] = busy
        other = MemoryTransport()
        served.connect(other)
        await wait_all_tasks_blocked()
        served.transport.feed_frames([b"busy"] * 100)
        other.feed_frames([b"quick"])
        await other.wait_for_frames(1)
        assert len(served.transport.frames()) < 60


async def test_the_limit_follows_the_state_of_the_connection() -> None:
    async def widen(frame: memoryview) -> Reply:
        served.connection.state.max_frame_bytes = 5000
        return reply(b"wider")

    async with serving(limit=10) as served:
        served.handler.special[b"widen"] = widen
        served.transport.feed_frames([b"widen"])
        await served.transport.wait_for_frames(1)
        served.transport.feed_frames([b"long" + bytes(4000)])
        assert (await served.transport.wait_for_frames(2))[1] == b"re:long"


async def test_bytes_are_counted_both_ways() -> None:
    async with serving() as served:
        served.transport.feed_frames([b"a"])
        await served.transport.wait_for_frames(1)
        assert served.metrics.bytes_in == 5
        assert served.metrics.bytes_out == struct.calcsize(">i") + len(b"re:a")


async def test_requests_leave_nothing_for_the_cycle_collector() -> None:
    async with serving() as served:
        served.transport.feed_frames([b"a"] * 10)
        await served.transport.wait_for_frames(10)
        gc.collect()
        gc.disable()
        try:
            for number in range(2, 22):
                served.transport.feed_frames([b"a"] * 10)
                await served.transport.wait_for_frames(10 * number)
            assert gc.collect() < 20
        finally:
            gc.enable()
