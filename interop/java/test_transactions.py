"""kafka-transactions and kafka-dump-log see what a transaction leaves; Java clients speak the newest
generation that the broker says it has."""

import re
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from interop.java.client import JavaClient
from interop.java.tool_output import table
from interop.storage.test_dump_log import dump
from interop.support.client import EARLIEST, GroupSettings, Message, ProducerSettings, TransactionalProducer
from interop.support.group_journeys import Members, new_group, new_group_topic
from interop.support.journeys import TIMEOUT_S, new_topic, produce
from interop.support.process import LOCALHOST
from interop.support.servers import PybrokerServer, Server
from interop.support.tool_runner import KafkaTools
from interop.support.transaction_journeys import new_id, poll_all
from interop.support.waiting import wait_until
from pybroker.protocol.apis import api_by_key
from pybroker.protocol.codec import decode, decode_exactly, encode
from pybroker.protocol.messages import Message as WireMessage
from pybroker.protocol.messages import ProduceRequest, RequestHeader, ResponseHeader
from pybroker.records.builder import build_batch
from pybroker.records.header import Record

HANGING_PRODUCER_ID = 4242
TWENTY_MINUTES_MS = 20 * 60 * 1000
"""Longer than the longest time-out of a transaction, from when on find-hanging looks at one."""


@pytest.fixture
def java(server: Server) -> Iterator[JavaClient]:
    java = JavaClient(server.bootstrap, "clients-3.9")
    yield java
    java.close()


def test_list_and_describe(client: KafkaTools, java: JavaClient, topic: str) -> None:
    """A transaction is seen while it is open and after it has ended, with its producer and partitions."""
    transactional_id = new_id()
    producer = java.transactional_producer(transactional_id)
    producer.begin()
    producer.send(topic, [Message(at, None, b"x") for at in (0, 2)])
    producer.flush(TIMEOUT_S)
    described = row(client, "describe", "--transactional-id", transactional_id)
    assert (described["TransactionState"], described["ProducerEpoch"]) == ("Ongoing", "0")
    assert described["TransactionTimeoutMs"] == "60000"
    assert set(described["TopicPartitions"].split(",")) == {f"{topic}-0", f"{topic}-2"}
    active = row(client, "describe-producers", "--topic", topic, "--partition", "0")
    assert active["ProducerId"] == described["ProducerId"]
    assert active["CurrentTransactionStartOffset"] == "0"
    assert listed(client, transactional_id) == "Ongoing"
    producer.commit()
    wait_until(lambda: listed(client, transactional_id) == "CompleteCommit", "the end of the transaction")
    active = row(client, "describe-producers", "--topic", topic, "--partition", "0")
    assert active["CurrentTransactionStartOffset"] == "None"
    producer.close()


def row(client: KafkaTools, *arguments: str) -> dict[str, str]:
    """The only row of a tool's table."""
    result = client.check("kafka-transactions", *arguments)
    lines = [re.sub(r"[ \t]+", " ", line).strip() for line in result.lines]
    start = next(number for number, line in enumerate(lines) if "ProducerId" in line)
    rows = table(lines[start:])
    assert len(rows) == 1, str(result)
    return rows[0]


def listed(client: KafkaTools, transactional_id: str) -> str | None:
    """The state that the list tells of a transactional id."""
    for line in client.check("kafka-transactions", "list").lines:
        fields = line.split()
        if fields[0] == transactional_id:
            return fields[3]
    return None


@pytest.fixture
def lax(server: Server, client: KafkaTools) -> Iterator[tuple[Server, KafkaTools]]:
    """A server that believes its producers, as all did before KIP-890, and the tools against it."""
    lax = type(server)({"transaction.partition.verification.enable": "false"})  # type: ignore[call-arg]
    tools = None
    try:
        lax.start()
        tools = KafkaTools(lax.bootstrap, f"tools-{client.version}")
        yield lax, tools
    finally:
        if tools is not None:
            tools.close()
        lax.stop()


def test_find_and_abort_a_hanging_transaction(lax: tuple[Server, KafkaTools]) -> None:
    """A batch came after its transaction had ended, and opened one that no coordinator knows of. The tool
    finds it, aborts it, and finds nothing more; readers of committed records go on."""
    server, tools = lax
    java = JavaClient(server.bootstrap, "clients-3.9")
    topic = new_topic(java)
    write_hanging(server, topic)
    broker = ["--broker-id", "0"]
    found = row(tools, "find-hanging", *broker)
    assert (found["Topic"], found["ProducerId"], found["StartOffset"]) == (
        topic,
        str(HANGING_PRODUCER_ID),
        "0",
    )
    produce(java, topic, [Message(0, None, b"after")], ProducerSettings())
    reader = java.committed_reader(topic, 0, EARLIEST)
    assert reader.read(1, 1.0) == []
    tools.check("kafka-transactions", "abort", "--topic", topic, "--partition", "0", "--start-offset", "0")
    assert [record.value for record in reader.read(1, TIMEOUT_S)] == [b"after"]
    reader.close()
    none_left = tools.check("kafka-transactions", "find-hanging", *broker)
    assert str(HANGING_PRODUCER_ID) not in none_left.output, str(none_left)
    java.close()


