"""The uniform assignor: everybody gets about as many partitions, and keeps what it can."""

import heapq
from collections import defaultdict
from collections.abc import Iterator, Mapping

from pybroker.coordination.group.consumer.assignors.spec import GroupSpec
from pybroker.coordination.group.consumer.state import Assignment, TopicIdPartition
from pybroker.model.ids import TopicId

MAX_ROUNDS = 16
"""So often topics are gone through for a better balance; one or two rounds do but for odd subscriptions."""


def assign_uniformly(spec: GroupSpec) -> Mapping[str, Assignment]:
    if spec.is_homogeneous:
        return _assign_homogeneous(spec)
    return _Heterogeneous(spec).assign()


def _all_partitions(spec: GroupSpec) -> Iterator[TopicIdPartition]:
    """In the order of the topics' ids."""
    for topic_id, count in sorted(spec.partition_counts.items()):
        for index in range(count):
            yield TopicIdPartition(topic_id, index)


def _assign_homogeneous(spec: GroupSpec) -> Mapping[str, Assignment]:
    """All want the same topics: so many for each, and one more for the first who have one more already, or
    else for the last."""
    partitions = dict.fromkeys(_all_partitions(spec))
    quota, extra = divmod(len(partitions), len(spec.members))
    assigned: dict[str, list[TopicIdPartition]] = {}
    missing: dict[str, int] = {}
    left = len(spec.members)
    for member_id, member in spec.members.items():
        kept = sorted(tp for tp in member.assigned if tp in partitions)
        takes_extra = extra > 0 and (len(kept) > quota or left <= extra)
        size = quota + takes_extra
        extra -= takes_extra
        left -= 1
        kept = kept[:size]
        assigned[member_id] = kept
        missing[member_id] = size - len(kept)
        for tp in kept:
            del partitions[tp]
    free = iter(partitions)
    for member_id, count in missing.items():
        assigned[member_id].extend(next(free) for _ in range(count))
    return {member_id: frozenset(owned) for member_id, owned in assigned.items()}


class _Heterogeneous:
    """Members want different topics: partitions move from who has most to who has least, topic by topic,
    until no move makes it better."""

    def __init__(self, spec: GroupSpec) -> None:
        self._spec = spec
        self._sizes = dict.fromkeys(spec.members, 0)
        self._owners: dict[TopicIdPartition, str] = {}
        self._subscribers: dict[TopicId, list[str]] = defaultdict(list)
        for member_id, member in spec.members.items():
            for topic_id in member.subscribed:
                self._subscribers[topic_id].append(member_id)

    def assign(self) -> Mapping[str, Assignment]:
        self._keep()
        topics = sorted(self._subscribers, key=self._rank)
        for topic_id in topics:
            self._hand_out(topic_id)
        for _ in range(MAX_ROUNDS):
            moved = [self._balance(topic_id) for topic_id in topics]
            if not any(moved):
                break
        assigned: dict[str, set[TopicIdPartition]] = {member_id: set() for member_id in self._spec.members}
        for tp, member_id in self._owners.items():
            assigned[member_id].add(tp)
        return {member_id: frozenset(owned) for member_id, owned in assigned.items()}

    def _rank(self, topic_id: TopicId) -> tuple[float, int, TopicId]:
        """Topics with many partitions for each subscriber come first, then those with few subscribers."""
        subscribers = len(self._subscribers[topic_id])
        return -self._spec.partition_counts[topic_id] / subscribers, subscribers, topic_id

    def _keep(self) -> None:
        counts = self._spec.partition_counts
        for member_id, member in self._spec.members.items():
            for tp in member.assigned:
                if tp.topic_id in member.subscribed and tp.partition < counts[tp.topic_id]:
                    self._give(tp, member_id)

    def _hand_out(self, topic_id: TopicId) -> None:
        """What nobody has goes to those who have least."""
        subscribers = self._subscribers[topic_id]
        least = [(self._sizes[member_id], place) for place, member_id in enumerate(subscribers)]
        heapq.heapify(least)
        for index in range(self._spec.partition_counts[topic_id]):
            tp = TopicIdPartition(topic_id, index)
            if tp not in self._owners:
                size, place = least[0]
                self._give(tp, subscribers[place])
                heapq.heapreplace(least, (size + 1, place))

    def _balance(self, topic_id: TopicId) -> bool:
        """Whether a partition moved."""
        subscribers = self._subscribers[topic_id]
        owned: dict[str, list[TopicIdPartition]] = defaultdict(list)
        for index in range(self._spec.partition_counts[topic_id]):
            tp = TopicIdPartition(topic_id, index)
            owned[self._owners[tp]].append(tp)
        least = [(self._sizes[member_id], place) for place, member_id in enumerate(subscribers)]
        most = [(-self._sizes[member_id], member_id) for member_id in owned]
        heapq.heapify(least)
        heapq.heapify(most)
        moved = False
        while most:
            low, place = least[0]
            high, giver = most[0]
            taker = subscribers[place]
            if low != self._sizes[taker]:
                # It has given something away since it was put here.
                heapq.heapreplace(least, (self._sizes[taker], place))
            elif -high != self._sizes[giver]:
                heapq.heapreplace(most, (-self._sizes[giver], giver))
            elif -high - low <= 1:
                break
            elif not owned[giver]:
                heapq.heappop(most)
            else:
                self._give(owned[giver].pop(), taker)
                moved = True
        return moved

    def _give(self, tp: TopicIdPartition, member_id: str) -> None:
        former = self._owners.get(tp)
        if former is not None:
            self._sizes[former] -= 1
        self._owners[tp] = member_id
        self._sizes[member_id] += 1
