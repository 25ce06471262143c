"""The cluster's topics as consumer groups see them: ids, and a hash that tells whether anything changed."""

from collections.abc import Iterable

import xxhash

from pybroker.metadata.image import ClusterImage, TopicImage
from pybroker.model.ids import BrokerId, TopicId

_MAGIC = 0
_CACHE_KEY = "group metadata hash"
_SIGN_BIT = 1 << 63


def topic_ids(image: ClusterImage, names: Iterable[str]) -> frozenset[TopicId]:
    """The ids of those topics that exist."""
    topics = image.topics
    return frozenset(topics[name].topic_id for name in names if name in topics)


def metadata_hash(image: ClusterImage, names: Iterable[str]) -> int:
    """A signed 64-bit hash of all that an assignment depends on (KIP-1101); 0 when none of the topics exists.

    The same number as Kafka's, so that a group which moves between the two is not assigned anew.
    """
    hashes = [_topic_hash(image, image.topics[name]) for name in sorted(names) if name in image.topics]
    if not hashes:
        return 0
    return _signed(xxhash.xxh3_64_intdigest(b"".join(one.to_bytes(8, "little") for one in hashes)))


def _topic_hash(image: ClusterImage, topic: TopicImage) -> int:
    """Kept with the topic, as long as the brokers are the same ones."""
    kept = topic.cache.get(_CACHE_KEY)
    if kept is not None and kept[0] is image.brokers:
        found: int = kept[1]
        return found
    value = xxhash.xxh3_64_intdigest(_described(image, topic))
    topic.cache[_CACHE_KEY] = (image.brokers, value)
    return value


def _described(image: ClusterImage, topic: TopicImage) -> bytes:
    """The bytes that hash4j's stream makes of what Kafka puts into it."""
    most, least = topic.topic_id[:8], topic.topic_id[8:]
    parts = [bytes([_MAGIC]), most[::-1], least[::-1], _text(topic.name), _number(len(topic.partitions))]
    for index in range(len(topic.partitions)):
        partition = topic.partitions.get(index)
        parts.append(_number(index))
        for rack in sorted(_racks(image, partition.replicas if partition is not None else ())):
            parts += (_number(_utf16_units(rack)), _text(rack))
    return b"".join(parts)


def _racks(image: ClusterImage, replicas: Iterable[BrokerId]) -> set[str]:
    brokers = (image.brokers.get(replica) for replica in replicas)
    return {broker.rack for broker in brokers if broker is not None and broker.rack is not None}


def _text(text: str) -> bytes:
    encoded = text.encode("utf-16-le", "surrogatepass")
    return encoded + _number(len(encoded) // 2)


def _utf16_units(text: str) -> int:
    return len(text.encode("utf-16-le", "surrogatepass")) // 2


def _number(number: int) -> bytes:
    return number.to_bytes(4, "little")


def _signed(number: int) -> int:
    return number - (1 << 64) if number & _SIGN_BIT else number
