"""The blobs that classic consumers pass through JoinGroup and SyncGroup: what they want, what they get."""

from collections.abc import Iterable

from pybroker.coordination.group.wire import PREFIX_BYTES, UnreadableRecord, kind_of, with_kind
from pybroker.model.ids import TopicPartition
from pybroker.model.values import Value
from pybroker.protocol.codec import decode, encode
from pybroker.protocol.errors import MalformedMessage
from pybroker.protocol.messages import ConsumerProtocolAssignment, ConsumerProtocolSubscription

CONSUMER_PROTOCOL_TYPE = "consumer"
NEWEST_VERSION = 3


class MalformedBlob(ValueError):
    """A member speaks another language than consumers do."""


class Subscription(Value):
    """What a consumer joins with. ``version`` is the one that it understands assignments in."""

    version: int
    topics: frozenset[str]
    owned: frozenset[TopicPartition] = frozenset()
    rack_id: str | None = None


def read_subscription(metadata: bytes) -> Subscription:
    """All of a consumer's metadata.

    Raises:
        MalformedBlob: it is something else.
    """
    try:
        version = min(kind_of(metadata), NEWEST_VERSION)
        read, _ = decode(ConsumerProtocolSubscription, max(version, 0), metadata, PREFIX_BYTES)
    except (UnreadableRecord, MalformedMessage) as error:
        raise MalformedBlob(str(error)) from error
    return Subscription(
        version,
        frozenset(read.topics),
        frozenset(
            TopicPartition(one.topic, index) for one in read.owned_partitions for index in one.partitions
        ),
        read.rack_id or None,
    )


class ConsumerAssignment(Value):
    """What a leader assigned to one member; ``user_data`` only assignors understand."""

    partitions: frozenset[TopicPartition] = frozenset()
    user_data: bytes = b""


def read_assignment(assignment: bytes) -> ConsumerAssignment:
    """The inverse of :func:`write_assignment`; empty bytes assign nothing.

    Raises:
        MalformedBlob: it is something else.
    """
    if not assignment:
        return ConsumerAssignment()
    try:
        version = max(min(kind_of(assignment), NEWEST_VERSION), 0)
        read, _ = decode(ConsumerProtocolAssignment, version, assignment, PREFIX_BYTES)
    except (UnreadableRecord, MalformedMessage) as error:
        raise MalformedBlob(str(error)) from error
    return ConsumerAssignment(
        frozenset(
            TopicPartition(one.topic, index) for one in read.assigned_partitions for index in one.partitions
        ),
        bytes(read.user_data or b""),
    )


def write_assignment(partitions: Iterable[TopicPartition], version: int) -> bytes:
    """What a consumer understands that joined with this version of the subscription."""
    topics: dict[str, list[int]] = {}
    for topic, index in sorted(partitions):
        topics.setdefault(topic, []).append(index)
    assigned = [
        ConsumerProtocolAssignment.TopicPartition(topic=topic, partitions=indexes)
        for topic, indexes in topics.items()
    ]
    return with_kind(version, encode(ConsumerProtocolAssignment(assigned_partitions=assigned), version))


def subscribed_topics(metadata: Iterable[bytes]) -> frozenset[str] | None:
    """All topics that the members subscribe to; None when one of them speaks another language.

    Every version of the subscription begins like version 0, so that is how all are read.
    """
    topics: set[str] = set()
    for one in metadata:
        if len(one) < PREFIX_BYTES:
            return None
        try:
            subscription, _ = decode(ConsumerProtocolSubscription, 0, one, PREFIX_BYTES)
        except MalformedMessage:
            return None
        topics.update(subscription.topics)
    return frozenset(topics)
