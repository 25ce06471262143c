"""Transactions over the wire: what producers, consumers and administrators are told."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio

from pybroker.app import Broker
from pybroker.config.broker import BrokerConfig
from pybroker.instruments.clock import wall_time_ms
from pybroker.model.errors import ErrorCode
from pybroker.protocol.messages import (
    AddOffsetsToTxnRequest,
    AddPartitionsToTxnRequest,
    ApiVersionsRequest,
    CreateTopicsRequest,
    DescribeProducersRequest,
    DescribeTransactionsRequest,
    EndTxnRequest,
    FetchRequest,
    FindCoordinatorRequest,
    InitProducerIdRequest,
    ListOffsetsRequest,
    ListTransactionsRequest,
    MetadataRequest,
    OffsetFetchRequest,
    ProduceRequest,
    TxnOffsetCommitRequest,
    WriteTxnMarkersRequest,
)
from pybroker.records.batch import iter_records
from pybroker.records.builder import build_batch
from pybroker.records.header import Record, iter_batch_headers
from tests.support.broker import WireClient, connected, running_broker

TOPIC, GROUP, TXN = "orders", "group", "txn"
ALONE = {
    "offsets.topic.num.partitions": "1",
    "offsets.topic.replication.factor": "1",
    "transaction.state.log.num.partitions": "1",
    "transaction.state.log.replication.factor": "1",
    "transaction.state.log.min.isr": "1",
}
NONE = ErrorCode.NONE
COMMITTED = 1
"""The isolation level."""


class Producer:
    """A producer's side of the protocol, a request at a time."""

    def __init__(self, client: WireClient) -> None:
        self.client = client
        self.producer_id, self.epoch, self.sequence = -1, -1, 0

    async def init(self, version: int = 4, **fields: Any) -> ErrorCode:
        request = InitProducerIdRequest(transactional_id=TXN, transaction_timeout_ms=60_000, **fields)
        answer = await self.client.ask(request, version)
        if answer.error_code == NONE:
            self.producer_id, self.epoch, self.sequence = answer.producer_id, answer.producer_epoch, 0
        return ErrorCode(answer.error_code)

    async def started(self) -> "Producer":
        while await self.init() is ErrorCode.CONCURRENT_TRANSACTIONS:
            await trio.lowlevel.checkpoint()
        return self

    async def add(self, *partitions: int, version: int = 3) -> ErrorCode:
        topics = [AddPartitionsToTxnRequest.AddPartitionsToTxnTopic(name=TOPIC, partitions=list(partitions))]
        request = AddPartitionsToTxnRequest(
            v3_and_below_transactional_id=TXN,
            v3_and_below_producer_id=self.producer_id,
            v3_and_below_producer_epoch=self.epoch,
            v3_and_below_topics=topics,
        )
        answer = await self.client.ask(request, version)
        (topic,) = answer.results_by_topic_v3_and_below
        return ErrorCode(topic.results_by_partition[0].partition_error_code)

    async def write(self, partition: int, *values: bytes, version: int = 9) -> ErrorCode:
        # Markers are of now; records of long before would have a segment of their own.
        records = [Record(n, wall_time_ms(), None, value) for n, value in enumerate(values)]
        batch = build_batch(
            records,
            producer_id=self.producer_id,
            producer_epoch=self.epoch,
            base_sequence=self.sequence,
            is_transactional=True,
        )
        data = ProduceRequest.PartitionProduceData(index=partition, records=batch)
        request = ProduceRequest(
            transactional_id=TXN,
            acks=-1,
            timeout_ms=5000,
            topic_data=[ProduceRequest.TopicProduceData(name=TOPIC, partition_data=[data])],
        )
        answer = (await self.client.ask(request, version)).responses[0].partition_responses[0]
        if answer.error_code == NONE:
            self.sequence += len(values)
        return ErrorCode(answer.error_code)

    async def end(self, *, commit: bool = True, version: int = 3) -> ErrorCode:
        request = EndTxnRequest(
            transactional_id=TXN, producer_id=self.producer_id, producer_epoch=self.epoch, committed=commit
        )
        answer = await self.client.ask(request, version)
        if version >= 5 and answer.error_code == NONE:
            self.producer_id, self.epoch, self.sequence = answer.producer_id, answer.producer_epoch, 0
        return ErrorCode(answer.error_code)

    async def add_offsets(self, version: int = 3) -> ErrorCode:
        request = AddOffsetsToTxnRequest(
            transactional_id=TXN, producer_id=self.producer_id, producer_epoch=self.epoch, group_id=GROUP
        )
        return ErrorCode((await self.client.ask(request, version)).error_code)

    async def commit_offset(self, offset: int, version: int = 3, **fields: Any) -> ErrorCode:
        partition = TxnOffsetCommitRequest.TxnOffsetCommitRequestPartition(
            partition_index=0, committed_offset=offset, committed_metadata=""
        )
        request = TxnOffsetCommitRequest(
            transactional_id=TXN,
            group_id=GROUP,
            producer_id=self.producer_id,
            producer_epoch=self.epoch,
            topics=[TxnOffsetCommitRequest.TxnOffsetCommitRequestTopic(name=TOPIC, partitions=[partition])],
            **fields,
        )
        answer = await self.client.ask(request, version)
        return ErrorCode(answer.topics[0].partitions[0].error_code)


