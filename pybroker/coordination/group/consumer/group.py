"""The state of one consumer group: what follows from the records of its log, in any order that keeps the last
of each key."""

from collections import Counter
from collections.abc import Iterator
from typing import Literal

from msgspec.structs import replace

from pybroker.coordination.effects import TimerKey
from pybroker.coordination.group.consumer.changes import (
    Change,
    CurrentChanged,
    GroupEpochChanged,
    PartitionMetadataSeen,
    ProfileChanged,
    RegexChanged,
    TargetChanged,
    TargetEpochChanged,
)
from pybroker.coordination.group.consumer.state import (
    LEAVE_EPOCH,
    Assignment,
    ConsumerMember,
    Current,
    GroupState,
    OwnedPartitions,
    Profile,
    ResolvedRegex,
    TopicIdPartition,
)
from pybroker.coordination.group.offsets import GroupOffsets

CONSUMER = "consumer"
"""The type of these groups, as ListGroups names it, and the protocol type of their classic members."""

NOTHING: Assignment = frozenset()

Timeout = Literal["member", "revoke", "rejoin", "resync"]
"""What a member is given time for: to be heard of; to give up partitions; as a classic member to join again,
or to ask for its assignment."""

TIMEOUTS: tuple[Timeout, ...] = ("member", "revoke", "rejoin", "resync")


