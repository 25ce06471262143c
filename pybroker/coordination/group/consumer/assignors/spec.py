"""What assignors are given."""

from collections.abc import Mapping

from pybroker.coordination.group.consumer.state import Assignment
from pybroker.model.ids import TopicId
from pybroker.model.values import Value


class MemberSpec(Value):
    """A member: the existing topics that it subscribes to, and what it was to have until now."""

    subscribed: frozenset[TopicId]
    assigned: Assignment = frozenset()
    instance_id: str | None = None


class GroupSpec(Value):
    """A group with members. ``partition_counts`` has every topic that anybody subscribes to."""

    members: Mapping[str, MemberSpec]
    partition_counts: Mapping[TopicId, int]

    @property
    def is_homogeneous(self) -> bool:
        """Whether all members subscribe to the same topics."""
        return len({member.subscribed for member in self.members.values()}) <= 1
