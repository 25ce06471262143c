"""What handlers' tests share: a coordinator behind its handlers, and a whole broker."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trio

from pybroker.app import Broker
from pybroker.protocol.messages import CreateTopicsRequest
from tests.handlers.group_bench import GroupBench
from tests.support.broker import WireClient, connected, running_broker

DELETED_TOPIC, COMPACTED_TOPIC = "orders", "compacted"


@pytest.fixture
async def group_bench(tmp_path: Path, nursery: trio.Nursery) -> AsyncIterator[GroupBench]:
    """A started coordinator behind its handlers."""
    bench = GroupBench(tmp_path)
    await bench.start(nursery)
    yield bench
    await bench.stop()


@pytest.fixture
async def broker(tmp_path: Path) -> AsyncIterator[Broker]:
    async with running_broker(tmp_path) as running:
        yield running


@pytest.fixture
async def client(broker: Broker) -> AsyncIterator[WireClient]:
    """Connected to a broker with the topics ``orders`` (2 partitions) and ``compacted``."""
    async with connected(broker) as connection:
        topic, config = CreateTopicsRequest.CreatableTopic, CreateTopicsRequest.CreatableTopicConfig
        compact = [config(name="cleanup.policy", value="compact")]
        response = await connection.ask(
            CreateTopicsRequest(
                topics=[
                    topic(name=DELETED_TOPIC, num_partitions=2, replication_factor=1),
                    topic(name=COMPACTED_TOPIC, num_partitions=1, replication_factor=1, configs=compact),
                ],
                timeout_ms=5000,
            )
        )
        assert [result.error_code for result in response.topics] == [0, 0]
        yield connection
