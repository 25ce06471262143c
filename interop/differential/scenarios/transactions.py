"""Transactions: their lives and ends, who may do what, offsets inside of them, what administrators see."""

import time
from collections.abc import Callable
from typing import Any

from interop.differential.refs import Made, Ref
from interop.differential.scenarios.producing import produce_request
from interop.differential.scenarios.reading import fetch_request
from interop.differential.scenarios.world import Labelled, World
from interop.support.waiting import wait_until
from pybroker.protocol.message_classes import Message
from pybroker.protocol.messages import (
    AddOffsetsToTxnRequest,
    AddPartitionsToTxnRequest,
    DescribeProducersRequest,
    DescribeTransactionsRequest,
    EndTxnRequest,
    FindCoordinatorRequest,
    InitProducerIdRequest,
    ListOffsetsRequest,
    ListTransactionsRequest,
    OffsetFetchRequest,
    TxnOffsetCommitRequest,
    WriteTxnMarkersRequest,
)
from pybroker.records.builder import build_batch
from pybroker.records.header import Record

TOPIC = "txn-topic"
GROUP = "txn-group"
COMMITTED = 1
LAST_FOR_CLIENTS = 3
"""Of AddPartitionsToTxn: later versions are for brokers."""

NOW_MS = int(time.time() * 1000)
"""Markers are of now; records of long before would lie in a segment of their own."""


class Producer:
    """A transactional producer on both servers, which speaks in the versions of its time."""

    def __init__(self, world: World, txn: str, version: int) -> None:
        self.world = world
        self.txn = txn
        self.version = version
        self.epoch = 0
        self.sequence = 0
        self.id = Ref(f"producer of {txn}")

    def ask(self, label: str, request: Message, key: int, version: int | None = None, **more: Any) -> Any:
        wanted = self.version if version is None else version
        shared = min(wanted, self.world.latest(key))
        return self.world.pair.ask(f"txn {self.txn}: {label}", request, shared, **more)

    def init(self, label: str, *, wrong: bool = False, **fields: Any) -> None:
        request = InitProducerIdRequest(transactional_id=self.txn, transaction_timeout_ms=60_000, **fields)
        keep = {} if wrong else {self.id.name: lambda reply: reply.producer_id}
        self.ask(label, request, 22, capture=keep, wrong=wrong)

    def started(self, label: str, epoch: int) -> None:
        """A producer that is let in with this epoch, as soon as what was before it is over."""
        request = InitProducerIdRequest(transactional_id=self.txn, transaction_timeout_ms=60_000)
        self.until("is over", DescribeTransactionsRequest(transactional_ids=[self.txn]), _is_at_rest)
        self.ask(label, request, 22, capture={self.id.name: lambda reply: reply.producer_id})
        self.epoch, self.sequence = epoch, 0

    def until(self, what: str, request: Message, done: Callable[[Any], bool]) -> None:
        """Ask without comparing until both are so far: how long that takes is chance."""
        wait_until(lambda: self.world.quietly(request, 0, done), f"{self.txn}: {what}", 20)

    def add(self, label: str, *partitions: int, topic: str = TOPIC, wrong: bool = False, **who: Any) -> None:
        request = AddPartitionsToTxnRequest(
            v3_and_below_transactional_id=who.get("txn", self.txn),
            v3_and_below_producer_id=who.get("id", self.id),
            v3_and_below_producer_epoch=who.get("epoch", self.epoch),
            v3_and_below_topics=[
                AddPartitionsToTxnRequest.AddPartitionsToTxnTopic(name=topic, partitions=list(partitions))
            ],
        )
        self.ask(label, request, 24, min(self.version, LAST_FOR_CLIENTS), wrong=wrong)

    def write(self, label: str, partition: int, *, wrong: bool = False, epoch: int | None = None) -> None:
        used, sequence = self.epoch if epoch is None else epoch, self.sequence

        def make(producer_id: int) -> bytes:
            return build_batch(
                [Record(0, NOW_MS, b"key", label.encode())],
                producer_id=producer_id,
                producer_epoch=used,
                base_sequence=sequence,
                is_transactional=True,
            )

        request = produce_request(
            TOPIC, Made(make, (self.id,)), partition=partition, acks=-1, transactional_id=self.txn
        )
        self.ask(label, request, 0, 11 if self.version >= LAST_FOR_CLIENTS else 7, wrong=wrong)

    def end(self, label: str, *, commit: bool, wrong: bool = False, **who: Any) -> None:
        request = EndTxnRequest(
            transactional_id=who.get("txn", self.txn),
            producer_id=who.get("id", self.id),
            producer_epoch=who.get("epoch", self.epoch),
            committed=commit,
        )
        self.ask(label, request, 26, min(self.version, 4), wrong=wrong)
        self.until("is over", DescribeTransactionsRequest(transactional_ids=[self.txn]), _is_at_rest)

    def add_offsets(self, label: str, *, wrong: bool = False, epoch: int | None = None) -> None:
        request = AddOffsetsToTxnRequest(
            transactional_id=self.txn,
            producer_id=self.id,  # type: ignore[arg-type]
            producer_epoch=self.epoch if epoch is None else epoch,
            group_id=GROUP,
        )
        self.ask(label, request, 25, wrong=wrong)

    def commit_offset(self, label: str, offset: int, *, wrong: bool = False, **fields: Any) -> None:
        partition = TxnOffsetCommitRequest.TxnOffsetCommitRequestPartition
        topic = fields.pop("topic", TOPIC)
        group = fields.pop("group", GROUP)
        request = TxnOffsetCommitRequest(
            transactional_id=self.txn,
            group_id=group,
            producer_id=self.id,  # type: ignore[arg-type]
            producer_epoch=fields.pop("epoch", self.epoch),
            topics=[
                TxnOffsetCommitRequest.TxnOffsetCommitRequestTopic(
                    name=topic,
                    partitions=[
                        partition(partition_index=0, committed_offset=offset, committed_metadata="m"),
                        partition(partition_index=7, committed_offset=offset, committed_metadata="m"),
                    ],
                )
            ],
            **fields,
        )
        self.ask(label, request, 28, min(self.version, 4), wrong=wrong)

    def look(self, label: str) -> None:
        """What readers, groups and administrators see now."""
        for isolation in (0, COMMITTED):
            request = fetch_request(TOPIC, 2)
            request.isolation_level = isolation
            self.ask(f"{label}: fetch {isolation}", request, 1, 11)
            partition = ListOffsetsRequest.ListOffsetsPartition
            latest = ListOffsetsRequest(
                replica_id=-1,
                isolation_level=isolation,
                topics=[
                    ListOffsetsRequest.ListOffsetsTopic(
                        name=TOPIC,
                        partitions=[partition(partition_index=at, timestamp=-1) for at in range(2)],
                    )
                ],
            )
            self.ask(f"{label}: latest {isolation}", latest, 2, 5)
        topics = [OffsetFetchRequest.OffsetFetchRequestTopic(name=TOPIC, partition_indexes=[0])]
        for stable in (False, True):
            offsets = OffsetFetchRequest(group_id=GROUP, topics=topics, require_stable=stable)
            self.ask(f"{label}: offsets, stable {stable}", offsets, 9, 7)
        self.ask(f"{label}: describe", DescribeTransactionsRequest(transactional_ids=[self.txn]), 65, 0)
        listed = ListTransactionsRequest(producer_id_filters=[self.id])  # type: ignore[list-item]
        self.ask(f"{label}: list", listed, 66, 1)
        asked = DescribeProducersRequest.TopicRequest(name=TOPIC, partition_indexes=[0, 1])
        self.ask(f"{label}: producers", DescribeProducersRequest(topics=[asked]), 61, 0)


