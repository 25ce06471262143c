"""Whatever is asked of a broker is done once and answered, also when ZooKeeper's answer never came."""

import json
from contextlib import asynccontextmanager

import pytest
import trio

from pybroker.metadata.znodes import ConfigEntityZNode, ConfigType
from pybroker.model.errors import ErrorCode
from pybroker.protocol.messages import (
    CreatePartitionsRequest,
    CreateTopicsRequest,
    DeleteTopicsRequest,
    IncrementalAlterConfigsRequest,
    InitProducerIdRequest,
)
from tests.metadata.stores import chroot_settings, zookeeper_under_test
from tests.metadata.test_store_contract import Seen
from tests.support.broker import connected, running_broker
from tests.support.cut_proxy import MULTI, cut_proxy

TOPIC = "orders"
PATH = f"/brokers/topics/{TOPIC}"
WAIT_MS = 20_000

cut_before_or_after = pytest.mark.parametrize("forward", [False, True], ids=["not done", "done"])


class Scene:
    """A broker behind a proxy, a client of it, and somebody who looks at the nodes without the proxy."""

    def __init__(self, broker, client, session, proxy):
        self.broker = broker
        self.client = client
        self.session = session
        self.proxy = proxy

    async def ask_with_a_cut(self, request, version, *, forward, after=0):
        cut = self.proxy.cut_at(MULTI, forward=forward, after=after)
        with trio.fail_after(30):
            answer = await self.client.ask(request, version)
            await cut.happened.wait()
        return answer

    async def create(self, **options):
        topic = CreateTopicsRequest.CreatableTopic(name=TOPIC, num_partitions=3, replication_factor=1)
        request = CreateTopicsRequest(topics=[topic], timeout_ms=WAIT_MS)
        if not options:
            return (await self.client.ask(request, 7)).topics[0]
        return (await self.ask_with_a_cut(request, 7, **options)).topics[0]

    async def until_gone(self, path):
        with trio.fail_after(30):
            while await self.session.exists(path, gone := Seen()) is not None:
                await gone.wait()

    async def partitions(self):
        return json.loads((await self.session.get(PATH))[0])["partitions"]


@asynccontextmanager
async def scene(zookeeper, folder):
    settings = chroot_settings(zookeeper)
    async with (
        zookeeper_under_test(settings) as direct,
        cut_proxy(zookeeper.port) as proxy,
        running_broker(
            folder,
            {
                "zookeeper.connect": f"127.0.0.1:{proxy.port}{settings.chroot}",
                "broker.id": "1",
                "controlled.shutdown.enable": "false",
            },
        ) as broker,
        connected(broker) as client,
    ):
        yield Scene(broker, client, await direct.session(), proxy)


@cut_before_or_after
@pytest.mark.parametrize("after", range(3), ids=["the topic's multi", "the controller's", "the one after it"])
async def test_a_topic_is_created_once(zookeeper, tmp_path, forward, after):
    async with scene(zookeeper, tmp_path) as here:
        if after < 2:
            answer = await here.create(forward=forward, after=after)
        else:
            await here.create()
            grow = CreatePartitionsRequest.CreatePartitionsTopic(name=TOPIC, count=4, assignments=None)
            request = CreatePartitionsRequest(topics=[grow], timeout_ms=WAIT_MS)
            answer = (await here.ask_with_a_cut(request, 3, forward=forward, after=1)).results[0]
        assert answer.error_code == ErrorCode.NONE
        states = [await here.session.get(f"{PATH}/partitions/{p}/state") for p in await here.partitions()]
        assert len(states) == (3 if after < 2 else 4)
        assert all(json.loads(data)["leader"] == 1 for data, _ in states)


@cut_before_or_after
async def test_a_topic_grows_once(zookeeper, tmp_path, forward):
    async with scene(zookeeper, tmp_path) as here:
        await here.create()
        grow = CreatePartitionsRequest.CreatePartitionsTopic(name=TOPIC, count=5, assignments=None)
        request = CreatePartitionsRequest(topics=[grow], timeout_ms=WAIT_MS)
        answer = await here.ask_with_a_cut(request, 3, forward=forward)
        assert answer.results[0].error_code == ErrorCode.NONE
        assert len(await here.partitions()) == 5
        assert (await here.session.exists(PATH)).version == 1


@cut_before_or_after
@pytest.mark.parametrize("after", [0, 1], ids=["the wish", "the deletion"])
async def test_a_topic_is_deleted(zookeeper, tmp_path, forward, after):
    async with scene(zookeeper, tmp_path) as here:
        await here.create()
        request = DeleteTopicsRequest(topic_names=[TOPIC], timeout_ms=WAIT_MS)
        answer = await here.ask_with_a_cut(request, 5, forward=forward, after=after)
        assert answer.responses[0].error_code == ErrorCode.NONE
        assert TOPIC not in here.broker.image.topics
        for path in (PATH, f"/config/topics/{TOPIC}", f"/admin/delete_topics/{TOPIC}"):
            await here.until_gone(path)


@cut_before_or_after
@pytest.mark.parametrize("after", [0, 1], ids=["the values", "the note"])
async def test_a_configuration_is_written_and_followed(zookeeper, tmp_path, forward, after):
    async with scene(zookeeper, tmp_path) as here:
        await here.create()
        change = IncrementalAlterConfigsRequest.AlterableConfig(
            name="retention.ms", config_operation=0, value="12345"
        )
        resource = IncrementalAlterConfigsRequest.AlterConfigsResource(
            resource_type=2, resource_name=TOPIC, configs=[change]
        )
        request = IncrementalAlterConfigsRequest(resources=[resource])
        answer = await here.ask_with_a_cut(request, 1, forward=forward, after=after)
        assert answer.responses[0].error_code == ErrorCode.NONE
        path = ConfigEntityZNode.path(ConfigType.TOPIC, TOPIC)
        assert ConfigEntityZNode.decode(path, (await here.session.get(path))[0]) == {"retention.ms": "12345"}
        assert len(await here.session.children("/config/changes")) == (2 if forward and after else 1)


@cut_before_or_after
async def test_a_block_of_producer_ids_is_given_once(zookeeper, tmp_path, forward):
    async with scene(zookeeper, tmp_path) as here:
        request = InitProducerIdRequest(transactional_id=None, transaction_timeout_ms=1000)
        answer = await here.ask_with_a_cut(request, 4, forward=forward)
        assert (answer.error_code, answer.producer_id) == (ErrorCode.NONE, 1000 if forward else 0)
