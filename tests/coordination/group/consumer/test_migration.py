"""Which classic groups a member of the consumer protocol may join."""

import pytest

from pybroker.coordination.group.wire import with_kind
from pybroker.model.errors import ErrorCode
from pybroker.protocol.codec import encode
from pybroker.protocol.messages import ConsumerProtocolAssignment
from tests.coordination.group.consumer.scene import Scene, parts
from tests.coordination.group.dialogue import subscription


def assignment(user_data: bytes | None) -> bytes:
    """All of ``orders``, with what the assignor has to say beside."""
    orders = ConsumerProtocolAssignment.TopicPartition(topic="orders", partitions=[0, 1, 2, 3])
    return encoded(ConsumerProtocolAssignment(assigned_partitions=[orders], user_data=user_data))


def encoded(assignment: ConsumerProtocolAssignment) -> bytes:
    return with_kind(0, encode(assignment, 0))


def classic(protocol: str, user_data: bytes | None) -> Scene:
    """A stable classic group of one member."""
    scene = Scene()
    token = scene.join(protocols=((protocol, subscription("orders")),))
    scene.advance(0)
    reply = scene.joined(token)
    scene.sync(reply.member_id, reply.generation, {reply.member_id: assignment(user_data)})
    assert scene.state == "Stable"
    return scene


@pytest.mark.parametrize("user_data", [None, b""])
def test_a_classic_group_is_taken_over_with_its_assignment(user_data: bytes | None) -> None:
    scene = classic("range", user_data)
    assert scene.enter("new").error is ErrorCode.NONE
    (old,) = (member for name, member in scene.consumers.members.items() if name != "new")
    assert {*old.current.assigned, *old.current.revoking} == parts("orders", 0, 1, 2, 3)


def test_what_is_left_of_another_topic_does_not_stand_for_partitions_that_nobody_has() -> None:
    """The successor of a static member changes nothing that would make the group be assigned anew."""
    scene = Scene(orders=2, payments=2)
    token = scene.join(protocols=(("range", subscription("orders")),), instance_id="a")
    scene.advance(0)
    reply = scene.joined(token)
    left = ConsumerProtocolAssignment(
        assigned_partitions=[ConsumerProtocolAssignment.TopicPartition(topic="payments", partitions=[0, 1])]
    )
    scene.sync(reply.member_id, reply.generation, {reply.member_id: encoded(left)}, instance_id="a")
    scene.enter("new", instance_id="a")
    for _ in range(3):
        scene.beat("new", scene.consumers.members["new"].current.epoch, owned=frozenset())
    assert {*scene.consumers.members["new"].current.assigned} == parts("orders", 0, 1)


@pytest.mark.parametrize("protocol", ["custom", "cooperative-sticky"])
def test_what_an_assignor_keeps_in_assignments_cannot_be_taken_over(protocol: str) -> None:
    """As Kafka 4.3 answers librdkafka, whose sticky assignor does so."""
    scene = classic(protocol, b"mine")
    reply = scene.enter("new")
    assert reply.error is ErrorCode.GROUP_ID_NOT_FOUND
    assert "an unsupported custom assignor is in use" in (reply.message or "")
    assert (scene.state, len(scene.group.members)) == ("Stable", 1)
