"""The committed offsets of one group: what is stored, what is on its way, and what has expired."""

from collections.abc import Callable, Collection, Iterable, Mapping
from struct import Struct
from typing import Final, TypeAlias

from pybroker.model.ids import LeaderEpoch, Offset, ProducerId, TopicPartition
from pybroker.model.values import Value


class CommittedOffset(Value):
    """One commit. ``expire_timestamp_ms`` only when the client asked for a retention time of its own."""

    offset: Offset
    leader_epoch: LeaderEpoch
    metadata: str
    commit_timestamp_ms: int
    expire_timestamp_ms: int | None = None


def commit_time(commit: CommittedOffset) -> int:
    """When it was committed, in broker time."""
    return commit.commit_timestamp_ms


StoredOffset: TypeAlias = bytes
"""What is kept of a commit: the offset of its batch in the coordinator's log, by which later ones are told
apart, and its fields. Bytes, because the garbage collector does not look at them. Of anything else 100,000
are a walk of 50 to 150 ms, and offsets that take the place of others add up unseen until the next one."""

_FIELDS: Final = Struct(">qqiqq")
_BATCH_OFFSET_BYTES: Final = 8
_NO_EXPIRY: Final = -1


def stored_offset(commit: CommittedOffset, batch_offset: Offset) -> StoredOffset:
    """What is kept of a commit."""
    expire_ms = commit.expire_timestamp_ms
    numbers = _FIELDS.pack(
        batch_offset,
        commit.offset,
        commit.leader_epoch,
        commit.commit_timestamp_ms,
        _NO_EXPIRY if expire_ms is None else expire_ms,
    )
    return numbers + commit.metadata.encode()


def commit_of(stored: StoredOffset) -> CommittedOffset:
    """The commit that was kept."""
    _, offset, leader_epoch, commit_ms, expire_ms = _FIELDS.unpack_from(stored)
    metadata = stored[_FIELDS.size :].decode()
    return CommittedOffset(
        offset, leader_epoch, metadata, commit_ms, None if expire_ms == _NO_EXPIRY else expire_ms
    )


def _is_later(one: StoredOffset, than: StoredOffset | None) -> bool:
    """By the offsets of their batches: these come first and are never negative, so bytes have their order."""
    return than is None or one[:_BATCH_OFFSET_BYTES] > than[:_BATCH_OFFSET_BYTES]


class UnderWay:
    """Commits that are appended, but not committed to the log yet: several of one partition if clients do not
    wait for the answer. Each ends by itself, so that one which fails takes nothing from the others."""

    __slots__ = ("_commits",)

    def __init__(self) -> None:
        self._commits: dict[TopicPartition, list[CommittedOffset]] = {}

    def __len__(self) -> int:
        return len(self._commits)

    def __contains__(self, tp: TopicPartition) -> bool:
        return tp in self._commits

    def begin(self, commits: Mapping[TopicPartition, CommittedOffset]) -> None:
        """They are being appended."""
        for tp, commit in commits.items():
            earlier = self._commits.get(tp)
            if earlier is None:
                self._commits[tp] = [commit]
            else:
                earlier.append(commit)

    def end(
        self, commits: Mapping[TopicPartition, CommittedOffset]
    ) -> list[tuple[TopicPartition, CommittedOffset]]:
        """They are in the log, or will never be; returns those whose partition was not removed meanwhile."""
        ended: list[tuple[TopicPartition, CommittedOffset]] = []
        for tp, commit in commits.items():
            known = self._commits.get(tp)
            if known is None or commit not in known:
                continue
            if len(known) > 1:
                known.remove(commit)
            else:
                del self._commits[tp]
            ended.append((tp, commit))
        if not self._commits:
            self._commits.clear()  # gives back its table, which is as large as the largest commit was
        return ended

    def remove(self, tp: TopicPartition) -> None:
        """Forget what is under way for a partition."""
        self._commits.pop(tp, None)

    def clear(self) -> None:
        """Forget all."""
        self._commits.clear()


