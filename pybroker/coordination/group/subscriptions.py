"""What classic consumers read, out of the metadata they join with."""

from collections.abc import Iterable

from pybroker.protocol.codec import decode
from pybroker.protocol.errors import MalformedMessage
from pybroker.protocol.messages import ConsumerProtocolSubscription

CONSUMER_PROTOCOL_TYPE = "consumer"
_VERSION_BYTES = 2


def subscribed_topics(metadata: Iterable[bytes]) -> frozenset[str] | None:
    """All topics that the members subscribe to; None when one of them speaks another language.

    Every version of the subscription begins like version 0, so that is how all are read.
    """
    topics: set[str] = set()
    for one in metadata:
        if len(one) < _VERSION_BYTES:
            return None
        try:
            subscription, _ = decode(ConsumerProtocolSubscription, 0, one, _VERSION_BYTES)
        except MalformedMessage:
            return None
        topics.update(subscription.topics)
    return frozenset(topics)
