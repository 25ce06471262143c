"""Every client with transactions: all or nothing, fencing, offsets inside, kill -9 amid."""

import uuid
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest

from interop.support.client import (
    EARLIEST,
    GroupMember,
    GroupSettings,
    Message,
    ProducerSettings,
    TransactionalClient,
    TransactionalProducer,
)
from interop.support.group_journeys import PARTITIONS, POLL_S, Members, new_group, new_group_topic
from interop.support.journeys import TIMEOUT_S, new_topic, produce
from interop.support.servers import Server
from interop.support.waiting import Deadline, wait_until
from interop.support.workload import by_partition, check_received, make_messages

TRANSACTIONS = 10


class TransactionJourneys:
    """Commit, abort, fencing, offsets and restarts: with one client against one server."""

    @pytest.fixture
    def topic(self, client: TransactionalClient) -> str:
        return new_topic(client)

    def test_commit_and_abort(self, client: TransactionalClient, topic: str, scale: int) -> None:
        """Of transactions that commit and abort in turn, a reader of committed records gets every record of
        the first kind in order, and none of the others."""
        messages = make_messages(scale, client.traits, seed=90)
        size = len(messages) // TRANSACTIONS
        kept: list[Message] = []
        producer = client.transactional_producer(new_id())
        try:
            for number in range(TRANSACTIONS):
                part = messages[number * size : (number + 1) * size]
                run(producer, topic, part, commit=number % 2 == 0)
                kept += part if number % 2 == 0 else []
        finally:
            producer.close()
        check_committed(client, topic, kept)

    def test_an_open_transaction_hides_what_follows(self, client: TransactionalClient, topic: str) -> None:
        """Until it ends, readers of committed records stop before it, also of other producers' records."""
        messages = make_messages(60, client.traits, seed=91)
        producer = client.transactional_producer(new_id())
        try:
            producer.begin()
            producer.send(topic, messages[:30])
            producer.flush(TIMEOUT_S)
            produce(client, topic, messages[30:], ProducerSettings())
            reader = client.committed_reader(topic, 0, EARLIEST)
            try:
                assert reader.read(1, 2.0) == []
                producer.commit()
                sent = by_partition(messages)[0]
                check_received(sent, reader.read(len(sent), TIMEOUT_S), is_dense=False)
            finally:
                reader.close()
        finally:
            producer.close()

    def test_fencing(self, client: TransactionalClient, topic: str) -> None:
        """A second producer of the same id aborts the first one's transaction, and that one fails."""
        messages = make_messages(60, client.traits, seed=92)
        transactional_id = new_id()
        first = client.transactional_producer(transactional_id)
        first.begin()
        first.send(topic, messages[:30])
        first.flush(TIMEOUT_S)
        second = client.transactional_producer(transactional_id)
        with pytest.raises(Exception, match=r"(?i)fenc|epoch|PRODUCER"):
            first.send(topic, messages[:30])
            first.flush(TIMEOUT_S)
            first.commit()
        run(second, topic, messages[30:], commit=True)
        second.close()
        check_committed(client, topic, messages[30:])

    def test_offsets(self, client: TransactionalClient) -> None:
        """Positions sent to a transaction count when it commits, and not when it aborts."""
        source, target = new_group_topic(client, "source"), new_topic(client)
        messages = make_messages(120, client.traits, seed=93, partitions=PARTITIONS)
        produce(client, source, messages, ProducerSettings())
        group = new_group()
        producer = client.transactional_producer(new_id())
        with Members(client) as members:
            member = members.join(GroupSettings(group, (source,)))
            poll_all(member, len(messages))
            for commit in (False, True):
                producer.begin()
                producer.send(target, make_messages(3, client.traits, seed=94))
                producer.send_offsets(member, group)
                (producer.commit if commit else producer.abort)()
                ends = {at: len(sent) for at, sent in by_partition(messages).items()}
                await_committed(client, group, source, ends if commit else dict.fromkeys(ends))
        producer.close()

    def test_kill9_in_a_transaction(self, client: TransactionalClient, topic: str, server: Server) -> None:
        """The server dies amid a transaction; the producer goes on and commits; each record is there once."""
        messages = make_messages(200, client.traits, seed=95)
        half = len(messages) // 2
        producer = client.transactional_producer(new_id())
        producer.begin()
        producer.send(topic, messages[:half])
        producer.flush(TIMEOUT_S)
        server.kill9()
        with ThreadPoolExecutor(1) as pool:
            restarting = pool.submit(server.restart)
            producer.send(topic, messages[half:])
            restarting.result()
        producer.flush(TIMEOUT_S)
        producer.commit()
        producer.close()
        check_committed(client, topic, messages)


def new_id() -> str:
    return f"interop-{uuid.uuid4().hex[:8]}"


def poll_all(member: GroupMember, count: int) -> None:
    """Poll until `count` records came; nothing is committed."""
    left, deadline = count, Deadline(TIMEOUT_S)
    while left > 0 and not deadline.passed:
        left -= len(member.poll(POLL_S))
    assert left == 0, f"{left} of {count} records did not come"


def run(producer: TransactionalProducer, topic: str, messages: Sequence[Message], *, commit: bool) -> None:
    """One transaction."""
    producer.begin()
    producer.send(topic, messages)
    producer.flush(TIMEOUT_S)
    (producer.commit if commit else producer.abort)()


def await_committed(
    client: TransactionalClient, group: str, topic: str, expected: Mapping[int, int | None]
) -> None:
    """A transaction has ended before its markers are written, and administrators do not wait for them."""
    wait_until(
        lambda: {at: client.committed(group, topic, at) for at in expected} == expected,
        f"the committed offsets {expected}",
        TIMEOUT_S,
    )


def check_committed(client: TransactionalClient, topic: str, messages: Sequence[Message]) -> None:
    """A reader of committed records gets exactly these, in order, and nothing after them."""
    for partition, sent in by_partition(messages).items():
        reader = client.committed_reader(topic, partition, EARLIEST)
        try:
            received = reader.read(len(sent), TIMEOUT_S)
            received += reader.read(1, 1.0)
        finally:
            reader.close()
        check_received(sent, received, is_dense=False)
