"""The journal: what is noted of a request, what is kept, and how a test waits for it."""

from typing import Any

import pytest
import trio

from pybroker.instruments.journal import Journal, Status, Wanted, describe
from pybroker.model.errors import CloseConnection
from pybroker.protocol.messages import (
    FetchRequest,
    FetchResponse,
    HeartbeatRequest,
    HeartbeatResponse,
    ProduceRequest,
    ProduceResponse,
)
from pybroker.records.builder import RecordBatchBuilder
from tests.instruments.asking import TOPIC_ID, Client
from tests.support.memory_transport import MemorySlice


def batch(*values: bytes) -> bytes:
    builder = RecordBatchBuilder()
    for value in values:
        builder.append(b"k", value, 1000)
    return bytes(builder.build())


def produce(records: bytes) -> ProduceRequest:
    part = ProduceRequest.PartitionProduceData(index=3, records=memoryview(records))
    return ProduceRequest(topic_data=[ProduceRequest.TopicProduceData(name="orders", partition_data=[part])])


async def beat(asking: Client, group: str = "g", error: int = 0) -> None:
    await asking.ask(12, 4, HeartbeatRequest(group_id=group), HeartbeatResponse(error_code=error))


async def test_a_request_and_its_answer_are_noted_decoded() -> None:
    journal = Journal(lambda: 5000)
    records = bytearray(batch(b"green", b"\xff"))
    await Client(journal.seam(2)).ask(0, 9, produce(records), ProduceResponse())
    records[:] = bytes(len(records))  # the buffer is used again
    (entry,) = journal.entries()
    assert (entry.number, entry.time_ms, entry.broker_id, entry.api, entry.version) == (
        1,
        5000,
        2,
        "Produce",
        9,
    )
    assert (entry.client_id, entry.connection, entry.topics, entry.groups) == ("me", "c-1", ("orders",), ())
    noted = entry.request["topic_data"][0]["partition_data"][0]["records"]
    assert noted["bytes"] == len(records)
    assert [(record["key"], record["value"]) for record in noted["records"]] == [
        ("k", "green"),
        ("k", "base64:/w=="),
    ]
    assert entry.status is Status.ANSWERED
    assert entry.response is not None


async def test_records_of_files_are_read_without_being_taken() -> None:
    journal = Journal(lambda: 0)
    part = MemorySlice(batch(b"v"))
    data = FetchResponse.PartitionData(records=part)
    response = FetchResponse(responses=[FetchResponse.FetchableTopicResponse(partitions=[data])])
    topic = FetchRequest.FetchTopic(topic_id=TOPIC_ID, partitions=[FetchRequest.FetchPartition()])
    await Client(journal.seam(0)).ask(1, 13, FetchRequest(topics=[topic]), response)
    (entry,) = journal.entries(Wanted(topic="ord*"))
    assert entry.response is not None
    noted = entry.response["responses"][0]["partitions"][0]["records"]
    assert [record["value"] for record in noted["records"]] == ["v"]
    assert part.releases == 0


async def test_entries_are_found_by_what_they_are_about() -> None:
    journal = Journal(lambda: 0)
    first, second = Client(journal.seam(0)), Client(journal.seam(1), client_id="you")
    await beat(first, "g1")
    await beat(second, "g2", error=27)
    found = {
        "api": Wanted(api="heartbeat"),
        "group": Wanted(group="*2"),
        "client": Wanted(client_id="you"),
        "broker": Wanted(broker=1),
        "error": Wanted(error="REBALANCE_IN_PROGRESS"),
        "after": Wanted(after=1),
        "none": Wanted(api="Produce"),
    }
    numbers = {name: [entry.number for entry in journal.entries(wanted)] for name, wanted in found.items()}
    assert numbers == {
        "api": [1, 2],
        "group": [2],
        "client": [2],
        "broker": [2],
        "error": [2],
        "after": [2],
        "none": [],
    }


async def test_waiting_ends_when_enough_requests_have_got_their_answer() -> None:
    journal = Journal(lambda: 0)
    asking = Client(journal.seam(0))
    found: list[int] = []

    async def wait() -> None:
        found.extend(entry.number for entry in await journal.wait_for(Wanted(group="g"), count=2))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait)
        for group in ("g", "other", "g"):
            await trio.testing.wait_all_tasks_blocked()
            assert found == []
            await beat(asking, group)
    assert found == [1, 3]


async def test_a_connection_that_ends_instead_of_an_answer_is_noted() -> None:
    async def close(_context: Any, _request: Any) -> Any:
        raise CloseConnection("no")

    journal = Journal(lambda: 0)
    asking = Client(journal.seam(0))
    context_of: list[Any] = []

    async def seam(context: Any, request: Any, answer: Any) -> Any:
        context_of.append(context)
        return await journal.seam(0)(context, request, lambda wanted: close(context, wanted))

    with pytest.raises(CloseConnection):
        await Client(seam).ask(12, 4, HeartbeatRequest(), None)
    assert [entry.status for entry in journal.entries()] == [Status.CLOSED]
    assert asking.handled == []


async def test_only_the_latest_entries_are_kept_and_the_numbers_go_on() -> None:
    journal = Journal(lambda: 0, max_entries=2)
    asking = Client(journal.seam(0))
    for _ in range(3):
        await beat(asking)
    assert [entry.number for entry in journal.entries()] == [2, 3]
    journal.clear()
    await beat(asking)
    assert [entry.number for entry in journal.entries()] == [4]
    small = Journal(lambda: 0, max_bytes=10)
    await beat(Client(small.seam(0)))
    assert small.entries() == []


async def test_a_line_for_people_names_who_asked_what_and_what_came_of_it() -> None:
    journal = Journal(lambda: 61_500)
    await beat(Client(journal.seam(4)), "drinkers", error=25)
    (entry,) = journal.entries()
    line = describe(entry)
    assert "00:01:01.500 broker 4 <- me: Heartbeat v4 [drinkers] -> UNKNOWN_MEMBER_ID" in line
