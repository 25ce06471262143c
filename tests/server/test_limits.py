"""Counts of connections and of bytes in flight, and who waits at the limit."""

import trio
from trio.testing import wait_all_tasks_blocked

from pybroker.server.limits import ConnectionLimits, InFlightBytes, ServerSettings


def test_addresses_are_counted_apart() -> None:
    limits = ConnectionLimits(ServerSettings(max_connections_per_ip=1))
    limits.opened("a")
    assert not limits.allows("a")
    assert limits.allows("b")
    limits.closed("a")
    assert limits.allows("a")
    assert limits.count == 0


async def test_everyone_who_waits_for_room_looks_again_when_there_is_some(nursery: trio.Nursery) -> None:
    limits = ConnectionLimits(ServerSettings(max_connections=1))
    limits.opened("a")
    admitted: list[str] = []

    async def wait(name: str) -> None:
        await limits.wait_for_room()
        limits.opened(name)
        admitted.append(name)

    nursery.start_soon(wait, "first")
    nursery.start_soon(wait, "second")
    await wait_all_tasks_blocked()
    assert admitted == []
    limits.closed("a")
    await wait_all_tasks_blocked()
    assert len(admitted) == 1
    limits.closed(admitted[0])
    await wait_all_tasks_blocked()
    assert sorted(admitted) == ["first", "second"]


def test_minus_one_is_no_limit() -> None:
    in_flight = InFlightBytes(-1)
    in_flight.adjust(1 << 50)
    assert not in_flight.is_full


async def test_at_the_limit_one_connection_inside_a_frame_may_go_on_and_the_next_one_after_it(
    nursery: trio.Nursery,
) -> None:
    in_flight = InFlightBytes(100)
    in_flight.adjust(100)
    reading: list[str] = []

    async def read(name: str, is_inside_frame: bool) -> None:
        await in_flight.wait_for_turn(name, is_inside_frame)
        reading.append(name)

    nursery.start_soon(read, "between frames", False)
    await wait_all_tasks_blocked()
    nursery.start_soon(read, "inside one", True)
    await wait_all_tasks_blocked()
    nursery.start_soon(read, "inside another", True)
    await wait_all_tasks_blocked()
    assert reading == ["inside one"]
    await in_flight.wait_for_turn("inside one", True)  # the favoured one is not held up again
    in_flight.finished("inside one")
    await wait_all_tasks_blocked()
    assert reading == ["inside one", "inside another"]
    in_flight.adjust(-1)
    await wait_all_tasks_blocked()
    assert reading == ["inside one", "inside another", "between frames"]


async def test_limits_that_change_hold_for_the_next_and_wake_those_who_wait(nursery: trio.Nursery) -> None:
    limits = ConnectionLimits(ServerSettings(max_connections=1, max_connections_per_ip=1))
    limits.opened("10.0.0.1")
    assert not limits.allows("10.0.0.1")
    nursery.start_soon(limits.wait_for_room)
    await wait_all_tasks_blocked()
    limits.obey(ServerSettings(max_connections=2, max_connections_per_ip=2))
    assert limits.allows("10.0.0.1")
    with trio.fail_after(1):
        while nursery.child_tasks:
            await wait_all_tasks_blocked()