def write_hanging(server: Server, topic: str) -> None:
    """No client does this by itself."""
    records = [Record(0, int(time.time() * 1000) - TWENTY_MINUTES_MS, None, b"hanging")]
    batch = build_batch(
        records, producer_id=HANGING_PRODUCER_ID, producer_epoch=3, base_sequence=0, is_transactional=True
    )
    data = ProduceRequest.PartitionProduceData(index=0, records=batch)
    request = ProduceRequest(
        transactional_id="forgotten",
        acks=-1,
        timeout_ms=10_000,
        topic_data=[ProduceRequest.TopicProduceData(name=topic, partition_data=[data])],
    )
    response = ask(server, 0, 9, request)
    assert response.responses[0].partition_responses[0].error_code == 0


def ask(server: Server, key: int, version: int, request: WireMessage) -> Any:
    """One request over a connection of its own."""
    api = api_by_key[key]
    header = RequestHeader(
        request_api_key=key, request_api_version=version, correlation_id=1, client_id="interop"
    )
    body = encode(header, api.request_header_version(version)) + encode(request, version)
    port = int(server.bootstrap.rpartition(":")[2])
    with socket.create_connection((LOCALHOST, port), timeout=TIMEOUT_S) as connection:
        connection.sendall(len(body).to_bytes(4, "big") + body)
        stream = connection.makefile("rb")
        frame = stream.read(int.from_bytes(stream.read(4), "big"))
    _, start = decode(ResponseHeader, api.response_header_version(version), frame)
    return decode_exactly(api.response, version, frame[start:])


# -- only of pybroker ------------------------------------------------------------------------------------


@pytest.fixture
def chatty(client: KafkaTools) -> Iterator[PybrokerServer]:
    """A pybroker that logs every request, because a tool has told it to."""
    server = PybrokerServer()
    tools = None
    try:
        server.start()
        tools = KafkaTools(server.bootstrap, f"tools-{client.version}")
        tools.check(
            "kafka-configs", "--entity-type", "broker-loggers", "--entity-name", "0", "--alter",
            "--add-config", "kafka.request.logger=DEBUG",
        )  # fmt: skip
        yield server
    finally:
        if tools is not None:
            tools.close()
        server.stop()


@pytest.mark.parametrize(
    ("client_set", "is_new"),
    [pytest.param("clients-3.9", False, marks=pytest.mark.whole), ("clients-4", True)],
)
def test_which_requests_a_client_sends(chatty: PybrokerServer, client_set: str, is_new: bool) -> None:
    """A producer of 4 ends transactions with EndTxn 5 and adds no partitions; one of 3.9 adds them."""
    java = JavaClient(chatty.bootstrap, client_set)
    source, target = new_group_topic(java, "source"), new_topic(java)
    produce(java, source, [Message(0, None, b"x")], ProducerSettings())
    group = new_group()
    producer = java.transactional_producer(new_id())
    with Members(java) as members:
        member = members.join(GroupSettings(group, (source,)))
        poll_all(member, 1)
        for commit in (True, False):
            producer.begin()
            producer.send(target, [Message(0, None, b"y")])
            producer.send_offsets(member, group)
            (producer.commit if commit else producer.abort)()
    assert java.committed(group, source, 0) == 1
    java.close()
    seen = requests(chatty)
    if is_new:
        assert seen["EndTxn"] == {5}
        assert "AddPartitionsToTxn" not in seen
        assert "AddOffsetsToTxn" not in seen
        assert max(seen["Produce"]) >= 12
        assert max(seen["TxnOffsetCommit"]) >= 5
    else:
        assert max(seen["EndTxn"]) <= 4
        assert seen["AddPartitionsToTxn"] == {3}
        assert "AddOffsetsToTxn" in seen


def requests(server: PybrokerServer) -> dict[str, set[int]]:
    """The versions of every API that the request log has."""
    seen: dict[str, set[int]] = {}
    for line in (server.folder / "server.log").read_text().splitlines():
        found = re.search(r"kafka\.request\.logger: (\w+) version (\d+) of client", line)
        if found:
            seen.setdefault(found[1], set()).add(int(found[2]))
    return seen


@pytest.mark.parametrize("client_set", [pytest.param("clients-3.9", marks=pytest.mark.whole), "clients-4"])
def test_kafka_dump_log_reads_the_transaction_topic(tmp_path: Path, client_set: str) -> None:
    """Kafka's own decoder reads every record, through all states, in both versions of the value."""
    folder = tmp_path / "broker"
    folder.mkdir()
    server = PybrokerServer({"transaction.state.log.num.partitions": "1"}, folder)
    server.start()
    try:
        java = JavaClient(server.bootstrap, client_set)
        topic = new_topic(java)
        transactional_id = new_id()
        producer: TransactionalProducer = java.transactional_producer(transactional_id)
        for commit in (True, False):
            producer.begin()
            producer.send(topic, [Message(0, None, b"x")])
            producer.flush(TIMEOUT_S)
            (producer.commit if commit else producer.abort)()
        java.transactional_producer(transactional_id)
        java.close()
    finally:
        server.stop()
    log = folder / "data" / "__transaction_state-0" / "00000000000000000000.log"
    output = dump("--transaction-log-decoder", "--files", str(log))
    states = re.findall(r"payload: .*?(?:state|status)[=:]\"?(\w+)", output)
    payloads = [line for line in output.splitlines() if "payload:" in line]
    assert transactional_id in output, output
    assert len(states) == len(payloads) > 0, output
    expected = ["Empty", "Ongoing", "PrepareCommit", "CompleteCommit", "Ongoing", "PrepareAbort"]
    assert states[: len(expected)] == expected, output
    assert states[-1] == "Empty", output
