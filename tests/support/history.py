"""What clients did and were told, and whether a cluster's logs agree with it. Pure, and tested itself.

A record is known by its producer and by its number: a producer numbers what it sends to one partition from 0
on, without gaps, and sends in that order.
"""

from collections import Counter
from collections.abc import Mapping, Sequence

from msgspec import field

from pybroker.model.ids import Offset, TopicPartition
from pybroker.model.values import State, Value


class Sent(Value):
    """One record: who sent it, and its number."""

    producer: str
    number: int


class Commit(Value):
    """An offset commit that was acknowledged; times are of one clock, in seconds."""

    partition: TopicPartition
    offset: Offset
    sent_s: float
    acknowledged_s: float


class History(State):
    """What the clients know.

    Attributes:
        acknowledged: the records that the cluster said it has, by partition.
        commits: the offset commits of one group.
    """

    acknowledged: dict[TopicPartition, set[Sent]] = field(default_factory=dict)
    commits: list[Commit] = field(default_factory=list)

    def acknowledge(self, partition: TopicPartition, sent: Sent) -> None:
        self.acknowledged.setdefault(partition, set()).add(sent)


def wrong_in_log(history: History, partition: TopicPartition, log: Sequence[Sent]) -> list[str]:
    """What is wrong with the records of a partition: acknowledged ones that are missing, doubled ones, and
    such that are out of their producer's order."""
    wrong = []
    missing = history.acknowledged.get(partition, set()) - set(log)
    if missing:
        first = min(missing, key=lambda sent: (sent.producer, sent.number))
        wrong.append(f"{partition}: {len(missing)} acknowledged records are missing, the first is {first}")
    last: dict[str, int] = {}
    for place, sent in enumerate(log):
        before = last.get(sent.producer, -1)
        if sent.number <= before:
            wrong.append(f"{partition}: at place {place} {sent} comes after number {before}")
        last[sent.producer] = max(before, sent.number)
    return wrong


def wrong_in_commits(history: History, final: Mapping[TopicPartition, Offset]) -> list[str]:
    """Commits that went back: behind one that was acknowledged before it was sent; or that are lost."""
    wrong = []
    highest: dict[TopicPartition, Commit] = {}
    by_partition: dict[TopicPartition, list[Commit]] = {}
    for commit in history.commits:
        by_partition.setdefault(commit.partition, []).append(commit)
    for partition, commits in by_partition.items():
        finished = sorted(commits, key=lambda commit: commit.acknowledged_s)
        position = 0
        before: Commit | None = None
        for commit in sorted(commits, key=lambda commit: commit.sent_s):
            while position < len(finished) and finished[position].acknowledged_s < commit.sent_s:
                if before is None or finished[position].offset > before.offset:
                    before = finished[position]
                position += 1
            if before is not None and commit.offset < before.offset:
                wrong.append(f"{partition}: offset {commit.offset} was committed after {before.offset}")
        highest[partition] = max(commits, key=lambda commit: commit.offset)
    for partition, commit in highest.items():
        if final.get(partition, -1) < commit.offset:
            wrong.append(
                f"{partition}: offset {commit.offset} was committed, {final.get(partition)} is what is left"
            )
    return wrong


def wrong_in_replicas(
    partition: TopicPartition, replicas: Mapping[int, Sequence[tuple[Offset, bytes]]]
) -> list[str]:
    """Batches, each with its base offset, in which replicas differ. All begin at the same offset."""
    first, *others = sorted(replicas)
    wrong = []
    for other in others:
        ours, theirs = replicas[first], replicas[other]
        for (offset, batch), (other_offset, other_batch) in zip(ours, theirs, strict=False):
            if offset != other_offset or batch != other_batch:
                wrong.append(
                    f"{partition}: brokers {first} and {other} differ from offset "
                    f"{min(offset, other_offset)} on"
                )
                break
        else:
            if len(ours) != len(theirs):
                wrong.append(
                    f"{partition}: broker {first} has {len(ours)} batches, broker {other} {len(theirs)}"
                )
    return wrong


def wrong_in_copy(partition: TopicPartition, source: Sequence[Sent], copy: Sequence[Sent]) -> list[str]:
    """Whether a partition that was copied exactly once is the same as its source, record by record."""
    wrong = []
    found = Counter(copy)
    expected = set(source)
    missing = [sent for sent in source if sent not in found]
    if missing:
        wrong.append(f"{partition}: {len(missing)} records were not copied, the first is {missing[0]}")
    doubled = [sent for sent, count in found.items() if count > 1]
    if doubled:
        wrong.append(f"{partition}: {len(doubled)} records were copied more than once, as {doubled[0]}")
    foreign = [sent for sent in found if sent not in expected]
    if foreign:
        wrong.append(f"{partition}: {len(foreign)} records are not of the source, as {foreign[0]}")
    if not wrong and list(source) != list(copy):
        place = next(place for place, pair in enumerate(zip(source, copy, strict=True)) if pair[0] != pair[1])
        wrong.append(f"{partition}: from place {place} on the order is another one: {copy[place]}")
    return wrong
