"""The range assignor: of each topic a member gets neighbouring partitions, and the same numbers of each topic
that has as many (co-partitioning)."""

from collections.abc import Mapping

from pybroker.coordination.group.consumer.assignors.spec import GroupSpec, MemberSpec
from pybroker.coordination.group.consumer.state import Assignment, TopicIdPartition


def assign_ranges(spec: GroupSpec) -> Mapping[str, Assignment]:
    """Members in the order of their instance ids, those without one after them in the order of their ids."""
    members = sorted(spec.members.items(), key=_rank)
    assigned: dict[str, set[TopicIdPartition]] = {member_id: set() for member_id, _ in members}
    for topic_id, count in spec.partition_counts.items():
        subscribers = [member_id for member_id, member in members if topic_id in member.subscribed]
        if not subscribers:
            continue
        share, extra = divmod(count, len(subscribers))
        start = 0
        for place, member_id in enumerate(subscribers):
            end = start + share + (place < extra)
            assigned[member_id].update(TopicIdPartition(topic_id, index) for index in range(start, end))
            start = end
    return {member_id: frozenset(partitions) for member_id, partitions in assigned.items()}


def _rank(item: tuple[str, MemberSpec]) -> tuple[bool, str]:
    member_id, member = item
    return member.instance_id is None, member_id if member.instance_id is None else member.instance_id
