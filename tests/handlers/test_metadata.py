"""Metadata: when a reply is made anew, and when all clients get the same."""

from typing import Any

import pytest

from pybroker.handlers.context import ConnectionState, RequestContext
from pybroker.handlers.metadata import SHARED_FROM_PARTITIONS, SHARED_REPLIES, MetadataHandler
from pybroker.handlers.shared import SharedResponse
from pybroker.metadata.image import BrokerInfo, ClusterImage, PartitionImage, TopicImage
from pybroker.model.endpoint import Endpoint
from pybroker.model.ids import BrokerId
from pybroker.protocol.messages import MetadataRequest, MetadataResponse

LISTENER = "PLAINTEXT"
CONNECTION = ConnectionState(connection_id="c-1", listener=LISTENER, client_host="10.0.0.7")


class Nothing:
    """No topic is created."""

    enabled = False


def image(leader: BrokerId = 0, partitions: int = SHARED_FROM_PARTITIONS) -> ClusterImage:
    """Twenty topics, large ones unless it is said otherwise."""
    states = {index: PartitionImage(index, leader, 1, (leader,), (leader,)) for index in range(partitions)}
    topics = [TopicImage(f"t{n}", bytes(15) + bytes([n + 1]), states) for n in range(20)]
    endpoint = Endpoint(LISTENER, "localhost", 9092)
    return ClusterImage(
        brokers={leader: BrokerInfo(leader, (endpoint,))}, topics={topic.name: topic for topic in topics}
    )


async def ask(
    of: ClusterImage, *names: str, version: int = 12, **fields: Any
) -> MetadataResponse | SharedResponse[MetadataResponse]:
    topics = [MetadataRequest.MetadataRequestTopic(name=name) for name in names] or None
    handler = MetadataHandler(Nothing())  # type: ignore[arg-type]
    return await handler(
        RequestContext(3, version, 1, "client", CONNECTION, of), MetadataRequest(topics=topics, **fields)
    )


def message(answer: MetadataResponse | SharedResponse[MetadataResponse]) -> MetadataResponse:
    return answer.copy() if isinstance(answer, SharedResponse) else answer


async def test_a_large_reply_is_made_once_for_all_who_ask_the_same() -> None:
    cluster = image()
    answer = await ask(cluster)
    assert isinstance(answer, SharedResponse)
    assert await ask(cluster) is answer
    assert await ask(cluster, "t1") is await ask(cluster, "t1")


@pytest.mark.parametrize(
    "other",
    [{"version": 11}, {"include_topic_authorized_operations": True}, {"allow_auto_topic_creation": False}],
)
async def test_it_is_made_anew_for_whatever_makes_a_difference(other: dict[str, Any]) -> None:
    cluster = image()
    same = "allow_auto_topic_creation" in other
    assert (await ask(cluster) is await ask(cluster, **other)) == same
    assert await ask(cluster, "t1") is not await ask(cluster, "t2")
    assert await ask(cluster, "t1", "t2") is not await ask(cluster, "t2", "t1")


async def test_it_tells_of_a_new_leader_at_once() -> None:
    cluster = image()
    assert message(await ask(cluster, "t1")).topics[0].partitions[0].leader_id == 0
    changed = cluster.next(**{name: getattr(image(leader=1), name) for name in ("brokers", "topics")})
    assert message(await ask(changed, "t1")).topics[0].partitions[0].leader_id == 1


async def test_small_replies_and_those_with_unknown_topics_are_made_each_time() -> None:
    assert isinstance(await ask(image(partitions=1)), MetadataResponse)
    assert isinstance(await ask(image(), "t1", "unknown"), MetadataResponse)


async def test_clients_cannot_fill_the_memory_with_replies() -> None:
    cluster = image()
    for topic in cluster.topics:
        await ask(cluster, topic)
    assert len(cluster.topics) > SHARED_REPLIES == len(cluster.cache[MetadataHandler])
