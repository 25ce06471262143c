"""What a client asks into being is there when it is answered, or after a while it is told to come again."""

from types import SimpleNamespace
from typing import Any

import trio
import trio.testing
from kafka import KafkaConsumer, KafkaProducer

from pybroker.metadata.publisher import Publisher
from pybroker.model.errors import ErrorCode
from pybroker.testing import KafkaCluster
from pybroker.testing.prompt import PATIENCE_S, prompt

TOO_EARLY = ("LEADER_NOT_AVAILABLE", "COORDINATOR_NOT_AVAILABLE")


def test_the_first_producer_and_the_first_group_need_not_ask_twice() -> None:
    with KafkaCluster() as cluster:
        producer = KafkaProducer(bootstrap_servers=cluster.bootstrap_servers)
        producer.send("orders", b"one").get(10)
        producer.close(timeout=1)
        consumer = KafkaConsumer(
            "orders",
            group_id="readers",
            bootstrap_servers=cluster.bootstrap_servers,
            auto_offset_reset="earliest",
        )
        assert next(consumer).value == b"one"
        consumer.close(autocommit=False)
        assert cluster.journal(api="Produce")
        assert [each for error in TOO_EARLY for each in cluster.journal(error=error)] == []


async def test_a_topic_that_does_not_get_a_leader_is_told_of_in_the_end(
    autojump_clock: trio.testing.MockClock,
) -> None:
    publisher = Publisher()
    broker: Any = SimpleNamespace(
        publisher=publisher, image=publisher.current, coordinators_loaded=trio.lowlevel.checkpoint
    )
    topic = SimpleNamespace(error_code=ErrorCode.LEADER_NOT_AVAILABLE)
    early = SimpleNamespace(topics=[topic])

    async def answer(_request: object) -> object:
        return early

    context = SimpleNamespace(api_key=3, image=publisher.current)
    started_s = trio.current_time()
    assert await prompt(lambda: broker)(context, object(), answer) is early
    assert trio.current_time() - started_s == PATIENCE_S


async def test_other_refusals_are_passed_on_at_once(autojump_clock: trio.testing.MockClock) -> None:
    refused = SimpleNamespace(topics=[SimpleNamespace(error_code=ErrorCode.UNKNOWN_TOPIC_OR_PARTITION)])

    async def answer(_request: object) -> object:
        return refused

    context = SimpleNamespace(api_key=3, image=Publisher().current)
    started_s = trio.current_time()
    assert await prompt(lambda: None)(context, object(), answer) is refused
    assert trio.current_time() == started_s
