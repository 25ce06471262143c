"""Names for the plain values that every room passes around.

Offsets, epochs and ids are aliases of ``int``, not ``NewType``: a ``NewType`` call costs about 60 ns in
CPython 3.11 and arithmetic drops the type again, so on the append path each offset would be re-wrapped
several times for nothing. The alias still tells the reader what a number is.
"""

import base64
import uuid
from typing import NamedTuple, TypeAlias

Offset: TypeAlias = int
"""Position of a record in its partition, from 0. Ranges of offsets are half open: [start, end)."""

LeaderEpoch: TypeAlias = int
"""Generation of a partition's leadership; -1 is unknown."""

BrokerId: TypeAlias = int
BrokerEpoch: TypeAlias = int
"""czxid of the broker's registration; -1 is unknown."""

ControllerEpoch: TypeAlias = int
ProducerId: TypeAlias = int
ProducerEpoch: TypeAlias = int

TopicId: TypeAlias = bytes
"""A topic's UUID as its 16 raw bytes; :data:`ZERO_TOPIC_ID` means none."""

ZERO_TOPIC_ID: TopicId = bytes(16)
UNKNOWN_OFFSET: Offset = -1
NO_LEADER_EPOCH: LeaderEpoch = -1
NO_LEADER: BrokerId = -1
NO_PRODUCER_ID: ProducerId = -1
NO_PRODUCER_EPOCH: ProducerEpoch = -1
LAST_PRODUCER_EPOCH: ProducerEpoch = 0x7FFF
"""Never given to a client, so that whoever has the epoch before can still be fenced."""


class TopicPartition(NamedTuple):
    """One partition of one topic. A named tuple, because it is a dictionary key on the hot path."""

    topic: str
    partition: int

    def __str__(self) -> str:
        return f"{self.topic}-{self.partition}"


def new_topic_id() -> TopicId:
    """A random topic id that never collides with Kafka's reserved ones (they have a zero first half)
    and whose text form never starts with a dash (Kafka's ``Uuid.randomUuid``)."""
    while True:
        candidate = uuid.uuid4().bytes
        if not topic_id_text(candidate).startswith("-"):
            return candidate


def topic_id_text(topic_id: TopicId) -> str:
    """The 22 characters of URL-safe base64, without padding, that Kafka writes in files and znodes."""
    return base64.urlsafe_b64encode(topic_id).decode("ascii").rstrip("=")


def parse_topic_id(text: str) -> TopicId:
    """The inverse of :func:`topic_id_text`.

    Raises:
        ValueError: the text is not 16 bytes in URL-safe base64.
    """
    raw = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    if len(raw) != 16:
        raise ValueError(f"topic id {text!r} is {len(raw)} bytes long, not 16")
    return raw