async def fetch(client: WireClient, partition: int = 0, isolation: int = COMMITTED) -> Any:
    asked = FetchRequest.FetchPartition(partition=partition, fetch_offset=0, partition_max_bytes=1 << 20)
    topics = [FetchRequest.FetchTopic(topic=TOPIC, partitions=[asked])]
    request = FetchRequest(max_wait_ms=0, min_bytes=0, isolation_level=isolation, topics=topics)
    return (await client.ask(request, 11)).responses[0].partitions[0]


async def read(client: WireClient, partition: int = 0) -> list[bytes]:
    """As a consumer of committed records reads: without control records, and without aborted ones."""
    data = await fetch(client, partition)
    aborted = sorted(data.aborted_transactions, key=lambda one: one.first_offset)
    values, gone = [], set()
    records = bytes(data.records)
    for position, header in iter_batch_headers(records):
        batch = list(iter_records(records[position : position + header.size_in_bytes], header))
        while aborted and aborted[0].first_offset <= header.base_offset:
            gone.add(aborted.pop(0).producer_id)
        if header.is_control:
            if batch[0].key == b"\0\0\0\0":
                gone.discard(header.producer_id)
        elif not (header.is_transactional and header.producer_id in gone):
            values += [record.value or b"" for record in batch]
    return values


async def committed_offset(client: WireClient, *, stable: bool = False) -> tuple[int, ErrorCode]:
    topic = OffsetFetchRequest.OffsetFetchRequestTopic(name=TOPIC, partition_indexes=[0])
    request = OffsetFetchRequest(group_id=GROUP, topics=[topic], require_stable=stable)
    answer = (await client.ask(request, 7)).topics[0].partitions[0]
    return answer.committed_offset, ErrorCode(answer.error_code)


async def describe(client: WireClient) -> Any:
    answer = await client.ask(DescribeTransactionsRequest(transactional_ids=[TXN]), 0)
    return answer.transaction_states[0]


async def settled(client: WireClient) -> str:
    """The state that the transaction comes to when its markers are written."""
    with trio.fail_after(10):
        while (state := (await describe(client)).transaction_state).startswith("Prepare"):
            await trio.lowlevel.checkpoint()
    return str(state)


async def make_ready(client: WireClient) -> None:
    """A topic of two partitions, and both coordinators."""
    topic = CreateTopicsRequest.CreatableTopic(name=TOPIC, num_partitions=2, replication_factor=1)
    await client.ask(CreateTopicsRequest(topics=[topic], timeout_ms=5000), 7)
    await coordinators(client)


