"""A decision about one consumer group while it is being made."""

from collections.abc import Callable, Sequence

from pybroker.coordination.effects import CoordinatorRecord, Effects
from pybroker.coordination.group.consumer.assignors import ASSIGNORS, GroupSpec, MemberSpec
from pybroker.coordination.group.consumer.changes import (
    Change,
    GroupEpochChanged,
    PartitionMetadataSeen,
    RegexChanged,
    TargetChanged,
    TargetEpochChanged,
    record,
)
from pybroker.coordination.group.consumer.group import NOTHING, ConsumerGroup
from pybroker.coordination.group.consumer.regexes import TopicRegexes
from pybroker.coordination.group.consumer.state import ResolvedRegex
from pybroker.coordination.group.consumer.topics import metadata_hash, topic_ids
from pybroker.coordination.group.rules import GroupRules
from pybroker.metadata.image import ClusterImage
from pybroker.model.values import Value


class Setting(Value):
    """What decisions about consumer groups look at beside the group.

    Attributes:
        image: the cluster as it is now.
        unique_text: a new UUID as text, for member ids.
    """

    rules: GroupRules
    image: Callable[[], ClusterImage]
    regexes: TopicRegexes
    unique_text: Callable[[], str]


class Draft:
    """The records that a decision leads to, and the group as it is once they are in the log.

    Attributes:
        group: with every change so far. The group it began with stays as it was.
        timers: to be started and stopped when the records are in the log.
    """

    def __init__(
        self,
        group: ConsumerGroup,
        setting: Setting,
        now_ms: int,
        *,
        before: Sequence[CoordinatorRecord] = (),
        is_new: bool = False,
    ) -> None:
        self.group = group
        self._before = None if is_new else group
        self.setting = setting
        self.image = setting.image()
        self.now_ms = now_ms
        self.records: list[CoordinatorRecord] = list(before)
        self.timers = Effects(now_ms)
        self._may_change = is_new

    def timers_of(self, member_id: str, effects: Effects) -> Effects:
        """Where timers of a member that speaks are noted: at once, but for one that may never be a member."""
        known = self._before is not None and member_id in self._before.members
        return effects if known else self.timers

    def emit(self, change: Change) -> None:
        """One more change, and its record."""
        if not self._may_change:
            self.group = self.group.copy()
            self._may_change = True
        self.group.apply(change)
        self.records.append(record(self.group.group_id, change))

    # -- what many decisions have in common ----------------------------------------------------------

    def follow_metadata(self, *, subscription_changed: bool) -> None:
        """A new epoch if a member wants other topics, or if those that are wanted have changed."""
        if subscription_changed:
            self.forget_unused_regexes()
        elif self.group.seen_version == self.image.version:
            return
        others = self._refresh_regexes()
        self.begin_epoch(always=subscription_changed or others)

    def _refresh_regexes(self) -> bool:
        """Find the topics of all regular expressions anew. Whether any expression stands for others now."""
        changed = False
        for regex in sorted(self.group.regexes_in_use()):
            topics = self.setting.regexes.topics(regex, self.image)
            known = self.group.regexes.get(regex)
            if known is None or known.topics != topics:
                self.emit(RegexChanged(regex, ResolvedRegex(topics, self.image.version, self.now_ms)))
                changed = True
        return changed

    def forget_unused_regexes(self) -> None:
        for regex in sorted(self.group.regexes.keys() - self.group.regexes_in_use()):
            self.emit(RegexChanged(regex, None))

    def begin_epoch(self, *, always: bool) -> None:
        """A new epoch of the group, if it must be or if the metadata of its topics have changed."""
        group = self.group
        found = metadata_hash(self.image, group.subscribed_topics())
        if always or found != group.metadata_hash:
            self.emit(GroupEpochChanged(group.epoch + 1, found))
        if group.has_partition_metadata:
            self.emit(PartitionMetadataSeen(is_there=False))
        self.group.seen_version = self.image.version

    def update_targets(self) -> None:
        """Reckon what everybody should have, if that is older than the group's epoch. Not sooner after the
        last time than ``group.consumer.assignment.interval.ms`` allows: then a later heartbeat does it."""
        group = self.group
        if group.target_epoch >= group.epoch or not self._may_reckon():
            return
        name = group.preferred_assignor() or self.setting.rules.consumer.assignors[0]
        targets = ASSIGNORS[name](self._spec())
        for member_id in tuple(group.members):
            assignment = targets.get(member_id, NOTHING)
            if group.targets.get(member_id) != assignment:
                self.emit(TargetChanged(member_id, assignment))
        self.emit(TargetEpochChanged(group.epoch, self.now_ms))

    def _may_reckon(self) -> bool:
        timeouts = self.setting.rules.consumer.timeouts(self.image, self.group.group_id)
        interval_ms, last_ms = timeouts.assignment_interval_ms, self.group.target_timestamp_ms
        # Without a last time there is nothing to wait for; 0 helps when the clock was set back.
        return not interval_ms or not last_ms or self.now_ms >= last_ms + interval_ms

    def _spec(self) -> GroupSpec:
        group, image = self.group, self.image
        ids = {names: topic_ids(image, names) for names in self._subscriptions()}
        return GroupSpec(
            members={
                member_id: MemberSpec(
                    subscribed=ids[group.topics_of(member.profile)],
                    assigned=group.target(member_id),
                    instance_id=member.profile.instance_id,
                )
                for member_id, member in group.members.items()
            },
            partition_counts={
                image.topics[name].topic_id: len(image.topics[name].partitions)
                for name in frozenset().union(*ids)
                if name in image.topics
            },
        )

    def _subscriptions(self) -> frozenset[frozenset[str]]:
        return frozenset(self.group.topics_of(member.profile) for member in self.group.members.values())