class GroupOffsets:
    """Offsets by partition. Written by the decisions of ``commits`` and by the replay, nobody else.

    Attributes:
        stored: committed and kept.
        pending: appended, but not committed yet.
        transactional: by producer id, offsets of transactions that are still open.
        staging: by producer id, what is to become such offsets, but is not committed to the log yet.
    """

    __slots__ = ("pending", "staging", "stored", "transactional")

    def __init__(self) -> None:
        self.stored: dict[TopicPartition, StoredOffset] = {}
        self.pending = UnderWay()
        self.transactional: dict[ProducerId, dict[TopicPartition, StoredOffset]] = {}
        self.staging: dict[ProducerId, UnderWay] = {}

    def __bool__(self) -> bool:
        return bool(self.stored or self.pending or self.transactional or self.staging)

    def is_unstable(self, tp: TopicPartition) -> bool:
        """Whether a commit for this partition is under way (KIP-447)."""
        return (
            tp in self.pending
            or any(tp in offsets for offsets in self.transactional.values())
            or any(tp in commits for commits in self.staging.values())
        )

    def prepare(self, commits: Mapping[TopicPartition, CommittedOffset]) -> None:
        """The commits are being appended."""
        self.pending.begin(commits)

    def apply(self, commits: Mapping[TopicPartition, CommittedOffset], batch_offset: Offset) -> None:
        """The commits are in the log, committed. A partition that was removed meanwhile stays removed."""
        for tp, commit in self.pending.end(commits):
            self.store(tp, stored_offset(commit, batch_offset))

    def fail(self, commits: Mapping[TopicPartition, CommittedOffset]) -> None:
        """The commits will never be in the log."""
        self.pending.end(commits)

    def store(self, tp: TopicPartition, stored: StoredOffset) -> None:
        """Keep a commit, unless a later one is known."""
        if _is_later(stored, self.stored.get(tp)):
            self.stored[tp] = stored

    def prepare_transactional(
        self, producer_id: ProducerId, commits: Mapping[TopicPartition, CommittedOffset]
    ) -> None:
        """The commits are being appended as part of a transaction."""
        self.staging.setdefault(producer_id, UnderWay()).begin(commits)

    def stage_transactional(
        self,
        producer_id: ProducerId,
        commits: Mapping[TopicPartition, CommittedOffset],
        batch_offset: Offset,
    ) -> None:
        """The commits are in the log, committed; they count when the transaction does. What was removed
        meanwhile, or with it the transaction, stays removed."""
        for tp, commit in self._end_staging(producer_id, commits):
            staged = self.transactional.setdefault(producer_id, {})
            stored = stored_offset(commit, batch_offset)
            if _is_later(stored, staged.get(tp)):
                staged[tp] = stored

    def fail_transactional(
        self, producer_id: ProducerId, commits: Mapping[TopicPartition, CommittedOffset]
    ) -> None:
        """The commits will never be in the log; what the transaction had before stays."""
        self._end_staging(producer_id, commits)

    def _end_staging(
        self, producer_id: ProducerId, commits: Mapping[TopicPartition, CommittedOffset]
    ) -> list[tuple[TopicPartition, CommittedOffset]]:
        staging = self.staging.get(producer_id)
        if staging is None:
            return []
        ended = staging.end(commits)
        if not staging:
            del self.staging[producer_id]
        return ended

    def complete_transaction(self, producer_id: ProducerId, *, commit: bool) -> None:
        """A transaction's marker was written: its offsets count from now on, or never."""
        self.staging.pop(producer_id, None)
        offsets = self.transactional.pop(producer_id, {})
        if commit:
            for tp, stored in offsets.items():
                self.store(tp, stored)

    def remove_all(self) -> list[TopicPartition]:
        """Forget everything, also what is not there yet; returns what was stored."""
        removed = list(self.stored)
        for offsets in (self.stored, self.pending, self.transactional, self.staging):
            offsets.clear()
        return removed

    def remove(self, partitions: Iterable[TopicPartition]) -> list[TopicPartition]:
        """Forget partitions; returns those that had a stored offset."""
        removed = []
        for tp in partitions:
            self.pending.remove(tp)
            for offsets in self.transactional.values():
                offsets.pop(tp, None)
            for commits in self.staging.values():
                commits.remove(tp)
            if self.stored.pop(tp, None) is not None:
                removed.append(tp)
        return removed

    def remove_expired(
        self,
        now_ms: int,
        retention_ms: int,
        base_ms: Callable[[CommittedOffset], int],
        subscribed: Collection[str] = (),
    ) -> list[TopicPartition]:
        """Forget what nobody has asked to keep; returns those partitions.

        Args:
            base_ms: from when the retention counts; ignored where the client gave an expiry itself.
            subscribed: topics that are in use, whose offsets stay.
        """
        expired = [
            tp
            for tp, stored in self.stored.items()
            if tp.topic not in subscribed
            and tp not in self.pending
            and _has_expired(commit_of(stored), now_ms, retention_ms, base_ms)
        ]
        for tp in expired:
            del self.stored[tp]
        return expired


def _has_expired(
    commit: CommittedOffset, now_ms: int, retention_ms: int, base_ms: Callable[[CommittedOffset], int]
) -> bool:
    if commit.expire_timestamp_ms is None:
        return now_ms - base_ms(commit) >= retention_ms
    return now_ms >= commit.expire_timestamp_ms
