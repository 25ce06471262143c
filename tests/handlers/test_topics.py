"""CreateTopics, DeleteTopics and Metadata: what a reply holds beside its code."""

import pytest

from pybroker.handlers import create_topics
from pybroker.protocol.messages import CreateTopicsRequest, DeleteTopicsRequest, MetadataRequest
from tests.support.broker import WireClient

TIMED_OUT, NOT_AUTHORIZED, INVALID_REQUEST = 7, 29, 42
NO_ID = bytes(16)


async def test_a_created_topic_has_an_id_and_no_message(client: WireClient) -> None:
    topic = CreateTopicsRequest.CreatableTopic(name="new", num_partitions=1, replication_factor=1)
    (created,) = (await client.ask(CreateTopicsRequest(topics=[topic], timeout_ms=5000), 7)).topics
    assert (created.error_code, created.error_message, created.topic_id != NO_ID) == (0, None, True)


async def test_each_created_topic_is_told_its_own_configuration(client: WireClient) -> None:
    wanted = {"first": "1000", "second": "2000", "third": "1000", "plain": None}
    topics = [
        CreateTopicsRequest.CreatableTopic(
            name=name,
            num_partitions=1,
            replication_factor=1,
            configs=[]
            if value is None
            else [CreateTopicsRequest.CreatableTopicConfig(name="retention.ms", value=value)],
        )
        for name, value in wanted.items()
    ]
    created = (await client.ask(CreateTopicsRequest(topics=topics, timeout_ms=5000), 7)).topics
    told = {
        topic.name: next(config.value for config in topic.configs if config.name == "retention.ms")
        for topic in created
    }
    assert told == {**wanted, "plain": "604800000"}
    assert {len(topic.configs) for topic in created} == {36}


async def test_topics_of_the_same_configuration_are_described_once(
    client: WireClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    described = []
    describe = create_topics.describe_topic
    monkeypatch.setattr(
        create_topics, "describe_topic", lambda *args: (described.append(args), describe(*args))[1]
    )
    topics = [
        CreateTopicsRequest.CreatableTopic(name=f"t{number}", num_partitions=1, replication_factor=1)
        for number in range(20)
    ]
    created = (await client.ask(CreateTopicsRequest(topics=topics, timeout_ms=5000), 7)).topics
    assert [len(topic.configs) for topic in created] == [36] * 20
    assert len(described) == 1


async def test_what_was_created_but_not_waited_for_has_an_id_too(client: WireClient) -> None:
    topic = CreateTopicsRequest.CreatableTopic(name="new", num_partitions=1, replication_factor=1)
    (created,) = (await client.ask(CreateTopicsRequest(topics=[topic], timeout_ms=0), 7)).topics
    assert (created.error_code, created.topic_id != NO_ID) == (TIMED_OUT, True)


async def test_nobody_may_delete_a_topic_without_name_and_id(client: WireClient) -> None:
    nothing = DeleteTopicsRequest.DeleteTopicState(name=None)
    (answer,) = (await client.ask(DeleteTopicsRequest(topics=[nothing], timeout_ms=1000), 6)).responses
    assert (answer.name, answer.error_code) == (None, NOT_AUTHORIZED)


async def test_metadata_of_nothing_is_an_invalid_request(client: WireClient) -> None:
    nothing = MetadataRequest.MetadataRequestTopic(name=None)
    (answer,) = (await client.ask(MetadataRequest(topics=[nothing]), 12)).topics
    assert answer.error_code == INVALID_REQUEST
