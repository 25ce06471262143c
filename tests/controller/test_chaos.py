"""Whatever happens to brokers and controllers, in the end store, images and replicas tell the same story."""

import random

import pytest

from pybroker.controller.topic_creation import NewTopic
from pybroker.controller.topics_admin import NewPartitions
from pybroker.metadata.znodes import DeleteTopicsZNode, TopicsZNode, TopicZNode
from pybroker.model.ids import TopicPartition
from tests.controller.cluster import FakeCluster, fake_cluster, state_of

STEPS = 25


class Chaos:
    """Does random things to a cluster."""

    def __init__(self, cluster: FakeCluster, seed: int) -> None:
        self.cluster = cluster
        self.random = random.Random(seed)
        self.log: list[str] = []

    def up(self):
        return [broker for broker in self.cluster.brokers.values() if broker.is_up]

    async def step(self) -> None:
        actions = [self.create, self.delete, self.grow, self.kill, self.start, self.expire, self.bounce]
        actions += [self.cut, self.resign, self.reassign, self.create, self.start]
        action = self.random.choice(actions)
        self.log.append(action.__name__)
        await action()
        if self.random.random() < 0.6:
            await self.cluster.settle()

    async def create(self) -> None:
        name = f"t{self.random.randrange(8)}"
        broker = self.random.choice(self.up())
        factor = self.random.randint(1, max(1, len(broker.publisher.current.brokers)))
        await broker.admin.create_topics([NewTopic(name, self.random.randint(1, 3), factor)], 0)

    async def delete(self) -> None:
        await self.random.choice(self.up()).admin.delete_topics([f"t{self.random.randrange(8)}"], 0)

    async def grow(self) -> None:
        growth = NewPartitions(f"t{self.random.randrange(8)}", self.random.randint(2, 5))
        await self.random.choice(self.up()).admin.create_partitions([growth], 0)

    async def kill(self) -> None:
        if len(self.up()) > 1:
            await self.random.choice(self.up()).kill()

    async def start(self) -> None:
        down = [broker for broker in self.cluster.brokers.values() if not broker.is_up]
        if down:
            await self.random.choice(down).start()

    async def expire(self) -> None:
        await self.cluster.store.expire_session(self.random.choice(self.up()).session.session_id)

    async def bounce(self) -> None:
        await self.random.choice(self.up()).restart_at_once()

    async def cut(self) -> None:
        broker_id = self.random.choice([1, 2, 3])
        self.cluster.cut.symmetric_difference_update({broker_id})

    async def resign(self) -> None:
        for broker in self.up():
            if broker.controller.is_active:
                await broker.controller.resign()

    async def reassign(self) -> None:
        for broker in self.up():
            topics = list(broker.publisher.current.topics)
            if broker.controller.is_active and topics:
                target = self.random.sample([1, 2, 3], self.random.randint(1, 3))
                partition = TopicPartition(self.random.choice(topics), 0)
                await broker.api.alter_reassignments({partition: target})


async def heal(chaos: Chaos) -> None:
    cluster = chaos.cluster
    cluster.cut.clear()
    for broker in cluster.brokers.values():
        if not broker.is_up:
            await broker.start()
    await cluster.settle()
    for partition in await cluster.api.reassignments():
        await cluster.api.alter_reassignments({partition: None})
    controller = cluster.controller
    queues = controller._term.channels._queues
    await cluster.until(lambda: all(not queue.requests for queue in queues.values()))
    await cluster.until(lambda: agree(cluster))


def agree(cluster: FakeCluster) -> bool:
    """Whether all images name the same topics with the same leaders."""
    views = [
        {
            (topic.name, index): (partition.leader, partition.leader_epoch, partition.isr)
            for topic in broker.publisher.current.topics.values()
            for index, partition in topic.partitions.items()
        }
        for broker in cluster.brokers.values()
    ]
    return all(view == views[0] for view in views)


@pytest.mark.parametrize("seed", range(4))
async def test_the_cluster_heals(tmp_path, seed):
    async with fake_cluster(tmp_path) as cluster:
        chaos = Chaos(cluster, seed)
        for _ in range(STEPS):
            await chaos.step()
        await heal(chaos)
        session = cluster.broker(1).session
        assert await session.children(DeleteTopicsZNode.path) == []
        names = await session.children(TopicsZNode.path)
        image = cluster.broker(1).publisher.current
        assert sorted(image.topics) == names
        assert sorted(image.brokers) == [1, 2, 3]
        for name in names:
            node = TopicZNode.decode(name, (await session.get(TopicZNode.path(name)))[0])
            assert list(node.partitions) == list(image.topics[name].partitions)
            for index, assignment in node.partitions.items():
                state = (await state_of(cluster, name, index)).state
                partition = image.topics[name].partitions[index]
                assert state.leader in state.isr
                assert set(state.isr) <= set(assignment.replicas)
                assert (partition.leader, partition.leader_epoch, partition.isr, partition.replicas) == (
                    state.leader,
                    state.leader_epoch,
                    state.isr,
                    assignment.replicas,
                )
                for broker in cluster.brokers.values():
                    told = broker.replicas.get(TopicPartition(name, index))
                    if broker.broker_id in assignment.replicas:
                        assert told is not None
                        assert (told.leader, told.leader_epoch) == (state.leader, state.leader_epoch)
