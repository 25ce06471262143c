"""Three brokers in one process: what the controller tells all of them."""

from pathlib import Path

import trio

from pybroker.metadata.znodes import ConfigEntityZNode, ConfigType
from pybroker.model.ids import TopicPartition
from pybroker.protocol.messages import CreateTopicsRequest, DescribeConfigsRequest, MetadataRequest
from tests.support.broker import connected
from tests.support.cluster import Cluster, running_cluster

TP = TopicPartition("orders", 0)


async def create_topic(
    cluster: Cluster, name: str = TP.topic, partitions: int = 1, replicas: int = 3
) -> None:
    request = CreateTopicsRequest(
        topics=[
            CreateTopicsRequest.CreatableTopic(
                name=name, num_partitions=partitions, replication_factor=replicas
            )
        ],
        timeout_ms=10_000,
    )
    async with connected(cluster.controller) as client:
        response = await client.ask(request)
    assert [topic.error_code for topic in response.topics] == [0], response


async def test_every_broker_knows_a_topic_and_its_leaders(tmp_path: Path) -> None:
    async with running_cluster(tmp_path) as cluster:
        await create_topic(cluster, partitions=3)
        answers = []
        for broker in cluster.brokers.values():
            await cluster.until(lambda broker=broker: broker.image.partition(TP) is not None)
            async with connected(broker) as client:
                answers.append(await client.ask(MetadataRequest(topics=None), 12))
        assert all(len(answer.brokers) == 3 for answer in answers)
        leaders = [
            {partition.partition_index: partition.leader_id for partition in answer.topics[0].partitions}
            for answer in answers
        ]
        assert leaders[0] == leaders[1] == leaders[2]
        assert sorted(leaders[0].values()) == [0, 1, 2]


async def test_another_controller_is_elected_when_the_first_dies(tmp_path: Path) -> None:
    async with running_cluster(tmp_path) as cluster:
        await create_topic(cluster)
        first = cluster.controller.broker_id
        await cluster.kill(first)
        await cluster.until(
            lambda: all(
                broker.image.controller_id in cluster.brokers and first not in broker.image.brokers
                for broker in cluster.brokers.values()
            )
        )
        await create_topic(cluster, "payments", replicas=2)


async def test_the_last_brokers_do_not_wait_for_somebody_who_takes_over(tmp_path: Path) -> None:
    async with running_cluster(tmp_path, {"controlled.shutdown.retry.backoff.ms": "3600000"}) as cluster:
        await create_topic(cluster, partitions=3)
        with trio.fail_after(20):
            async with trio.open_nursery() as nursery:
                for broker_id in list(cluster.brokers):
                    nursery.start_soon(cluster.stop, broker_id)


async def test_a_topic_is_described_as_it_is_and_not_as_a_broker_has_heard_of_it(tmp_path: Path) -> None:
    """Whoever changes a topic at one broker and asks another sees the change, however late its note comes."""
    async with running_cluster(tmp_path, size=2) as cluster:
        await create_topic(cluster, replicas=2)
        asked = DescribeConfigsRequest.DescribeConfigsResource(
            resource_type=2, resource_name=TP.topic, configuration_keys=["retention.ms"]
        )
        for value in ("1000", "2000"):
            node = ConfigEntityZNode.encode({"retention.ms": value})
            await cluster.store.session().set(ConfigEntityZNode.path(ConfigType.TOPIC, TP.topic), node)
            for broker in cluster.brokers.values():
                await cluster.until(lambda broker=broker: broker.image.partition(TP) is not None)
                async with connected(broker) as client:
                    response = await client.ask(DescribeConfigsRequest(resources=[asked]))
                assert [config.value for config in response.results[0].configs] == [value]
