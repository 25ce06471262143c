"""Talking to a shard as members of the consumer protocol do."""

from typing import Any

from pybroker.coordination.group.consumer.calls import ConsumerHeartbeatCall, ConsumerHeartbeatReply
from pybroker.coordination.group.consumer.group import ConsumerGroup
from pybroker.coordination.group.consumer.rules import ConsumerRules
from pybroker.coordination.group.consumer.state import TopicIdPartition
from pybroker.coordination.group.rules import GroupRules
from pybroker.metadata.image import ClusterImage, PartitionImage, TopicImage
from pybroker.model.ids import TopicId
from tests.coordination.group.dialogue import GROUP, Dialogue

ORDERS = frozenset({"orders"})
CLIENT = {"client_id": "c", "client_host": "/h"}
SESSION_MS = 45_000
REBALANCE_MS = 30_000


def topic_id(name: str) -> TopicId:
    return name.encode().ljust(16, b".")


def cluster(**partition_counts: int) -> ClusterImage:
    """Topics by name, each with so many partitions."""
    topics = {
        name: TopicImage(
            name, topic_id(name), {at: PartitionImage(at, 0, 0, (0,), (0,)) for at in range(count)}
        )
        for name, count in partition_counts.items()
    }
    return ClusterImage(topics=topics, topic_names_by_id={topic_id(name): name for name in topics})


def parts(topic: str, *indexes: int) -> frozenset[TopicIdPartition]:
    return frozenset(TopicIdPartition(topic_id(topic), index) for index in indexes)


class Scene(Dialogue):
    """A shard of a cluster with one topic of four partitions."""

    def __init__(self, consumer: ConsumerRules | None = None, **topics: int) -> None:
        super().__init__()
        self.rules = GroupRules(initial_rebalance_delay_ms=0, consumer=consumer or ConsumerRules())
        self.image = cluster(**(topics or {"orders": 4}))
        self.shard = self.new_shard()

    @property
    def consumers(self) -> ConsumerGroup:
        group = self.shard.groups[GROUP]
        assert isinstance(group, ConsumerGroup)
        return group

    def change_cluster(self, **topics: int) -> None:
        """The topics are these from now on."""
        after = cluster(**topics)
        self.image = self.image.next(topics=after.topics, topic_names_by_id=after.topic_names_by_id)

    def ask(self, member_id: str, epoch: int, **fields: Any) -> int:
        """Returns the request's token."""
        return self.call(ConsumerHeartbeatCall(GROUP, member_id, epoch, **{**CLIENT, **fields}))

    def call(self, call: ConsumerHeartbeatCall) -> int:
        """Returns the request's token."""
        return self.request(self.shard.consumer_heartbeat, call)

    def beat(self, member_id: str, epoch: int, **fields: Any) -> ConsumerHeartbeatReply:
        answer = self.answers[self.ask(member_id, epoch, **fields)]
        assert isinstance(answer, ConsumerHeartbeatReply)
        return answer

    def enter(self, member_id: str, **fields: Any) -> ConsumerHeartbeatReply:
        """A member joins, with all that a first request needs."""
        values = {
            "topic_names": ORDERS,
            "rebalance_timeout_ms": REBALANCE_MS,
            "owned": frozenset(),
        }
        return self.beat(member_id, 0, **{**values, **fields})
