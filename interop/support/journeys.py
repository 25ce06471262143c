"""What every client has to do. Each ecosystem's test class gives the client, this module the proof."""

import uuid
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import product

import pytest

from interop.support.client import EARLIEST, Acks, Client, Message, ProducerSettings, Received
from interop.support.servers import Server
from interop.support.waiting import wait_until
from interop.support.workload import by_partition, check_in_any_order, check_received, make_messages

CODECS = ("none", "gzip", "snappy", "lz4", "zstd")
ACKS: tuple[Acks, ...] = ("0", "1", "all")
TIMEOUT_S = 60.0


def quick_variant(codec: str, acks: str) -> bool:
    """The quick part takes every codec and every acks once, not each with each."""
    return acks == "all" or codec == "none"


def variants() -> list[object]:
    """(codec, acks) pairs as pytest parameters; those outside the quick part carry the mark `whole`."""
    return [
        pytest.param(
            codec,
            acks,
            id=f"{codec}-acks={acks}",
            marks=[] if quick_variant(codec, acks) else [pytest.mark.whole],
        )
        for codec, acks in product(CODECS, ACKS)
    ]


class Journeys:
    """Topics, produce, read back, find by time, survive kill -9: with one client against one server."""

    @pytest.fixture
    def topic(self, client: Client) -> str:
        """A new topic, made by the client itself."""
        return new_topic(client)

    def test_topics(self, client: Client) -> None:
        """A created topic is listed with its partitions; a deleted one is gone."""
        topic = new_topic(client)
        wait_until(
            lambda: client.topics().get(topic) == client.traits.partition_count, f"{topic} in the list"
        )
        if client.traits.manages_topics:
            client.delete_topic(topic)
            wait_until(lambda: topic not in client.topics(), f"{topic} to leave the list")

    @pytest.mark.parametrize(("codec", "acks"), variants())
    def test_produce_and_read(self, client: Client, topic: str, scale: int, codec: str, acks: Acks) -> None:
        """What was produced is read from the earliest offset, each count and value checked."""
        if codec not in client.traits.codecs:
            pytest.skip(f"not in this client: {codec}")
        settings = ProducerSettings(codec=codec, acks=acks)
        messages = make_messages(scale, client.traits, seed=CODECS.index(codec))
        produce(client, topic, messages, settings)
        check_topic(client, topic, messages, in_order=acks != "0" or client.traits.orders_unacknowledged)

    def test_idempotent(self, client: Client, topic: str, scale: int) -> None:
        """An idempotent producer's records come once and in order."""
        if not client.traits.idempotent:
            pytest.skip("not in this client: idempotence")
        messages = make_messages(scale, client.traits, seed=50)
        produce(client, topic, messages, ProducerSettings(codec="lz4", idempotent=True))
        check_topic(client, topic, messages)

    def test_read_by_timestamp(self, client: Client, topic: str, scale: int) -> None:
        """The offset found for a timestamp is the first at or after it, and reading starts there."""
        if not client.traits.finds_by_time:
            pytest.skip("not in this client: offsets by time")
        messages = make_messages(scale, client.traits, seed=60)
        half = len(messages) // 2
        produce(client, topic, messages[:half], ProducerSettings())
        produce(client, topic, messages[half:], ProducerSettings(codec="gzip"))
        for partition, sent in by_partition(messages).items():
            everything = read(client, topic, partition, EARLIEST, len(sent))
            check_received(sent, everything)
            check_offsets_by_time(client, topic, partition, everything)

    def test_kill9_and_restart(
        self, client: Client, topic: str, server: Server, scale: int, request: pytest.FixtureRequest
    ) -> None:
        """The same producer and reader go on after kill -9; nothing acknowledged is lost or doubled."""
        if client.traits.restart_fault:
            request.applymarker(pytest.mark.xfail(reason=client.traits.restart_fault, strict=False))
        messages = make_messages(scale, client.traits, seed=70)
        half = len(messages) // 2
        producer = client.producer(ProducerSettings(idempotent=client.traits.idempotent))
        first, whole = by_partition(messages[:half]), by_partition(messages)
        readers = {partition: client.reader(topic, partition, EARLIEST) for partition in whole}
        try:
            producer.send(topic, messages[:half])
            producer.flush(TIMEOUT_S)
            got = {at: reader.read(len(first[at]), TIMEOUT_S) for at, reader in readers.items()}
            for at, records in got.items():
                check_received(first[at], records)
            server.kill9()
            # Clients that lost all brokers may block in send until one is back (KIP-899).
            with ThreadPoolExecutor(1) as pool:
                restarting = pool.submit(server.restart)
                producer.send(topic, messages[half:])
                restarting.result()
            producer.flush(TIMEOUT_S)
            for at, reader in readers.items():
                got[at] += reader.read(len(whole[at]) - len(got[at]), TIMEOUT_S)
                check_received(whole[at], got[at])
        finally:
            for reader in readers.values():
                reader.close()
            producer.close()
        check_topic(client, topic, messages)


def new_topic(client: Client) -> str:
    """A topic with a name of its own, made by the client."""
    topic = f"interop.{client.name}.{uuid.uuid4().hex[:8]}"
    client.create_topic(topic, client.traits.partition_count)
    return topic


def produce(client: Client, topic: str, messages: Sequence[Message], settings: ProducerSettings) -> None:
    """Send all with one producer and wait for the acknowledgements."""
    producer = client.producer(settings)
    try:
        producer.send(topic, messages)
        producer.flush(TIMEOUT_S)
    finally:
        producer.close()


def read(client: Client, topic: str, partition: int, offset: int, count: int) -> list[Received]:
    """Read with a new reader from `offset`."""
    reader = client.reader(topic, partition, offset)
    try:
        return reader.read(count, TIMEOUT_S)
    finally:
        reader.close()


def check_topic(client: Client, topic: str, messages: Sequence[Message], *, in_order: bool = True) -> None:
    """The topic holds exactly these messages; acks=0 records may still be on their way."""
    check = check_received if in_order else check_in_any_order
    for partition, sent in by_partition(messages).items():
        wait_until(
            lambda partition=partition, sent=sent: client.end_offset(topic, partition) >= len(sent),  # type: ignore[misc]
            f"{len(sent)} records in partition {partition}",
        )
        assert client.end_offset(topic, partition) == len(sent)
        check(sent, read(client, topic, partition, EARLIEST, len(sent)))


def check_offsets_by_time(client: Client, topic: str, partition: int, everything: Sequence[Received]) -> None:
    """Ask for the first, a middle and the last timestamp, between two, and after all of them."""
    stamps = [record.timestamp_ms for record in everything]
    middle = len(stamps) // 2
    for wanted in (0, stamps[0], stamps[middle] - 1, stamps[middle], stamps[middle] + 1, stamps[-1]):
        expected = next((record for record in everything if record.timestamp_ms >= wanted), None)
        found = client.offset_at(topic, partition, wanted)
        assert found == (expected.offset if expected else None), (
            f"timestamp {wanted} of {stamps[0]}..{stamps[-1]}"
        )
    assert client.offset_at(topic, partition, stamps[-1] + 1) is None
    start = client.offset_at(topic, partition, stamps[middle])
    assert start is not None
    rest = read(client, topic, partition, start, len(everything) - start)
    assert rest == list(everything[start:])