async def coordinators(client: WireClient) -> None:
    with trio.fail_after(10):
        for kind, key in ((0, GROUP), (1, TXN)):
            request = FindCoordinatorRequest(key=key, key_type=kind)
            while (await client.ask(request, 3)).error_code != NONE:
                await trio.lowlevel.checkpoint()
        while (await describe(client)).error_code in (
            ErrorCode.COORDINATOR_LOAD_IN_PROGRESS,
            ErrorCode.NOT_COORDINATOR,
        ):
            await trio.lowlevel.checkpoint()
        while (await committed_offset(client))[1] is not NONE:
            await trio.lowlevel.checkpoint()


@asynccontextmanager
async def broker_at(folder: Path, **properties: str) -> AsyncIterator[WireClient]:
    settings = {**ALONE, **{key.replace("_", "."): value for key, value in properties.items()}}
    async with running_broker(folder, settings) as broker, connected(broker) as client:
        yield client


@pytest.fixture
async def client(tmp_path: Path) -> AsyncIterator[WireClient]:
    async with broker_at(tmp_path) as connection:
        await make_ready(connection)
        yield connection


@pytest.fixture
async def producer(client: WireClient) -> Producer:
    return await Producer(client).started()


async def test_committed_records_are_seen_when_they_are_committed(
    client: WireClient, producer: Producer
) -> None:
    assert await producer.add(0, 1) is NONE
    assert await producer.write(0, b"a", b"b") is NONE
    data = await fetch(client)
    assert (data.high_watermark, data.last_stable_offset, bytes(data.records)) == (2, 0, b"")
    assert len(bytes((await fetch(client, isolation=0)).records)) > 0
    assert await producer.end() is NONE
    assert await settled(client) == "CompleteCommit"
    assert await read(client) == [b"a", b"b"]
    data = await fetch(client)
    assert (data.last_stable_offset, data.aborted_transactions) == (3, [])


async def test_aborted_records_are_listed_for_the_reader(client: WireClient, producer: Producer) -> None:
    for number, commit in enumerate((True, False, True)):
        await producer.add(0)
        assert await producer.write(0, b"%d" % number) is NONE
        assert await producer.end(commit=commit) is NONE
        await settled(client)
    assert await read(client) == [b"0", b"2"]
    (aborted,) = (await fetch(client)).aborted_transactions
    assert (aborted.producer_id, aborted.first_offset) == (producer.producer_id, 2)


async def test_list_offsets_ends_at_the_last_stable_offset(client: WireClient, producer: Producer) -> None:
    await producer.add(0)
    await producer.write(0, b"a")

    async def latest(isolation: int) -> int:
        partition = ListOffsetsRequest.ListOffsetsPartition(partition_index=0, timestamp=-1)
        topics = [ListOffsetsRequest.ListOffsetsTopic(name=TOPIC, partitions=[partition])]
        request = ListOffsetsRequest(replica_id=-1, isolation_level=isolation, topics=topics)
        return int((await client.ask(request, 5)).topics[0].partitions[0].offset)

    assert (await latest(0), await latest(1)) == (1, 0)


@pytest.mark.parametrize(
    ("version", "code"),
    [(9, ErrorCode.INVALID_TXN_STATE), (11, ErrorCode.TRANSACTION_ABORTABLE), (12, NONE)],
)
async def test_a_partition_that_was_not_added(
    client: WireClient, producer: Producer, version: int, code: ErrorCode
) -> None:
    """Old clients are refused in words that they know; for new ones the broker adds it."""
    assert await producer.write(0, b"a", version=version) is code
    assert (await describe(client)).transaction_state == ("Ongoing" if code is NONE else "Empty")


async def test_with_verification_switched_off_it_is_written(tmp_path: Path) -> None:
    off = {"transaction_partition_verification_enable": "false"}
    async with broker_at(tmp_path, **off) as client:
        await make_ready(client)
        producer = await Producer(client).started()
        assert await producer.write(0, b"a") is NONE


