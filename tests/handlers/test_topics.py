"""CreateTopics, DeleteTopics and Metadata: what a reply holds beside its code."""

from pybroker.protocol.messages import CreateTopicsRequest, DeleteTopicsRequest, MetadataRequest
from tests.support.broker import WireClient

TIMED_OUT, NOT_AUTHORIZED, INVALID_REQUEST = 7, 29, 42
NO_ID = bytes(16)


async def test_a_created_topic_has_an_id_and_no_message(client: WireClient) -> None:
    topic = CreateTopicsRequest.CreatableTopic(name="new", num_partitions=1, replication_factor=1)
    (created,) = (await client.ask(CreateTopicsRequest(topics=[topic], timeout_ms=5000), 7)).topics
    assert (created.error_code, created.error_message, created.topic_id != NO_ID) == (0, None, True)


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
