"""The queues to the brokers: who waits for them knows when everything has arrived."""

import trio
from trio.testing import wait_all_tasks_blocked

from pybroker.controller.channels import Channels, ControlRequest, ControlResponse
from pybroker.metadata.znodes import BrokerIdZNode
from pybroker.model.ids import BrokerId
from pybroker.protocol.messages import UpdateMetadataRequest, UpdateMetadataResponse


class SlowChannel:
    """A broker that answers when it is told to."""

    def __init__(self) -> None:
        self.may_answer = trio.Semaphore(0)

    async def send(self, request: ControlRequest) -> ControlResponse:
        await self.may_answer.acquire()
        return UpdateMetadataResponse()

    async def aclose(self) -> None:
        await trio.lowlevel.checkpoint()


class Waiter:
    """A task that waits until a broker's queue is drained."""

    def __init__(self, nursery: trio.Nursery, channels: Channels, broker_id: BrokerId) -> None:
        self.done = trio.Event()
        nursery.start_soon(self._run, channels, broker_id)

    async def _run(self, channels: Channels, broker_id: BrokerId) -> None:
        await channels.drained(broker_id)
        self.done.set()


async def test_a_queue_is_drained_when_the_last_request_is_answered(nursery: trio.Nursery) -> None:
    slow = SlowChannel()
    channels = Channels(nursery, lambda _broker: slow)
    channels.add(BrokerIdZNode(1, ()))
    await channels.drained(1)
    for _ in range(2):
        channels.send(1, UpdateMetadataRequest())
    waiter = Waiter(nursery, channels, 1)
    slow.may_answer.release()
    await wait_all_tasks_blocked()
    assert not waiter.done.is_set()
    slow.may_answer.release()
    await wait_all_tasks_blocked()
    assert waiter.done.is_set()
    channels.remove_all()


async def test_nobody_waits_for_a_broker_that_is_gone(nursery: trio.Nursery) -> None:
    slow = SlowChannel()
    channels = Channels(nursery, lambda _broker: slow)
    channels.add(BrokerIdZNode(1, ()))
    channels.send(1, UpdateMetadataRequest())
    waiter = Waiter(nursery, channels, 1)
    await wait_all_tasks_blocked()
    assert not waiter.done.is_set()
    channels.remove(1)
    await wait_all_tasks_blocked()
    assert waiter.done.is_set()
    await channels.drained(1)
