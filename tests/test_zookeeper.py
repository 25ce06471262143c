"""A broker whose metadata is in a real ZooKeeper: how it enters the cluster, stays in it and comes back."""

import json
from contextlib import asynccontextmanager

import pytest
import trio
from msgspec.structs import replace

from interop.support.zookeeper import ZooKeeperServer
from pybroker.metadata.znodes import BrokerIdZNode, ClusterIdZNode, ControllerZNode
from pybroker.model.errors import ErrorCode, StartupError
from pybroker.protocol.apis import api_by_key
from pybroker.protocol.messages import CreateTopicsRequest, MetadataRequest
from tests.metadata.stores import chroot_settings, zookeeper_under_test
from tests.support.broker import connected, running_broker
from tests.test_log_dirs import produce

PATIENCE_S = 20


@pytest.fixture
async def tree(zookeeper):
    """Sessions in a chroot of the test, for a look at what brokers write."""
    async with zookeeper_under_test(chroot_settings(zookeeper)) as under_test:
        yield under_test


@pytest.fixture
async def session(tree):
    return await tree.session()


def overrides(tree, broker_id=1, **more):
    return {
        "zookeeper.connect": tree.settings.address,
        "zookeeper.session.timeout.ms": "4000",
        "broker.id": str(broker_id),
        **{name.replace("_", "."): value for name, value in more.items()},
    }


@asynccontextmanager
async def broker_in(tree, folder, broker_id=1, **more):
    with trio.fail_after(60):
        async with running_broker(folder / str(broker_id), overrides(tree, broker_id, **more)) as broker:
            yield broker


async def until(broker, holds):
    """Waits until something holds of the image."""
    seen = trio.Event()

    def look(_old, new):
        if holds(new):
            seen.set()

    leave = broker.publisher.on_change(look)
    look(None, broker.image)
    with trio.fail_after(PATIENCE_S):
        await seen.wait()
    leave()


async def refused_start(tree, folder, broker_id=1, **more):
    """Why a broker does not start."""
    with pytest.RaisesGroup(StartupError, flatten_subgroups=True) as refused:
        async with broker_in(tree, folder, broker_id, **more):
            pass
    return str(refused.value.exceptions[0])


async def create_topic(broker, name="orders"):
    async with connected(broker) as client:
        topic = CreateTopicsRequest.CreatableTopic(name=name, num_partitions=2, replication_factor=1)
        answer = await client.ask(CreateTopicsRequest(topics=[topic], timeout_ms=10_000), 7)
        return answer.topics[0]


async def topics_of(broker):
    async with connected(broker) as client:
        answer = await client.ask(MetadataRequest(topics=None), 12)
        return {topic.name: topic.topic_id for topic in answer.topics}


async def test_a_broker_registers_is_elected_and_finds_its_topics_again(tree, session, tmp_path):
    async with broker_in(tree, tmp_path, broker_rack="r1") as broker:
        data, stat = await session.get(BrokerIdZNode.path(1))
        node = BrokerIdZNode.decode(1, data)
        assert (node.endpoints, node.rack) == (broker.endpoints, "r1")
        assert (stat.czxid, stat.version) == (broker.broker_epoch, 1)
        data, controller = await session.get(ControllerZNode.path)
        assert ControllerZNode.decode(data).broker_id == 1
        assert controller.ephemeral_owner == stat.ephemeral_owner != 0
        created = await create_topic(broker)
        assert created.error_code == ErrorCode.NONE
        written = json.loads((await session.get("/brokers/topics/orders"))[0])
        assert written["partitions"] == {"0": [1], "1": [1]}
        cluster_id = broker.image.cluster_id
    assert await session.exists(BrokerIdZNode.path(1)) is None
    assert await session.exists(ControllerZNode.path) is None
    async with broker_in(tree, tmp_path) as broker:
        assert broker.image.cluster_id == cluster_id
        assert await topics_of(broker) == {"orders": created.topic_id}
        assert (await session.get("/controller_epoch"))[0] == b"2"


async def test_after_a_lost_session_it_is_registered_anew_and_controller_again(tree, session, tmp_path):
    async with broker_in(tree, tmp_path) as broker:
        created = await create_topic(broker)
        epoch = broker.broker_epoch
        owner = (await session.exists(BrokerIdZNode.path(1))).ephemeral_owner
        await tree.expire(broker.session)
        await until(broker, lambda image: broker.broker_epoch != epoch and "orders" in image.topics)
        assert await topics_of(broker) == {"orders": created.topic_id}
        stat = await session.exists(BrokerIdZNode.path(1))
        assert stat.ephemeral_owner != owner
        assert broker.broker_epoch == stat.czxid > epoch
        assert (await create_topic(broker, "more")).error_code == ErrorCode.NONE


async def test_a_restart_of_zookeeper_costs_neither_the_session_nor_a_record(zookeeper, tmp_path):
    server = ZooKeeperServer()
    await trio.to_thread.run_sync(server.start)
    try:
        async with (
            zookeeper_under_test(chroot_settings(server)) as tree,
            broker_in(tree, tmp_path) as broker,
            connected(broker) as client,
        ):
            await create_topic(broker)
            epoch = broker.broker_epoch
            await trio.to_thread.run_sync(server.kill9)
            asked = CreateTopicsRequest.CreatableTopic(name="later", num_partitions=1, replication_factor=1)
            await client.send(CreateTopicsRequest(topics=[asked], timeout_ms=20_000), 7)
            async with connected(broker) as producer:
                assert await produce(producer, 0, b"meanwhile", "orders") == (ErrorCode.NONE, 0)
            await trio.to_thread.run_sync(server.start)
            with trio.fail_after(PATIENCE_S):
                answer = await client.receive(api_by_key[19], 7)
            assert answer.topics[0].error_code == ErrorCode.NONE
            session = await tree.session()
            assert (await session.exists(BrokerIdZNode.path(1))).czxid == broker.broker_epoch == epoch
    finally:
        server.stop()


async def test_a_second_broker_with_the_id_is_refused(tree, tmp_path):
    async with broker_in(tree, tmp_path):
        reason = await refused_start(tree, tmp_path / "other", 1)
    assert reason.startswith("broker 1 is registered already, by session 0x")


async def test_ids_are_given_out_above_the_reserved_ones_and_kept(tree, tmp_path):
    for folder, broker_id in (("a", 2001), ("b", 2002), ("a", 2001)):
        async with broker_in(tree, tmp_path / folder, -1, reserved_broker_max_id="2000") as broker:
            assert broker.broker_id == broker_id


async def test_a_directory_of_another_cluster_is_refused(tree, session, tmp_path):
    async with broker_in(tree, tmp_path) as broker:
        ours = broker.image.cluster_id
    await session.set(ClusterIdZNode.path, ClusterIdZNode("AAAAAAAAAAAAAAAAAAAAAA").encode())
    reason = await refused_start(tree, tmp_path)
    assert ours in reason
    assert "AAAAAAAAAAAAAAAAAAAAAA" in reason


async def test_no_answer_from_zookeeper_ends_the_start_with_the_address(tree, tmp_path):
    tree.settings = replace(tree.settings, hosts="127.0.0.1:1")
    reason = await refused_start(tree, tmp_path, zookeeper_connection_timeout_ms="300")
    address = tree.settings.address
    assert reason == f"no ZooKeeper answers at {address} within 300 ms (127.0.0.1:1: Connection refused)"