async def test_a_fenced_producer_writes_nothing(client: WireClient, producer: Producer) -> None:
    await producer.add(0)
    await producer.write(0, b"old")
    newer = Producer(client)
    assert await newer.init() is ErrorCode.CONCURRENT_TRANSACTIONS
    await newer.started()
    assert await producer.write(0, b"zombie") is ErrorCode.INVALID_PRODUCER_EPOCH
    assert await producer.add(1) is ErrorCode.PRODUCER_FENCED
    assert await producer.add(1, version=1) is ErrorCode.INVALID_PRODUCER_EPOCH
    assert await producer.end() is ErrorCode.PRODUCER_FENCED
    assert await producer.end(version=1) is ErrorCode.INVALID_PRODUCER_EPOCH
    fields = {"producer_id": producer.producer_id, "producer_epoch": producer.epoch}
    assert await producer.init(**fields) is ErrorCode.PRODUCER_FENCED
    assert await producer.init(version=3, **fields) is ErrorCode.INVALID_PRODUCER_EPOCH
    await newer.add(0)
    await newer.write(0, b"new")
    await newer.end()
    await settled(client)
    assert await read(client) == [b"new"]


async def test_a_partition_that_does_not_exist_fails_the_whole_request(
    client: WireClient, producer: Producer
) -> None:
    topics = [AddPartitionsToTxnRequest.AddPartitionsToTxnTopic(name=TOPIC, partitions=[0, 7])]
    transaction = AddPartitionsToTxnRequest.AddPartitionsToTxnTransaction(
        transactional_id=TXN, producer_id=producer.producer_id, producer_epoch=0, topics=topics
    )
    answer = await client.ask(AddPartitionsToTxnRequest(transactions=[transaction]), 5)
    (result,) = answer.results_by_transaction[0].topic_results
    assert {one.partition_index: one.partition_error_code for one in result.results_by_partition} == {
        0: ErrorCode.OPERATION_NOT_ATTEMPTED,
        7: ErrorCode.UNKNOWN_TOPIC_OR_PARTITION,
    }
    assert (await describe(client)).transaction_state == "Empty"


async def test_what_was_asked_is_answered_in_the_same_words(client: WireClient, producer: Producer) -> None:
    asked = AddPartitionsToTxnRequest.AddPartitionsToTxnTopic
    for partitions, answered in (([0, 0], [0, 0]), ([], [])):
        transaction = AddPartitionsToTxnRequest.AddPartitionsToTxnTransaction(
            transactional_id=TXN,
            producer_id=producer.producer_id,
            producer_epoch=producer.epoch,
            topics=[asked(name=TOPIC, partitions=partitions)],
        )
        answer = await client.ask(AddPartitionsToTxnRequest(transactions=[transaction]), 5)
        (result,) = answer.results_by_transaction[0].topic_results
        assert [one.partition_index for one in result.results_by_partition] == answered


@pytest.mark.parametrize("commit", [True, False])
async def test_offsets_count_when_the_transaction_commits(
    client: WireClient, producer: Producer, commit: bool
) -> None:
    assert await producer.add_offsets() is NONE
    assert await producer.commit_offset(42) is NONE
    assert await committed_offset(client) == (-1, NONE)
    assert await committed_offset(client, stable=True) == (-1, ErrorCode.UNSTABLE_OFFSET_COMMIT)
    assert await producer.end(commit=commit) is NONE
    await settled(client)
    assert await committed_offset(client, stable=True) == (42 if commit else -1, NONE)


async def test_offsets_of_a_group_that_was_not_added(client: WireClient, producer: Producer) -> None:
    assert await producer.commit_offset(1) is ErrorCode.INVALID_TXN_STATE
    assert await producer.commit_offset(1, version=4) is ErrorCode.TRANSACTION_ABORTABLE
    assert await producer.commit_offset(1, version=5) is NONE


