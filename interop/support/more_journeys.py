"""What clients are asked besides: limits, auto creation, resets, many topics."""

import uuid
from collections.abc import Iterator
from itertools import product

import pytest

from interop.support.client import (
    EARLIEST,
    LATEST,
    Client,
    GroupClient,
    GroupSettings,
    Message,
    ProducerSettings,
)
from interop.support.group_journeys import (
    PARTITIONS,
    Members,
    consume,
    lag,
    new_group,
    new_group_topic,
)
from interop.support.journeys import TIMEOUT_S, new_topic, produce, read
from interop.support.servers import SERVERS, Server
from interop.support.waiting import wait_until
from interop.support.workload import by_partition, check_received, make_messages

MESSAGE_MAX_BYTES = 1_048_588
"""Kafka's default of message.max.bytes, which counts the whole batch."""
BATCH_OVERHEAD = 72
"""A batch of one record without key and headers, less its value of 16 KB to 1 MB: header 61, record 11."""
LARGER_MAX_BYTES = 5_000_000
TOO_LARGE = r"(?i)too.?large|larger than the max message size"
NO_TOPIC = r"(?i)unknown.?(topic|partition)|does not (exist|host)|not host|not present|update metadata"

MANY_TOPICS = 100
PARTITIONS_EACH = 10


class MoreJourneys:
    """Records at the limits and readers that begin at the end."""

    def test_biggest_record(self, client: Client) -> None:
        """A batch of exactly message.max.bytes is taken, one byte more is refused as too large."""
        topic = new_topic(client)
        biggest = MESSAGE_MAX_BYTES - BATCH_OVERHEAD
        send_one(client, topic, biggest)
        with pytest.raises(client.errors, match=TOO_LARGE):
            send_one(client, topic, biggest + 1)
        send_one(client, topic, biggest)
        values = [record.value for record in read(client, topic, 0, EARLIEST, 2)]
        assert values == [letters(biggest), letters(biggest)]
        assert client.end_offset(topic, 0) == 2

    def test_topic_with_a_larger_limit(self, client: Client) -> None:
        """max.message.bytes of the topic, given when it was created, takes the place of the broker's."""
        topic = f"interop.{client.name}.{uuid.uuid4().hex[:8]}"
        client.create_topic(topic, 1, {"max.message.bytes": str(LARGER_MAX_BYTES)})
        size = LARGER_MAX_BYTES - 1000
        send_one(client, topic, size)
        assert [record.value for record in read(client, topic, 0, EARLIEST, 1)] == [letters(size)]
        with pytest.raises(client.errors, match=TOO_LARGE):
            send_one(client, topic, LARGER_MAX_BYTES)

    def test_read_from_latest(self, client: Client, scale: int) -> None:
        """A reader that begins at the end gets what is produced later, and nothing of before."""
        topic = new_topic(client)
        messages = make_messages(scale, client.traits, seed=90, partitions=1)
        half = len(messages) // 2
        produce(client, topic, messages[:half], ProducerSettings())
        reader = client.reader(topic, 0, LATEST)
        try:
            assert reader.read(1, 3) == []
            produce(client, topic, messages[half:], ProducerSettings())
            got = reader.read(len(messages) - half, TIMEOUT_S)
        finally:
            reader.close()
        check_received(messages[half:], got, first_offset=half)


