"""A controller that was away for longer than its session changes nothing when it comes back."""

import os
import signal
from contextlib import asynccontextmanager

import pytest
import trio

from interop.support.servers import PybrokerServer
from pybroker.metadata.store import NoNode
from pybroker.metadata.znodes import (
    BrokerIdZNode,
    ControllerEpochZNode,
    ControllerZNode,
    PartitionStateZNode,
    TopicZNode,
)
from pybroker.model.errors import ErrorCode
from pybroker.model.ids import TopicPartition
from pybroker.protocol.apis import api_by_key
from pybroker.protocol.messages import (
    AlterPartitionReassignmentsRequest,
    CreateTopicsRequest,
    MetadataRequest,
)
from tests.metadata.stores import chroot_settings, zookeeper_under_test
from tests.metadata.test_store_contract import Seen
from tests.support.broker import WireClient, connected, running_broker
from tests.support.cut_proxy import cut_proxy
from tests.test_zookeeper import until

PATIENCE_S = 40
TOPIC = "orders"
REASSIGNMENTS = api_by_key[45]


@pytest.fixture
async def tree(zookeeper):
    async with zookeeper_under_test(chroot_settings(zookeeper)) as under_test:
        yield under_test


@pytest.fixture
async def session(tree):
    return await tree.session()


def overrides(address, broker_id):
    return {
        "zookeeper.connect": address,
        "zookeeper.session.timeout.ms": "2000",
        "broker.id": str(broker_id),
        "default.replication.factor": "2",
        "controlled.shutdown.enable": "false",
    }


def swap_replicas():
    """A wish that only a controller can grant."""
    partition = AlterPartitionReassignmentsRequest.ReassignablePartition(partition_index=0, replicas=[2, 1])
    topic = AlterPartitionReassignmentsRequest.ReassignableTopic(name=TOPIC, partitions=[partition])
    return AlterPartitionReassignmentsRequest(timeout_ms=60_000, topics=[topic])


async def create_topic(client):
    assignment = CreateTopicsRequest.CreatableReplicaAssignment(partition_index=0, broker_ids=[1, 2])
    topic = CreateTopicsRequest.CreatableTopic(
        name=TOPIC, num_partitions=-1, replication_factor=-1, assignments=[assignment]
    )
    answer = await client.ask(CreateTopicsRequest(topics=[topic], timeout_ms=20_000), 7)
    assert answer.topics[0].error_code == ErrorCode.NONE


async def controller_id(session):
    try:
        return ControllerZNode.decode((await session.get(ControllerZNode.path))[0]).broker_id
    except NoNode:
        return None


async def until_controller(session, broker_id):
    with trio.fail_after(PATIENCE_S):
        while True:
            changed = Seen()
            await session.exists(ControllerZNode.path, changed)
            if await controller_id(session) == broker_id:
                return
            await changed.wait()


async def until_state(session, holds):
    """The state of the partition as soon as something holds of it."""
    path = PartitionStateZNode.path(TopicPartition(TOPIC, 0))
    with trio.fail_after(PATIENCE_S):
        while True:
            changed = Seen()
            found = PartitionStateZNode.decode(TopicPartition(TOPIC, 0), *await session.get(path, changed))
            if holds(found.state):
                return found
            await changed.wait()


async def assert_nothing_changed(session, state):
    """What the second controller wrote is what stands."""
    assert ControllerEpochZNode.decode((await session.get(ControllerEpochZNode.path))[0]) == 2
    assert await controller_id(session) == 2
    topic = TopicZNode.decode(TOPIC, (await session.get(TopicZNode.path(TOPIC)))[0])
    assert topic.partitions[0].replicas == (1, 2)
    now = PartitionStateZNode.decode(
        TopicPartition(TOPIC, 0), *await session.get(PartitionStateZNode.path(TopicPartition(TOPIC, 0)))
    )
    assert (now.controller_epoch, now.state.leader) == (2, 2)
    assert now.state.leader_epoch >= state.state.leader_epoch


async def test_one_whose_connection_was_held_is_refused_what_it_had_begun(tree, session, zookeeper, tmp_path):
    address = tree.settings.address
    async with cut_proxy(zookeeper.port) as proxy:
        behind = f"127.0.0.1:{proxy.port}{tree.settings.chroot}"
        async with (
            running_broker(tmp_path / "1", overrides(behind, 1)) as first,
            running_broker(tmp_path / "2", overrides(address, 2)) as second,
            connected(first) as client,
        ):
            await create_topic(client)
            await until(second, lambda image: TOPIC in image.topics)
            epoch = first.broker_epoch
            proxy.is_refusing = True
            proxy.hold()
            await until_controller(session, 2)
            state = await until_state(session, lambda state: state.leader == 2)
            assert first.image.controller_id == 1
            await client.send(swap_replicas(), 0)
            await trio.testing.wait_all_tasks_blocked()
            proxy.is_refusing = False
            proxy.cut()
            with trio.fail_after(PATIENCE_S):
                answer = await client.receive(REASSIGNMENTS, 0)
            assert answer.error_code == ErrorCode.NOT_CONTROLLER
            await until(first, lambda image: image.controller_id == 2 and len(image.brokers) == 2)
            assert first.broker_epoch > epoch
            await until_state(session, lambda state: set(state.isr) == {1, 2})
            await assert_nothing_changed(session, state)


@asynccontextmanager
async def process(folder, settings):
    server = PybrokerServer(settings, folder)
    folder.mkdir()
    try:
        await trio.to_thread.run_sync(server.start)
        yield server
    finally:
        os.kill(server.pid, signal.SIGCONT)
        await trio.to_thread.run_sync(server.kill9)


async def test_one_that_was_stopped_by_a_signal_is_refused_what_waited_for_it(tree, session, tmp_path):
    address = tree.settings.address
    async with (
        process(tmp_path / "1", overrides(address, 1)) as first,
        process(tmp_path / "2", overrides(address, 2)),
    ):
        client = WireClient(await trio.open_tcp_stream("127.0.0.1", first.port))
        assert await controller_id(session) == 1
        await create_topic(client)
        before = (await session.exists(BrokerIdZNode.path(1))).czxid
        os.kill(first.pid, signal.SIGSTOP)
        await until_controller(session, 2)
        state = await until_state(session, lambda state: state.leader == 2)
        await client.send(swap_replicas(), 0)
        back = Seen()
        assert await session.exists(BrokerIdZNode.path(1), back) is None
        os.kill(first.pid, signal.SIGCONT)
        with trio.fail_after(PATIENCE_S):
            answer = await client.receive(REASSIGNMENTS, 0)
        assert answer.error_code == ErrorCode.NOT_CONTROLLER
        await back.wait()
        assert (await session.exists(BrokerIdZNode.path(1))).czxid > before
        await until_state(session, lambda state: set(state.isr) == {1, 2})
        await assert_nothing_changed(session, state)
        found = await client.ask(MetadataRequest(topics=[]), 12)
        assert (found.controller_id, len(found.brokers)) == (2, 2)
        await client.aclose()
