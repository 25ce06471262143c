"""Which names a topic may have, and which topics the broker keeps for itself.

Source: ``org.apache.kafka.common.internals.Topic`` of Kafka 3.9.
"""

import re

CONSUMER_OFFSETS = "__consumer_offsets"
TRANSACTION_STATE = "__transaction_state"
CLUSTER_METADATA = "__cluster_metadata"
SHARE_GROUP_STATE = "__share_group_state"

MAX_NAME_LENGTH = 249
_LEGAL = re.compile(r"[a-zA-Z0-9._-]+")
_INTERNAL = frozenset((CONSUMER_OFFSETS, TRANSACTION_STATE, SHARE_GROUP_STATE))


def is_internal(topic: str) -> bool:
    """Whether the broker writes this topic itself and clients may not produce to it."""
    return topic in _INTERNAL


def topic_name_problem(topic: str) -> str | None:
    """What is wrong with a topic's name, in Kafka's words; None if nothing is."""
    if not topic:
        return "Topic name is invalid: the empty string is not allowed"
    if topic in (".", ".."):
        return f"Topic name is invalid: '{topic}' is not allowed"
    if len(topic) > MAX_NAME_LENGTH:
        return (
            f"Topic name is invalid: the length of '{topic}' is longer than the max allowed length "
            f"{MAX_NAME_LENGTH}"
        )
    if _LEGAL.fullmatch(topic) is None:
        return (
            f"Topic name is invalid: '{topic}' contains one or more characters other than ASCII "
            "alphanumerics, '.', '_' and '-'"
        )
    return None


def names_collide(one: str, other: str) -> bool:
    """Whether two names are told apart only by '.' and '_', which Kafka's metric names confuse."""
    return one.replace(".", "_") == other.replace(".", "_")