class MoreGroupJourneys:
    """Offset resets, and many partitions in one group."""

    def test_reset_offsets(self, client: GroupClient, scale: int) -> None:
        """Offsets set for a group without members are told, and a new member goes on from them."""
        topic = new_group_topic(client, "reset")
        group = GroupSettings(new_group(), (topic,))
        messages = make_messages(scale, client.traits, seed=91, partitions=PARTITIONS)
        produce(client, topic, messages, ProducerSettings())
        with Members(client) as members:
            consume([members.join(group)], len(messages))
        parts = by_partition(messages)
        starts = {at: len(sent) * at // PARTITIONS for at, sent in parts.items()}
        for at, offset in starts.items():
            wait_until_set(client, group.group, topic, at, offset)
        assert {at: client.committed(group.group, topic, at) for at in parts} == starts
        left = len(messages) - sum(starts.values())
        assert lag(client, group.group, topic) == left
        with Members(client) as members:
            got = consume([members.join(group)], left)
        for at, sent in parts.items():
            of_partition = [record for record in got if record.partition == at]
            check_received(sent[starts[at] :], of_partition, first_offset=starts[at])

    @pytest.mark.whole
    def test_many_topics(self, client: GroupClient) -> None:
        """100 topics of 10 partitions: made, written to each, read by one group member, deleted."""
        prefix = f"interop-many-{uuid.uuid4().hex[:8]}"
        topics = [f"{prefix}-{number:03}" for number in range(MANY_TOPICS)]
        for topic in topics:
            client.create_topic(topic, PARTITIONS_EACH)
        wait_until(
            lambda: all(client.topics().get(topic) == PARTITIONS_EACH for topic in topics),
            "all topics in the list",
        )
        sent = fill(client, topics)
        with Members(client) as members:
            got = consume([members.join(GroupSettings(new_group(), tuple(topics)))], len(sent))
        assert sorted(record.value or b"" for record in got) == sorted(sent)
        assert {record.offset for record in got} == {0}
        for topic in topics:
            client.delete_topic(topic)
        wait_until(lambda: not set(topics) & set(client.topics()), "the topics to leave the list")


class AutoCreationJourneys:
    """Topics that nobody made: by the broker's default they appear."""

    def test_auto_creation_on(self, client: Client) -> None:
        """The first record to an unknown topic makes it, with the broker's number of partitions."""
        topic = f"interop.auto.{uuid.uuid4().hex[:8]}"
        messages = make_messages(10, client.traits, seed=92, partitions=1)
        producer = client.producer(ProducerSettings(creates_topics=True))
        try:
            producer.send(topic, messages)
            producer.flush(TIMEOUT_S)
        finally:
            producer.close()
        assert client.topics()[topic] == 1
        check_received(messages, read(client, topic, 0, EARLIEST, len(messages)))


class NoAutoCreationJourneys:
    """The same where the broker forbids it; `client` is connected to `strict_server`."""

    @pytest.fixture(scope="class")
    def strict_server(self, pytestconfig: pytest.Config) -> Iterator[Server]:
        """A server of its own that makes no topics by itself."""
        server_type = SERVERS[pytestconfig.getoption("--server")]
        server = server_type({"auto.create.topics.enable": "false"})  # type: ignore[call-arg]
        try:
            server.start()
            yield server
        finally:
            server.stop()

    @pytest.mark.whole
    def test_auto_creation_off(self, client: Client) -> None:
        """Where the broker forbids it, the producer fails and no topic appears."""
        topic = f"interop.auto.{uuid.uuid4().hex[:8]}"
        producer = client.producer(ProducerSettings(creates_topics=True))
        try:
            with pytest.raises(client.errors, match=NO_TOPIC):
                producer.send(topic, [Message(0, b"key", b"value")])
                producer.flush(TIMEOUT_S)
        finally:
            producer.close()
        assert topic not in client.topics()


def letters(size: int) -> bytes:
    """A value that programs of text can send too."""
    return b"v" * size


def send_one(client: Client, topic: str, size: int) -> None:
    """One record with a value of `size` bytes in partition 0, uncompressed, past the client's own limit."""
    producer = client.producer(ProducerSettings(max_bytes=2 * LARGER_MAX_BYTES))
    try:
        producer.send(topic, [Message(0, None, letters(size))])
        producer.flush(TIMEOUT_S)
    finally:
        producer.close()


def fill(client: Client, topics: list[str]) -> list[bytes]:
    """One record in each partition; their values."""
    producer = client.producer(ProducerSettings())
    try:
        for topic in topics:
            records = [Message(at, None, f"{topic}/{at}".encode()) for at in range(PARTITIONS_EACH)]
            producer.send(topic, records)
        producer.flush(TIMEOUT_S)
    finally:
        producer.close()
    return [f"{topic}/{at}".encode() for topic, at in product(topics, range(PARTITIONS_EACH))]


def wait_until_set(client: GroupClient, group: str, topic: str, partition: int, offset: int) -> None:
    """A group counts as empty only when the last member's leave was handled."""

    def done() -> bool:
        try:
            client.set_committed(group, topic, partition, offset)
        except client.errors as error:
            if "member" in str(error).lower():
                return False
            raise
        return True

    wait_until(done, f"the reset of {topic}-{partition}")
