"""Server-side assignors: who gets which partitions. Pure functions from a :class:`GroupSpec` to targets.

Like Kafka's since 4.0, they do not look at racks; a change of racks makes a new assignment all the same.
"""

from collections.abc import Callable, Mapping
from typing import TypeAlias

from pybroker.coordination.group.consumer.assignors.range import assign_ranges
from pybroker.coordination.group.consumer.assignors.spec import GroupSpec, MemberSpec
from pybroker.coordination.group.consumer.assignors.uniform import assign_uniformly
from pybroker.coordination.group.consumer.state import Assignment

__all__ = ["ASSIGNORS", "Assignor", "GroupSpec", "MemberSpec", "assignor_names"]

Assignor: TypeAlias = Callable[[GroupSpec], Mapping[str, Assignment]]

ASSIGNORS: Mapping[str, Assignor] = {"uniform": assign_uniformly, "range": assign_ranges}

_CLASSES = {
    "org.apache.kafka.coordinator.group.assignor.UniformAssignor": "uniform",
    "org.apache.kafka.coordinator.group.assignor.RangeAssignor": "range",
}


def assignor_names(configured: tuple[str, ...]) -> tuple[str, ...]:
    """The assignors of ``group.consumer.assignors``, which may be named by Kafka's classes too.

    Raises:
        ValueError: one of them is not known.
    """
    names = tuple(_CLASSES.get(name, name) for name in configured)
    unknown = [name for name in names if name not in ASSIGNORS]
    if unknown:
        raise ValueError(f"{unknown[0]} is not one of {', '.join((*ASSIGNORS, *_CLASSES))}")
    return names
