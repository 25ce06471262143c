"""Every client that joins groups must share, hand over, commit, resume, stay static, follow a pattern."""

import uuid
from collections.abc import Sequence
from itertools import chain

import pytest

from interop.support.client import (
    GroupClient,
    GroupMember,
    GroupSettings,
    Message,
    ProducerSettings,
    Received,
)
from interop.support.journeys import TIMEOUT_S, produce
from interop.support.servers import Server
from interop.support.waiting import Deadline, DeadlineExceeded, wait_until
from interop.support.workload import by_partition, check_received, make_messages

PARTITIONS = 6
POLL_S = 0.1
QUICK_STRATEGIES = ("range", "cooperative")


def strategies() -> list[object]:
    return [
        pytest.param(name, marks=[] if name in QUICK_STRATEGIES else [pytest.mark.whole])
        for name in ("range", "roundrobin", "sticky", "cooperative")
    ]


class GroupJourneys:
    """Groups of three, static members, commits, lag and patterns: with one client against one server."""

    @pytest.fixture
    def topic(self, client: GroupClient) -> str:
        return new_group_topic(client, "group")

    @pytest.mark.parametrize("strategy", strategies())
    def test_three_members(
        self, client: GroupClient, topic: str, scale: int, strategy: str, request: pytest.FixtureRequest
    ) -> None:
        """Three share the partitions; one leaves and two take over; each record is consumed once."""
        if strategy not in client.strategies:
            pytest.skip(f"not in this client: {strategy}")
        if fault := client.faulty_strategies.get(strategy):
            request.applymarker(pytest.mark.xfail(reason=fault, strict=False))
        settings = GroupSettings(new_group(), (topic,), strategy)
        messages = make_messages(scale, client.traits, seed=80, partitions=PARTITIONS)
        half = len(messages) // 2
        with Members(client) as members:
            three = [members.join(settings) for _ in range(3)]
            settle(three, topic)
            assert sorted(len(member.assignment()) for member in three) == [2, 2, 2]
            produce(client, topic, messages[:half], ProducerSettings())
            got = consume(three, half)
            members.leave(three[0])
            settle(three[1:], topic)
            assert sorted(len(member.assignment()) for member in three[1:]) == [3, 3]
            produce(client, topic, messages[half:], ProducerSettings())
            got += consume(three[1:], len(messages) - half)
        check_partitions(messages, got)

    def test_commit_and_resume(self, client: GroupClient, topic: str, server: Server, scale: int) -> None:
        """The committed offset is told, survives kill -9, and a new member goes on from it; lag is right."""
        group = GroupSettings(new_group(), (topic,))
        messages = make_messages(scale, client.traits, seed=81, partitions=PARTITIONS)
        half = len(messages) // 2
        produce(client, topic, messages[:half], ProducerSettings())
        with Members(client) as members:
            got = consume([members.join(group)], half)
        committed_ends(client, group.group, topic, messages[:half])
        server.kill9()
        server.restart()
        produce(client, topic, messages[half:], ProducerSettings())
        assert lag(client, group.group, topic) == len(messages) - half
        with Members(client) as members:
            got += consume([members.join(group)], len(messages) - half)
        check_partitions(messages, got)
        assert lag(client, group.group, topic) == 0

    def test_static_member(self, client: GroupClient, topic: str) -> None:
        """A static member that comes back in time gets its partitions, and the others keep theirs."""
        if not client.traits.static_members:
            pytest.skip("not in this client: static members")
        group = new_group()
        with Members(client) as members:
            pair = [members.join(GroupSettings(group, (topic,), instance_id=name)) for name in ("one", "two")]
            settle(pair, topic)
            before = [member.assignment() for member in pair]
            members.leave(pair[0])
            back = members.join(GroupSettings(group, (topic,), instance_id="one"))
            settle([back, pair[1]], topic)
            assert [back.assignment(), pair[1].assignment()] == before

    def test_pattern(self, client: GroupClient) -> None:
        """A subscription by pattern takes a topic that appears later, and no other."""
        prefix = f"interop-pattern-{uuid.uuid4().hex[:8]}"
        first, later, other = f"{prefix}-a", f"{prefix}-b", f"x-{prefix}"
        for topic in (first, other):
            create_and_wait(client, topic)
        with Members(client) as members:
            member = members.join(GroupSettings(new_group(), (f"^{prefix}-.*",)))
            poll_until(member, {(first, at) for at in range(PARTITIONS)})
            create_and_wait(client, later)
            poll_until(member, {(topic, at) for topic in (first, later) for at in range(PARTITIONS)})


