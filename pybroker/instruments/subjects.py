"""What a request is about: the topics, partitions, groups and transactional ids that it names.

Messages differ in where they keep these; :data:`pybroker.protocol.error_replies.MIRRORS` knows where topics
and groups are listed, and the names of the fields tell the rest.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeAlias

from pybroker.model.ids import ZERO_TOPIC_ID, TopicId
from pybroker.model.values import Value
from pybroker.protocol.apis import ApiSpec
from pybroker.protocol.error_replies import MIRRORS, Mirror
from pybroker.protocol.message_classes import Message

TopicName: TypeAlias = Callable[[TopicId], str | None]
"""The name of a topic by its id; None when there is no such topic."""

_TOPIC_LISTS = frozenset({"topics", "topic_data", "topic_names", "topic_partitions", "v3_and_below_topics"})
_GROUP_LISTS = frozenset({"groups", "group_ids", "groups_names"})
_TRANSACTIONAL_ID_FIELDS = ("transactional_id", "v3_and_below_transactional_id")
_PARTITION_FIELDS = ("partition_index", "index", "partition", "partition_id")


class Part(Value):
    """One topic or partition that a request names; ``partition`` is None when the whole topic is meant."""

    topic: str | None
    partition: int | None


def topic_lists(api: ApiSpec) -> tuple[Mirror, ...]:
    """The lists of an API's request that are answered topic by topic."""
    return tuple(mirror for mirror in MIRRORS.get(api.key, ()) if mirror.request_list in _TOPIC_LISTS)


def group_lists(api: ApiSpec) -> tuple[Mirror, ...]:
    """The lists of an API's request that are answered group by group."""
    return tuple(mirror for mirror in MIRRORS.get(api.key, ()) if mirror.request_list in _GROUP_LISTS)


def has_partitions(api: ApiSpec) -> bool:
    return any(mirror.inner is not None for mirror in topic_lists(api))


def has_field(api: ApiSpec, name: str) -> bool:
    """Whether a request of ``api`` has ``name`` at its top, in any version."""
    return name in api.request.__slots__


def names_groups(api: ApiSpec) -> bool:
    return bool(group_lists(api)) or has_field(api, "group_id") or has_field(api, "coordinator_keys")


def names_transactions(api: ApiSpec) -> bool:
    fields = (*_TRANSACTIONAL_ID_FIELDS, "transactional_ids", "coordinator_keys")
    return any(has_field(api, name) for name in fields)


def part_of(item: Any, inner: Any | None, topic_name: TopicName) -> Part:
    """What an item of a topic list, and one of its partitions, stand for."""
    return Part(_topic_of(item, topic_name), None if inner is None else _partition_of(inner))


def group_of(item: Any) -> str:
    """What an item of a group list stands for."""
    return item if isinstance(item, str) else item.group_id


def parts_of(api: ApiSpec, request: Message, topic_name: TopicName) -> Iterator[Part]:
    """Every topic and partition that a request names."""
    for mirror in topic_lists(api):
        for item in getattr(request, mirror.request_list) or ():
            inner = mirror.inner
            partitions: Iterable[Any] = (getattr(item, inner.request_list) or ()) if inner else (None,)
            for partition in partitions:
                yield part_of(item, partition, topic_name)


def groups_of(api: ApiSpec, request: Any) -> Iterator[str]:
    """Every group that a request names."""
    if has_field(api, "group_id") and request.group_id:
        yield request.group_id
    for mirror in group_lists(api):
        for item in getattr(request, mirror.request_list) or ():
            yield group_of(item)
    if has_field(api, "coordinator_keys") and request.key_type == 0:
        yield from (*request.coordinator_keys, *filter(None, (request.key,)))


def transactional_ids_of(api: ApiSpec, request: Any) -> Iterator[str]:
    """Every transactional id that a request names."""
    for name in _TRANSACTIONAL_ID_FIELDS:
        if has_field(api, name) and getattr(request, name):
            yield getattr(request, name)
    if has_field(api, "transactional_ids"):
        yield from request.transactional_ids
    if has_field(api, "transactions"):
        yield from (item.transactional_id for item in request.transactions)
    if has_field(api, "coordinator_keys") and request.key_type == 1:
        yield from (*request.coordinator_keys, *filter(None, (request.key,)))


def _topic_of(item: Any, topic_name: TopicName) -> str | None:
    if isinstance(item, str):
        return item
    slots = item.__slots__
    for field in ("name", "topic"):
        if field in slots and getattr(item, field):
            found: str = getattr(item, field)
            return found
    if "topic_id" in slots and item.topic_id != ZERO_TOPIC_ID:
        return topic_name(item.topic_id)
    return None


def _partition_of(inner: Any) -> int:
    if isinstance(inner, int):
        return inner
    found: int = next(getattr(inner, field) for field in _PARTITION_FIELDS if field in inner.__slots__)
    return found
