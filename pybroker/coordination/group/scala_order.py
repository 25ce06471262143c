"""The order of keys in Scala's immutable ``HashMap``, by which Kafka decides a tied vote of a group.

Two brokers of one cluster should not choose differently, so this order is part of the behaviour. Facts about
it: Scala 2.13's ``scala.collection.Hashing`` and its compressed hash-array mapped prefix tree, which lists
the keys that are alone in their slot of a node first, and then those of the nodes below.
"""

from collections.abc import Iterable

from pybroker.coordination.partitioning import java_string_hash

_BITS_PER_LEVEL = 5
_HASH_BITS = 32
_MASK = 0xFFFFFFFF


def scala_order(keys: Iterable[str]) -> list[str]:
    """The keys, which must differ, as such a map iterates over them."""
    return _ordered([(_improved(java_string_hash(key)), key) for key in keys], 0)


def _improved(value: int) -> int:
    value = (value + ~(value << 9)) & _MASK
    value ^= value >> 14
    value = (value + (value << 4)) & _MASK
    return value ^ (value >> 10)


def _ordered(entries: list[tuple[int, str]], shift: int) -> list[str]:
    if shift >= _HASH_BITS or len(entries) < 2:
        return [key for _, key in entries]
    slots: dict[int, list[tuple[int, str]]] = {}
    for entry in entries:
        slots.setdefault(entry[0] >> shift & ((1 << _BITS_PER_LEVEL) - 1), []).append(entry)
    alone = [slots[slot][0][1] for slot in sorted(slots) if len(slots[slot]) == 1]
    below = [
        key
        for slot in sorted(slots)
        if len(slots[slot]) > 1
        for key in _ordered(slots[slot], shift + _BITS_PER_LEVEL)
    ]
    return alone + below