class Members:
    """The members of one test; all that are left are closed at the end."""

    def __init__(self, client: GroupClient) -> None:
        self._client = client
        self._open: list[GroupMember] = []

    def __enter__(self) -> "Members":
        return self

    def __exit__(self, *_error: object) -> None:
        for member in list(self._open):
            self.leave(member)

    def join(self, settings: GroupSettings) -> GroupMember:
        member = self._client.member(settings)
        self._open.append(member)
        return member

    def leave(self, member: GroupMember) -> None:
        self._open.remove(member)
        member.close()


def settle(members: Sequence[GroupMember], topic: str, shares: Sequence[int] | None = None) -> None:
    """Poll all in turn until each partition has exactly one owner and each member at least one partition, or
    as many as its share (smallest first). Where partitions change hands one by one, every partition can have
    an owner before the last one has moved: then only the shares tell."""
    wanted = sorted((topic, partition) for partition in range(PARTITIONS))
    deadline = Deadline(TIMEOUT_S)
    while True:
        for member in members:
            records = member.poll(POLL_S)
            assert not records, "records came before any were sent"
        owned = [member.assignment() for member in members]
        is_shared = all(owned) if shares is None else sorted(map(len, owned)) == sorted(shares)
        if is_shared and sorted(chain.from_iterable(owned)) == wanted:
            return
        if deadline.passed:
            raise DeadlineExceeded(f"no stable assignment in {TIMEOUT_S:g} s: {owned}")


def poll_until(member: GroupMember, wanted: set[tuple[str, int]]) -> None:
    """Poll one member until its assignment is exactly `wanted`."""
    deadline = Deadline(TIMEOUT_S)
    while set(member.assignment()) != wanted:
        member.poll(POLL_S)
        if deadline.passed:
            raise DeadlineExceeded(f"{sorted(member.assignment())} instead of {sorted(wanted)}")


def consume(members: Sequence[GroupMember], count: int) -> list[Received]:
    """Poll all in turn until `count` records came, then commit by each."""
    records: list[Received] = []
    deadline = Deadline(TIMEOUT_S)
    while len(records) < count and not deadline.passed:
        for member in members:
            records += member.poll(POLL_S)
    for member in members:
        member.commit()
    assert len(records) == count, f"{len(records)} records came instead of {count}"
    return records


def check_partitions(sent: Sequence[Message], got: Sequence[Received]) -> None:
    """Every record once, and those of each partition in order."""
    for partition, messages in by_partition(sent).items():
        check_received(messages, [record for record in got if record.partition == partition])


def committed_ends(client: GroupClient, group: str, topic: str, messages: Sequence[Message]) -> None:
    """The group's committed offset of each partition is the end of these messages."""
    expected = {partition: len(sent) for partition, sent in by_partition(messages).items()}
    assert {at: client.committed(group, topic, at) for at in expected} == expected


def lag(client: GroupClient, group: str, topic: str) -> int:
    """End offsets less committed offsets, over the topic."""
    return sum(
        client.end_offset(topic, at) - (client.committed(group, topic, at) or 0) for at in range(PARTITIONS)
    )


def new_group() -> str:
    return f"interop-group-{uuid.uuid4().hex[:8]}"


def new_group_topic(client: GroupClient, kind: str) -> str:
    topic = f"interop-{kind}-{uuid.uuid4().hex[:8]}"
    create_and_wait(client, topic)
    return topic


def create_and_wait(client: GroupClient, topic: str) -> None:
    client.create_topic(topic, PARTITIONS)
    wait_until(lambda: client.topics().get(topic) == PARTITIONS, f"{topic} in the list")
