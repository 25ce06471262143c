"""What a broker knows at the moment it says that it is ready."""

from pathlib import Path

import pytest

from pybroker.controller import requests
from pybroker.protocol.messages import CreateTopicsRequest
from tests.support.broker import connected, running_broker

TOPICS = {f"topic-{n}" for n in range(5)}


async def test_every_topic_is_known_and_led_when_the_broker_is_ready(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The controller tells of many partitions in pieces; whoever came after the first would miss the rest."""
    monkeypatch.setattr(requests, "PARTITIONS_PER_REQUEST", 1)
    async with running_broker(tmp_path) as broker, connected(broker) as client:
        wanted = [
            CreateTopicsRequest.CreatableTopic(name=name, num_partitions=1, replication_factor=1)
            for name in TOPICS
        ]
        answer = await client.ask(CreateTopicsRequest(topics=wanted, timeout_ms=10_000))
        assert {topic.error_code for topic in answer.topics} == {0}
    async with running_broker(tmp_path) as broker:
        assert set(broker.image.topics) == TOPICS
        assert {partition.tp.topic for partition in broker.replicas if partition.is_leader} == TOPICS