def _is_at_rest(reply: Any) -> bool:
    return not reply.transaction_states[0].transaction_state.startswith("Prepare")


def transactions(world: World) -> None:
    """The lives of transactions, in the terms of each version."""
    _find(world, 1, "txn-warm-up")
    _find(world, 0, GROUP)
    warm = InitProducerIdRequest(transactional_id="txn-warm-up", transaction_timeout_ms=60_000)
    wait_until(lambda: world.quietly(warm, 1, lambda reply: reply.error_code == 0), "the coordinator", 60)
    world.create_topic(TOPIC, 3)
    for version in (0, 1, 2, 3, 4) if not world.quick else (0, 4):
        _life(Producer(world, f"life-{version}", version))
        _fencing(Producer(world, f"fencing-{version}", version))
        _strangers(Producer(world, f"strangers-{version}", version))
        _offsets(Producer(world, f"offsets-{version}", version))
    for version in world.versions(24):
        if version > LAST_FOR_CLIENTS:
            _between_brokers(world, version)


def _find(world: World, kind: int, key: str) -> None:
    request = FindCoordinatorRequest(key=key, key_type=kind)
    wait_until(lambda: world.quietly(request, 2, lambda reply: reply.error_code == 0), f"{key}", 60)


def _life(producer: Producer) -> None:
    producer.init("init")
    producer.look("empty")
    producer.end("commit of nothing", commit=True, wrong=True)
    producer.end("abort of nothing", commit=False, wrong=True)
    for commit in (True, False):
        name = f"commit {commit}"
        producer.add(f"{name}: add", 0)
        producer.add(f"{name}: add again", 0, 1)
        producer.write(f"{name}: write", 0)
        producer.write(f"{name}: write to the other", 1)
        producer.write(f"{name}: write where not added", 2, wrong=True)
        producer.look(f"{name}: open")
        producer.end(f"{name}: end", commit=commit)
        producer.end(f"{name}: end again", commit=commit)
        producer.end(f"{name}: end otherwise", commit=not commit, wrong=True)
        producer.look(f"{name}: ended")
        producer.sequence += 1


