"""A waiter sleeps until news came since its last sleep, and leaves nothing behind."""

import trio
import trio.testing

from pybroker.replication.waiters import WaiterSet, waiting_on


async def test_a_wake_up_before_the_sleep_is_not_lost() -> None:
    partition = WaiterSet()
    with waiting_on([partition]) as waiter:
        partition.wake_all()
        with trio.fail_after(1):
            await waiter.sleep()


async def test_one_wake_up_ends_one_sleep() -> None:
    partition = WaiterSet()
    with waiting_on([partition]) as waiter:
        partition.wake_all()
        await waiter.sleep()
        with trio.move_on_after(0.01) as scope:
            await waiter.sleep()
        assert scope.cancelled_caught


async def test_any_partition_wakes_a_sleeper_that_hangs_on_several() -> None:
    first, second = WaiterSet(), WaiterSet()
    woken = trio.Event()

    async def sleeper() -> None:
        with waiting_on([first, second]) as waiter:
            await waiter.sleep()
            woken.set()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(sleeper)
        await trio.testing.wait_all_tasks_blocked()
        assert len(first) == len(second) == 1
        second.wake_all()
        second.wake_all()
        with trio.fail_after(1):
            await woken.wait()
    assert len(first) == len(second) == 0


async def test_a_cancelled_sleeper_can_still_be_woken_without_harm() -> None:
    partition = WaiterSet()
    with waiting_on([partition]) as waiter:
        with trio.move_on_after(0.001):
            await waiter.sleep()
        partition.wake_all()
    assert len(partition) == 0