async def test_offsets_by_topic_id(client: WireClient, producer: Producer) -> None:
    (topic,) = (
        await client.ask(MetadataRequest(topics=[MetadataRequest.MetadataRequestTopic(name=TOPIC)]), 12)
    ).topics
    unknown = b"x" * 16

    def one(topic_id: bytes, partition: int) -> TxnOffsetCommitRequest.TxnOffsetCommitRequestTopic:
        place = TxnOffsetCommitRequest.TxnOffsetCommitRequestPartition(
            partition_index=partition, committed_offset=7, committed_metadata=""
        )
        return TxnOffsetCommitRequest.TxnOffsetCommitRequestTopic(topic_id=topic_id, partitions=[place])

    request = TxnOffsetCommitRequest(
        transactional_id=TXN,
        group_id=GROUP,
        producer_id=producer.producer_id,
        producer_epoch=producer.epoch,
        topics=[one(topic.topic_id, 0), one(topic.topic_id, 99), one(unknown, 0)],
    )
    answer = await client.ask(request, 6)
    codes = {
        (found.topic_id, partition.partition_index): partition.error_code
        for found in answer.topics
        for partition in found.partitions
    }
    assert codes == {
        (topic.topic_id, 0): NONE,
        (topic.topic_id, 99): ErrorCode.UNKNOWN_TOPIC_OR_PARTITION,
        (unknown, 0): ErrorCode.UNKNOWN_TOPIC_ID,
    }
    assert await producer.end(version=5) is NONE
    await settled(client)
    assert await committed_offset(client, stable=True) == (7, NONE)


async def test_offsets_of_somebody_who_is_no_member(client: WireClient, producer: Producer) -> None:
    await producer.add_offsets()
    stranger = {"member_id": "m", "generation_id_or_member_epoch": 1}
    assert await producer.commit_offset(1, **stranger) is ErrorCode.UNKNOWN_MEMBER_ID


async def test_a_client_of_version_2_sends_only_produce_and_end_txn(
    client: WireClient, producer: Producer
) -> None:
    for number, commit in enumerate((True, False, True)):
        assert await producer.write(0, b"%d" % number, version=12) is NONE
        assert await producer.end(commit=commit, version=5) is NONE
        assert producer.epoch == number + 1
    await settled(client)
    assert await read(client) == [b"0", b"2"]


@pytest.mark.parametrize(
    ("bump", "version", "code"),
    [
        (0, 1, NONE),
        (0, 2, ErrorCode.INVALID_PRODUCER_EPOCH),
        (1, 2, NONE),
    ],
)
async def test_a_marker_that_has_to_raise_the_epoch(
    client: WireClient, producer: Producer, bump: int, version: int, code: ErrorCode
) -> None:
    """In version 2 the request says how the transaction's client speaks (KIP-1228)."""
    assert await producer.write(0, b"open", version=12) is NONE
    marker = WriteTxnMarkersRequest.WritableTxnMarker(
        producer_id=producer.producer_id,
        producer_epoch=producer.epoch + bump,
        transaction_result=False,
        topics=[WriteTxnMarkersRequest.WritableTxnMarkerTopic(name=TOPIC, partition_indexes=[0])],
        coordinator_epoch=0,
        transaction_version=2,
    )
    for expected in (code, code):  # sent again it is no mistake either
        written = (await client.ask(WriteTxnMarkersRequest(markers=[marker]), version)).markers[0].topics[0]
        assert [one.error_code for one in written.partitions] == [expected]


async def test_an_epoch_that_is_still_to_come_does_not_write_into_the_open_transaction(
    client: WireClient, producer: Producer
) -> None:
    assert await producer.write(0, b"committed", version=12) is NONE
    early = Producer(client)
    early.producer_id, early.epoch = producer.producer_id, producer.epoch + 1
    assert await early.write(0, b"too early", version=12) is ErrorCode.INVALID_PRODUCER_EPOCH
    assert await producer.end(version=5) is NONE
    await settled(client)
    assert await early.write(0, b"aborted", version=12) is NONE
    assert await early.end(commit=False, version=5) is NONE
    await settled(client)
    assert await read(client) == [b"committed"]


