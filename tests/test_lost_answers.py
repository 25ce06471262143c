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

WAIT_MS = 20_000
NONE = ErrorCode.NONE


class Scene:
    """A broker behind a proxy, a client of it, and somebody who looks at the nodes without the proxy."""

    def __init__(self, broker, client, session, proxy, *, forward):
        self.broker = broker
        self.session = session
        self._client = client
        self._proxy = proxy
        self._forward = forward

    async def ask(self, request, version, *, cut_after):
        """The answer to a request whose broker loses the answer to one of its multis."""
        cut = self._proxy.cut_at(MULTI, forward=self._forward, after=cut_after)
        with trio.fail_after(30):
            answer = await self._client.ask(request, version)
            await cut.happened.wait()
        return answer

    async def create(self, topic, *, cut_after):
        wanted = CreateTopicsRequest.CreatableTopic(name=topic, num_partitions=3, replication_factor=1)
        request = CreateTopicsRequest(topics=[wanted], timeout_ms=WAIT_MS)
        return (await self.ask(request, 7, cut_after=cut_after)).topics[0]

    async def grow(self, topic, count, *, cut_after):
        wanted = CreatePartitionsRequest.CreatePartitionsTopic(name=topic, count=count, assignments=None)
        request = CreatePartitionsRequest(topics=[wanted], timeout_ms=WAIT_MS)
        return (await self.ask(request, 3, cut_after=cut_after)).results[0]

    async def delete(self, topic, *, cut_after):
        request = DeleteTopicsRequest(topic_names=[topic], timeout_ms=WAIT_MS)
        return (await self.ask(request, 5, cut_after=cut_after)).responses[0]

    async def set_retention(self, topic, value, *, cut_after):
        change = IncrementalAlterConfigsRequest.AlterableConfig(
            name="retention.ms", config_operation=0, value=value
        )
        resource = IncrementalAlterConfigsRequest.AlterConfigsResource(
            resource_type=2, resource_name=topic, configs=[change]
        )
        request = IncrementalAlterConfigsRequest(resources=[resource])
        return (await self.ask(request, 1, cut_after=cut_after)).responses[0]

    async def leaders(self, topic):
        path = f"/brokers/topics/{topic}"
        partitions = json.loads((await self.session.get(path))[0])["partitions"]
        states = [await self.session.get(f"{path}/partitions/{index}/state") for index in partitions]
        return [json.loads(data)["leader"] for data, _ in states]

    async def until_gone(self, *paths):
        with trio.fail_after(30):
            for path in paths:
                while await self.session.exists(path, gone := Seen()) is not None:
                    await gone.wait()


@asynccontextmanager
async def scene(zookeeper, folder, *, forward):
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
        yield Scene(broker, client, await direct.session(), proxy, forward=forward)


@pytest.mark.parametrize("forward", [False, True], ids=["not done", "done"])
async def test_each_wish_is_fulfilled_once(zookeeper, tmp_path, forward):
    """The first multi after a wish is the handler's, the next one the controller's."""
    async with scene(zookeeper, tmp_path, forward=forward) as here:
        for cut_after, topic in enumerate(("first", "second")):
            assert (await here.create(topic, cut_after=cut_after)).error_code == NONE
            assert await here.leaders(topic) == [1] * 3
            assert (await here.grow(topic, 5, cut_after=cut_after)).error_code == NONE
            assert await here.leaders(topic) == [1] * 5
            assert (await here.session.exists(f"/brokers/topics/{topic}")).version == 1
            notes = len(await here.session.children("/config/changes"))
            assert (await here.set_retention(topic, "12345", cut_after=cut_after)).error_code == NONE
            path = ConfigEntityZNode.path(ConfigType.TOPIC, topic)
            data, _ = await here.session.get(path)
            assert ConfigEntityZNode.decode(path, data) == {"retention.ms": "12345"}
            added = len(await here.session.children("/config/changes")) - notes
            assert added == (2 if forward and cut_after == 1 else 1)
            assert (await here.delete(topic, cut_after=cut_after)).error_code == NONE
            assert topic not in here.broker.image.topics
            await here.until_gone(f"/brokers/topics/{topic}", path, f"/admin/delete_topics/{topic}")
        request = InitProducerIdRequest(transactional_id=None, transaction_timeout_ms=1000)
        answer = await here.ask(request, 4, cut_after=0)
        assert (answer.error_code, answer.producer_id) == (NONE, 1000 if forward else 0)