def _fencing(producer: Producer) -> None:
    producer.init("init")
    producer.add("add", 0)
    producer.write("write", 0)
    request = InitProducerIdRequest(transactional_id=producer.txn, transaction_timeout_ms=60_000)
    producer.ask("init amid", request, 22)
    producer.started("second", epoch=2)
    for old in (0, 1, 7):
        producer.add(f"epoch {old}: add", 0, epoch=old, wrong=True)
        producer.write(f"epoch {old}: write", 0, epoch=old, wrong=True)
        producer.end(f"epoch {old}: commit", commit=True, epoch=old, wrong=True)
        producer.add_offsets(f"epoch {old}: offsets", epoch=old, wrong=True)
    producer.look("fenced")
    if producer.version >= 3:
        producer.init("who it is", producer_id=producer.id, producer_epoch=2)
        producer.init("who it is, again", producer_id=producer.id, producer_epoch=2)
        producer.init("who it was", producer_id=producer.id, producer_epoch=0, wrong=True)
        producer.init("who it will be", producer_id=producer.id, producer_epoch=9, wrong=True)
        producer.init("somebody else", producer_id=producer.id + 1000, producer_epoch=3, wrong=True)
        producer.init("half of an identity", producer_id=producer.id, wrong=True)


def _strangers(producer: Producer) -> None:
    producer.init("init")
    for label, who in (
        ("unknown id", {"txn": f"nobody-{producer.version}"}),
        ("empty id", {"txn": ""}),
        ("other producer", {"id": producer.id + 1000}),
        ("no producer", {"id": -1, "epoch": -1}),
    ):
        producer.add(f"{label}: add", 0, wrong=True, **who)
        producer.end(f"{label}: commit", commit=True, wrong=True, **who)
    producer.add("unknown topic", 0, topic="unknown", wrong=True)
    producer.add("one unknown partition", 0, 9, wrong=True)
    for timeout in (0, -1, 900_000, 900_001, 2**31 - 1):
        request = InitProducerIdRequest(
            transactional_id=f"timeout-{producer.version}-{timeout}", transaction_timeout_ms=timeout
        )
        producer.ask(f"time-out {timeout}", request, 22, wrong=True)


def _offsets(producer: Producer) -> None:
    producer.init("init")
    producer.commit_offset("not added", 5, wrong=True)
    for number, commit in enumerate((False, True)):
        producer.add_offsets(f"{commit}: add")
        producer.commit_offset(f"{commit}: offset", 10 * producer.version + number + 1)
        producer.commit_offset(f"{commit}: unknown topic", 5, topic="unknown", wrong=True)
        producer.commit_offset(f"{commit}: empty group", 5, group="", wrong=True)
        producer.commit_offset(f"{commit}: old epoch", 5, epoch=-1, wrong=True)
        if producer.version >= 3:
            producer.commit_offset(
                f"{commit}: stranger", 5, wrong=True, member_id="m", generation_id_or_member_epoch=1
            )
        producer.look(f"{commit}: pending")
        producer.end(f"{commit}: end", commit=commit)
        producer.look(f"{commit}: ended")


