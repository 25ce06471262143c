"""Groups of the consumer protocol (KIP-848): what its clients must see, and both protocols in one group."""

import uuid
from collections.abc import Mapping

import pytest

from interop.support.client import GroupClient, GroupSettings, ProducerSettings
from interop.support.group_journeys import (
    PARTITIONS,
    Members,
    check_partitions,
    committed_ends,
    consume,
    create_and_wait,
    new_group,
    new_group_topic,
    poll_until,
    settle,
)
from interop.support.journeys import produce
from interop.support.servers import Server
from interop.support.workload import make_messages

CONSUMER = "consumer"
"""The strategy of members whose partitions the broker assigns."""


class ConsumerProtocolJourneys:
    """Sharing, resuming, static members, patterns, and the way from one protocol to the other and back."""

    faults: Mapping[str, str] = {}
    """By test id, what cannot work with this client, against Apache Kafka 4 neither."""

    @pytest.fixture(autouse=True)
    def _own_faults(self, request: pytest.FixtureRequest) -> None:
        for test, fault in self.faults.items():
            if request.node.name.startswith(test):
                request.applymarker(pytest.mark.xfail(reason=fault, strict=False))

    @pytest.fixture
    def topic(self, client: GroupClient) -> str:
        return new_group_topic(client, "consumer-protocol")

    def test_three_members(self, client: GroupClient, topic: str, scale: int) -> None:
        """Three share the partitions; one leaves and two take over; each record is consumed once."""
        settings = GroupSettings(new_group(), (topic,), CONSUMER)
        messages = make_messages(scale, client.traits, seed=90, partitions=PARTITIONS)
        half = len(messages) // 2
        with Members(client) as members:
            three = [members.join(settings) for _ in range(3)]
            settle(three, topic, shares=[2, 2, 2])
            produce(client, topic, messages[:half], ProducerSettings())
            got = consume(three, half)
            members.leave(three[0])
            settle(three[1:], topic, shares=[3, 3])
            produce(client, topic, messages[half:], ProducerSettings())
            got += consume(three[1:], len(messages) - half)
        check_partitions(messages, got)

    def test_commit_and_resume(self, client: GroupClient, topic: str, server: Server, scale: int) -> None:
        """A member goes on over kill -9 of the broker, and a new one after it; nothing is read twice."""
        settings = GroupSettings(new_group(), (topic,), CONSUMER)
        messages = make_messages(scale, client.traits, seed=91, partitions=PARTITIONS)
        third = len(messages) // 3
        parts = messages[:third], messages[third : 2 * third], messages[2 * third :]
        produce(client, topic, parts[0], ProducerSettings())
        with Members(client) as members:
            member = members.join(settings)
            got = consume([member], third)
            committed_ends(client, settings.group, topic, parts[0])
            server.kill9()
            server.restart()
            produce(client, topic, parts[1], ProducerSettings())
            got += consume([member], third)
        produce(client, topic, parts[2], ProducerSettings())
        with Members(client) as members:
            got += consume([members.join(settings)], len(parts[2]))
        check_partitions(messages, got)

    def test_static_member(self, client: GroupClient, topic: str) -> None:
        """A static member that comes back in time gets its partitions, and the others keep theirs."""
        group = new_group()
        with Members(client) as members:
            pair = [
                members.join(GroupSettings(group, (topic,), CONSUMER, instance_id=name))
                for name in ("one", "two")
            ]
            settle(pair, topic, shares=[3, 3])
            before = [member.assignment() for member in pair]
            members.leave(pair[0])
            back = members.join(GroupSettings(group, (topic,), CONSUMER, instance_id="one"))
            settle([back, pair[1]], topic, shares=[3, 3])
            assert [back.assignment(), pair[1].assignment()] == before

    def test_pattern(self, client: GroupClient) -> None:
        """A subscription by pattern takes a topic that appears later, and no other."""
        prefix = f"interop-pattern-{uuid.uuid4().hex[:8]}"
        first, later, other = f"{prefix}-a", f"{prefix}-b", f"x-{prefix}"
        for topic in (first, other):
            create_and_wait(client, topic)
        with Members(client) as members:
            member = members.join(GroupSettings(new_group(), (f"^{prefix}-.*",), CONSUMER))
            poll_until(member, {(first, at) for at in range(PARTITIONS)})
            create_and_wait(client, later)
            poll_until(member, {(topic, at) for topic in (first, later) for at in range(PARTITIONS)})

    @pytest.mark.parametrize("classic", [pytest.param("range", marks=pytest.mark.whole), "cooperative"])
    def test_there_and_back(self, client: GroupClient, topic: str, scale: int, classic: str) -> None:
        """A group is rolled from the classic protocol to the new one and back, with both kinds of members in
        it meanwhile; each record is consumed once."""
        group = new_group()
        old, new = GroupSettings(group, (topic,), classic), GroupSettings(group, (topic,), CONSUMER)
        messages = make_messages(scale, client.traits, seed=92, partitions=PARTITIONS)
        step = len(messages) // 5
        parts = [messages[at : at + step] for at in range(0, 4 * step, step)] + [messages[4 * step :]]
        with Members(client) as members:
            present = [members.join(old), members.join(old)]
            got = []
            for part, (leaves, joins) in zip(
                parts, [(None, None), (0, new), (0, new), (0, old), (0, old)], strict=True
            ):
                if leaves is not None and joins is not None:
                    members.leave(present.pop(leaves))
                    present.append(members.join(joins))
                settle(present, topic)
                produce(client, topic, part, ProducerSettings())
                got += consume(present, len(part))
        check_partitions(messages, got)