class ConsumerGroup:
    """A group of the consumer protocol. Changed by :meth:`apply` alone; a decision works on a :meth:`copy`
    that takes this one's place when its records are in the log.

    Attributes:
        epoch: grows whenever the members should be assigned anew.
        target_epoch: the epoch that ``targets`` were reckoned for; -1 when that was deleted.
        owners: who has a partition, or has still to give it up.
        seen_version: the version of the cluster's metadata that the group was last compared with.
        offsets: shared with all copies.
    """

    def __init__(self, group_id: str, offsets: GroupOffsets | None = None) -> None:
        self.group_id = group_id
        self.offsets = GroupOffsets() if offsets is None else offsets
        self.epoch = 1
        self.metadata_hash = 0
        self.target_epoch = 1
        self.target_timestamp_ms = 0
        self.members: dict[str, ConsumerMember] = {}
        self.static_members: dict[str, str] = {}
        self.targets: dict[str, Assignment] = {}
        self.owners: dict[TopicIdPartition, str] = {}
        self.regexes: dict[str, ResolvedRegex] = {}
        self.has_partition_metadata = False
        self.is_deleted = False
        self.seen_version = -1

    def copy(self) -> "ConsumerGroup":
        """A group that can change without this one; values are shared, they are frozen."""
        other = ConsumerGroup(self.group_id, self.offsets)
        other.epoch = self.epoch
        other.metadata_hash = self.metadata_hash
        other.target_epoch = self.target_epoch
        other.target_timestamp_ms = self.target_timestamp_ms
        other.members = dict(self.members)
        other.static_members = dict(self.static_members)
        other.targets = dict(self.targets)
        other.owners = dict(self.owners)
        other.regexes = dict(self.regexes)
        other.has_partition_metadata = self.has_partition_metadata
        other.is_deleted = self.is_deleted
        other.seen_version = self.seen_version
        return other

    # -- looking -------------------------------------------------------------------------------------

    @property
    def state(self) -> GroupState:
        if not self.members:
            return GroupState.EMPTY
        if self.epoch > self.target_epoch:
            return GroupState.ASSIGNING
        if all(member.current.is_reconciled_to(self.target_epoch) for member in self.members.values()):
            return GroupState.STABLE
        return GroupState.RECONCILING

    @property
    def classic_count(self) -> int:
        """How many members are of the classic protocol."""
        return sum(member.is_classic for member in self.members.values())

    def static_member(self, instance_id: str | None) -> ConsumerMember | None:
        """Who has a ``group.instance.id``."""
        member_id = None if instance_id is None else self.static_members.get(instance_id)
        return None if member_id is None else self.members[member_id]

    def target(self, member_id: str) -> Assignment:
        """What a member should have."""
        return self.targets.get(member_id, NOTHING)

    def topics_of(self, profile: Profile) -> frozenset[str]:
        """The names of all topics that a member subscribes to, by name or by regular expression."""
        resolved = self.regexes.get(profile.topic_regex) if profile.topic_regex else None
        return profile.topic_names if resolved is None else profile.topic_names | resolved.topics

    def subscribed_topics(self) -> frozenset[str]:
        """The names of all topics that any member subscribes to."""
        # Most members say the same: the sets are united once each.
        different = {self.topics_of(profile) for profile in self._different_subscriptions()}
        return frozenset().union(*different)

    def is_subscribed_to(self, topic: str) -> bool:
        return any(topic in self.topics_of(profile) for profile in self._different_subscriptions())

    def regexes_in_use(self) -> frozenset[str]:
        """The regular expressions of all members."""
        return frozenset(
            member.profile.topic_regex for member in self.members.values() if member.profile.topic_regex
        )

    def preferred_assignor(self) -> str | None:
        """The server-side assignor that most members ask for; None if nobody asks for one."""
        wishes = Counter(
            member.profile.server_assignor
            for member in self.members.values()
            if member.profile.server_assignor is not None
        )
        return max(wishes, key=wishes.__getitem__) if wishes else None

    def awaits_others(self, member: ConsumerMember) -> bool:
        """Whether somebody else still has a partition that the member should get."""
        return any(
            tp not in member.current.assigned and tp in self.owners for tp in self.target(member.member_id)
        )

    def timer(self, timeout: Timeout, member_id: str) -> TimerKey:
        kind = "session" if timeout == "member" else "rebalance"
        return TimerKey(kind, timeout, self.group_id, member_id)

    def timers(self) -> Iterator[TimerKey]:
        """Every timer that may run for this group."""
        return (self.timer(timeout, member_id) for member_id in self.members for timeout in TIMEOUTS)

    def _different_subscriptions(self) -> Iterator[Profile]:
        seen: set[tuple[frozenset[str], str]] = set()
        for member in self.members.values():
            subscription = (member.profile.topic_names, member.profile.topic_regex)
            if subscription not in seen:
                seen.add(subscription)
                yield member.profile

    # -- changing ------------------------------------------------------------------------------------

    def apply(self, change: Change) -> None:
        """What a record says is so from now on."""
        match change:
            case GroupEpochChanged(epoch, metadata_hash):
                self.is_deleted = epoch is None
                if epoch is not None:
                    self.epoch, self.metadata_hash = epoch, metadata_hash
            case PartitionMetadataSeen(is_there):
                self.has_partition_metadata = is_there
            case ProfileChanged(member_id, profile):
                self._set_profile(member_id, profile)
            case TargetEpochChanged(epoch, timestamp_ms):
                self.target_epoch = -1 if epoch is None else epoch
                self.target_timestamp_ms = timestamp_ms
            case TargetChanged(member_id, assignment):
                if assignment is None:
                    self.targets.pop(member_id, None)
                else:
                    self.targets[member_id] = assignment
            case CurrentChanged(member_id, current):
                self._set_current(member_id, current)
            case RegexChanged(regex, resolved):
                if resolved is None:
                    self.regexes.pop(regex, None)
                else:
                    self.regexes[regex] = resolved

    def _set_profile(self, member_id: str, profile: Profile | None) -> None:
        member = self.members.get(member_id)
        instance_id = None if member is None else member.profile.instance_id
        if instance_id is not None and self.static_members.get(instance_id) == member_id:
            del self.static_members[instance_id]
        if profile is None:
            if member is not None:
                self._release(member)
                del self.members[member_id]
            return
        if profile.instance_id is not None:
            self.static_members[profile.instance_id] = member_id
        self.members[member_id] = replace(member or ConsumerMember(member_id), profile=profile)

    def _set_current(self, member_id: str, current: Current | None) -> None:
        member = self.members.get(member_id)
        if current is None:
            if member is None:
                return
            current = Current(LEAVE_EPOCH, LEAVE_EPOCH)
        if member is None:
            member = ConsumerMember(member_id)
        self._release(member)
        self._take(member_id, current.assigned)
        self._take(member_id, current.revoking)
        self.members[member_id] = replace(member, current=current)

    def _take(self, member_id: str, partitions: OwnedPartitions) -> None:
        for tp in partitions:
            self.owners[tp] = member_id

    def _release(self, member: ConsumerMember) -> None:
        for partitions in (member.current.assigned, member.current.revoking):
            for tp in partitions:
                if self.owners.get(tp) == member.member_id:
                    del self.owners[tp]
