"""FindCoordinator: where groups live, in Kafka's words of each version."""

from pathlib import Path

import pytest
import trio

from pybroker.protocol.messages import FindCoordinatorRequest
from tests.support.broker import WireClient, connected, running_broker

NOT_AVAILABLE, INVALID_REQUEST = 15, 42
GENERIC = (
    "This most likely occurs because of a request being malformed by the client library or the message was "
    "sent to an incompatible broker. See the broker logs for more details."
)
GROUP, SHARE = 0, 2


async def test_the_first_question_makes_the_topic_and_a_later_one_is_answered(tmp_path: Path) -> None:
    alone = {"offsets.topic.replication.factor": "1", "offsets.topic.num.partitions": "1"}
    async with running_broker(tmp_path, alone) as broker, connected(broker) as client:
        with trio.fail_after(10):
            while (await client.ask(FindCoordinatorRequest(key="group"), 3)).error_code == NOT_AVAILABLE:
                pass
        answer = await client.ask(FindCoordinatorRequest(key="group"), 3)
    assert (answer.error_code, answer.error_message, answer.port > 0) == (0, "NONE", True)


@pytest.mark.parametrize(
    ("version", "kind", "code", "words"),
    [
        (3, 7, INVALID_REQUEST, GENERIC),
        (3, SHARE, INVALID_REQUEST, GENERIC),
        (5, SHARE, INVALID_REQUEST, ""),
        (6, SHARE, NOT_AVAILABLE, ""),
        (6, -1, INVALID_REQUEST, GENERIC),
    ],
)
async def test_types_that_a_version_does_not_know(
    client: WireClient, version: int, kind: int, code: int, words: str
) -> None:
    request = FindCoordinatorRequest(key_type=kind)
    if version < 4:
        request.key = "key"
        answer = await client.ask(request, version)
    else:
        request.coordinator_keys = ["key"]
        (answer,) = (await client.ask(request, version)).coordinators
    assert (answer.error_code, answer.error_message, answer.node_id) == (code, words, -1)