def _between_brokers(world: World, version: int) -> None:
    """AddPartitionsToTxn as brokers send it: many transactions at once, partitions to add or to verify."""
    one, two = (Producer(world, f"{name}-between-{version}", version) for name in ("one", "two"))
    for producer in (one, two):
        producer.init("init")

    def asked(
        producer: Producer, *partitions: int, verify: bool = False, topic: str = TOPIC, **who: Any
    ) -> AddPartitionsToTxnRequest.AddPartitionsToTxnTransaction:
        return AddPartitionsToTxnRequest.AddPartitionsToTxnTransaction(
            transactional_id=who.get("txn", producer.txn),
            producer_id=who.get("id", producer.id),
            producer_epoch=who.get("epoch", producer.epoch),
            verify_only=verify,
            topics=[
                AddPartitionsToTxnRequest.AddPartitionsToTxnTopic(name=topic, partitions=list(partitions))
            ],
        )

    def ask(
        label: str, *of: AddPartitionsToTxnRequest.AddPartitionsToTxnTransaction, wrong: bool = False
    ) -> None:
        request = AddPartitionsToTxnRequest(transactions=list(of))
        one.ask(label, request, 24, version, wrong=wrong)

    ask("verify before all", asked(one, 0, verify=True), wrong=True)
    ask("add for both", asked(one, 0), asked(two, 0, 1))
    ask("verify for both", asked(one, 0, verify=True), asked(two, 0, 1, verify=True))
    ask("verify one of two", asked(one, 0, 1, verify=True), wrong=True)
    ask("verify for one, add for the other", asked(one, 0, verify=True), asked(two, 2))
    ask("add again", asked(one, 0), asked(two, 0, 1, 2))
    for label, who in (
        ("unknown id", {"txn": f"nobody-{version}"}),
        ("empty id", {"txn": ""}),
        ("other producer", {"id": one.id + 1000}),
        ("no producer", {"id": -1, "epoch": -1}),
        ("old epoch", {"epoch": -1}),
        ("later epoch", {"epoch": 7}),
    ):
        for verify in (False, True):
            name = f"{label}, verify {verify}"
            ask(name, asked(one, 0, verify=verify, **who), asked(two, 0, verify=True), wrong=True)
    for verify in (False, True):
        name = f"verify {verify}"
        ask(f"unknown topic, {name}", asked(one, 0, topic="unknown", verify=verify), wrong=True)
        ask(f"one unknown partition, {name}", asked(one, 0, 9, verify=verify), wrong=True)
        ask(f"negative partition, {name}", asked(one, -1, verify=verify), wrong=True)
        ask(f"no partitions, {name}", asked(one, verify=verify), asked(two, 0, verify=True), wrong=True)
        ask(f"partition twice, {name}", asked(one, 0, 0, verify=verify))
    one.look("open")
    for producer, commit in ((one, True), (two, False)):
        producer.end("end", commit=commit)
    ask("verify after the end", asked(one, 0, verify=True), asked(two, 0, verify=True), wrong=True)
    one.look("ended")


def administration(world: World) -> None:
    """Filters, unknown ids, markers by hand."""

    def marker(producer_id: int, *partitions: int, topic: str = TOPIC, **fields: Any) -> Message:
        asked = WriteTxnMarkersRequest.WritableTxnMarkerTopic
        return WriteTxnMarkersRequest.WritableTxnMarker(
            producer_id=producer_id,
            topics=[asked(name=topic, partition_indexes=list(partitions))],
            **{"producer_epoch": 0, "transaction_result": False, "coordinator_epoch": 0, **fields},
        )

    def write(*markers: Message) -> Message:
        return WriteTxnMarkersRequest(markers=list(markers))  # type: ignore[arg-type]

    def listing(version: int, **fields: Any) -> Labelled:
        if version >= 1 and "duration_filter" not in fields:
            fields["duration_filter"] = -1
        return str(fields), ListTransactionsRequest(**{"producer_id_filters": [77], **fields})

    world.exercise(
        27,
        lambda _version: [
            ("markers", write(marker(900_000, 0, 1))),
            ("two producers", write(marker(900_001, 0), marker(900_002, 1, transaction_result=True))),
        ],
        wrong=lambda _version: [
            ("no markers", write()),
            ("unknown partition", write(marker(900_003, 0, 9))),
            ("unknown topic", write(marker(900_003, 0, topic="unknown"))),
            ("older epoch", write(marker(900_000, 0, producer_epoch=5), marker(900_000, 0))),
            ("older coordinator", write(marker(900_001, 0, coordinator_epoch=5), marker(900_001, 0))),
        ],
        mutate=0,
    )
    world.exercise(
        65,
        lambda _version: [("nobody", DescribeTransactionsRequest(transactional_ids=["unknown-{n}"]))],
        wrong=lambda _version: [
            ("empty", DescribeTransactionsRequest(transactional_ids=[""])),
            ("none", DescribeTransactionsRequest(transactional_ids=[])),
            ("twice", DescribeTransactionsRequest(transactional_ids=["unknown", "unknown"])),
        ],
    )
    world.exercise(
        66,
        lambda version: [
            listing(version),
            listing(version, state_filters=["Ongoing"]),
            listing(version, state_filters=["PrepareEpochFence", "Dead"]),
        ],
        wrong=lambda version: [
            listing(version, state_filters=["ongoing", "Nonsense", ""]),
        ],
        mutate=0,
    )