async def test_the_feature_is_in_force(client: WireClient) -> None:
    request = ApiVersionsRequest(client_software_name="test", client_software_version="1")
    for version in (3, 4):
        answer = await client.ask(request, version)
        finalized = {one.name: one.max_version_level for one in answer.finalized_features}
        assert finalized["transaction.version"] == 2
        assert answer.finalized_features_epoch >= 0
    assert {one.name for one in answer.supported_features} >= {"transaction.version"}


async def test_administrators_find_and_abort_a_hanging_transaction(
    client: WireClient, producer: Producer
) -> None:
    await producer.add(0)
    await producer.write(0, b"a")
    (listed,) = (await client.ask(ListTransactionsRequest(), 1)).transaction_states
    assert (listed.transactional_id, listed.transaction_state) == (TXN, "Ongoing")
    answer = await client.ask(
        ListTransactionsRequest(state_filters=["Empty", "Nonsense"], transactional_id_pattern="t.*"), 2
    )
    assert (answer.transaction_states, answer.unknown_state_filters) == ([], ["Nonsense"])
    broken = await client.ask(ListTransactionsRequest(transactional_id_pattern="("), 2)
    assert broken.error_code == ErrorCode.INVALID_REGULAR_EXPRESSION
    found = await describe(client)
    assert [(topic.topic, topic.partitions) for topic in found.topics] == [(TOPIC, [0])]
    topics = [DescribeProducersRequest.TopicRequest(name=TOPIC, partition_indexes=[0])]
    described = await client.ask(DescribeProducersRequest(topics=topics), 0)
    (active,) = described.topics[0].partitions[0].active_producers
    assert (active.producer_id, active.current_txn_start_offset) == (producer.producer_id, 0)
    marker = WriteTxnMarkersRequest.WritableTxnMarker(
        producer_id=active.producer_id,
        producer_epoch=active.producer_epoch,
        transaction_result=False,
        topics=[WriteTxnMarkersRequest.WritableTxnMarkerTopic(name=TOPIC, partition_indexes=[0, 5])],
        coordinator_epoch=0,
    )
    written = (await client.ask(WriteTxnMarkersRequest(markers=[marker]), 1)).markers[0].topics[0]
    assert {one.partition_index: one.error_code for one in written.partitions} == {
        0: NONE,
        5: ErrorCode.UNKNOWN_TOPIC_OR_PARTITION,
    }
    assert (await fetch(client)).last_stable_offset == 2


async def _power_cut(folder: Path, steps: Any) -> None:
    """A broker that ends without a word once ``steps`` has been done."""
    async with trio.open_nursery() as nursery:
        settings = {"listeners": "PLAINTEXT://127.0.0.1:0", "log.dirs": str(folder), **ALONE}
        broker = Broker(BrokerConfig.from_properties(settings))
        await nursery.start(broker.run)
        async with connected(broker) as client:
            await steps(client)
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("ends", [False, True])
async def test_after_a_power_cut_an_open_transaction_is_still_open(tmp_path: Path, ends: bool) -> None:
    """And one that was decided is completed."""
    before: list[Producer] = []

    async def steps(client: WireClient) -> None:
        await make_ready(client)
        producer = await Producer(client).started()
        before.append(producer)
        await producer.add(0)
        await producer.write(0, b"a")
        await producer.add_offsets()
        await producer.commit_offset(9)
        if ends:
            await producer.end()

    await _power_cut(tmp_path, steps)
    async with broker_at(tmp_path) as client:
        await coordinators(client)
        producer, before[0].client = before[0], client
        if not ends:
            assert (await describe(client)).transaction_state == "Ongoing"
            assert (await fetch(client)).last_stable_offset == 0
            assert await committed_offset(client, stable=True) == (-1, ErrorCode.UNSTABLE_OFFSET_COMMIT)
            assert await producer.write(0, b"b") is NONE
            assert await producer.end() is NONE
        assert await settled(client) == "CompleteCommit"
        assert await read(client) == ([b"a"] if ends else [b"a", b"b"])
        assert await committed_offset(client, stable=True) == (9, NONE)
