"""Whatever well-formed request comes, in every version that is served there is an answer that says something.

A field that a handler sets and an old version cannot carry would show here as UNKNOWN_SERVER_ERROR, a reply
that nobody can encode as a closed connection.
"""

import logging
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trio

from pybroker.model.errors import ErrorCode
from pybroker.protocol.apis import api_by_key
from pybroker.protocol.message_classes import Message
from pybroker.protocol.messages import (
    ApiVersionsRequest,
    CreateTopicsRequest,
    MetadataRequest,
    ProduceRequest,
)
from tests.support.broker import ConnectionEnded, WireClient, connected, running_broker
from tests.support.random_requests import TOPIC, random_request

REQUESTS_PER_VERSION = 8
PATIENCE_S = 10
SETTINGS = {"group.initial.rebalance.delay.ms": "0", "offsets.topic.num.partitions": "3"}


async def test_every_version_of_every_api_answers_every_request(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rng = random.Random(39)
    caplog.set_level(logging.ERROR)
    problems: list[str] = []
    async with running_broker(tmp_path, SETTINGS) as broker:
        async with connected(broker) as client:
            hello = ApiVersionsRequest(client_software_name="test", client_software_version="1")
            served = (await client.ask(hello, 4)).api_keys
        for row in served:
            for version in range(row.min_version, row.max_version + 1):
                async with connected(broker) as client:
                    topic_id = await ensure_topic(client)
                for _ in range(REQUESTS_PER_VERSION):
                    request = random_request(rng, api_by_key[row.api_key], version, topic_id)
                    async with connected(broker) as client:
                        problems += await problems_of(client, request, version)
    problems += [record.getMessage() for record in caplog.records if record.exc_info]
    assert not problems


async def ensure_topic(client: WireClient) -> bytes:
    topic = CreateTopicsRequest.CreatableTopic(name=TOPIC, num_partitions=2, replication_factor=1)
    await client.ask(CreateTopicsRequest(topics=[topic], timeout_ms=5000), 7)
    asked = MetadataRequest.MetadataRequestTopic(name=TOPIC)
    answer = await client.ask(MetadataRequest(topics=[asked]), 12)
    return bytes(answer.topics[0].topic_id)


async def problems_of(client: WireClient, request: Message, version: int) -> list[str]:
    try:
        with trio.fail_after(PATIENCE_S):
            response = await client.ask(request, version)
    except (ConnectionEnded, trio.TooSlowError) as error:
        return [f"{type(error).__name__} in version {version} for {request}"]
    if ErrorCode.UNKNOWN_SERVER_ERROR in set(codes(response)):
        return [f"an unknown error in version {version} for {request}"]
    return []


def codes(message: Any) -> Iterator[int]:
    """Every error code in a response."""
    for name in message.__slots__:
        value = getattr(message, name)
        if name.endswith("error_code"):
            yield value
        for item in value if isinstance(value, list) else ():
            if isinstance(item, Message):
                yield from codes(item)


async def test_a_produce_request_without_acknowledgement_gets_no_reply(tmp_path: Path) -> None:
    async with running_broker(tmp_path) as broker, connected(broker) as client:
        await client.send(ProduceRequest(acks=0, timeout_ms=100, topic_data=[]), 9)
        answer = await client.ask(MetadataRequest(topics=[]), 12)
    assert answer.topics == []
