"""Which leader epoch began at which offset, and where each one ended. Source: KIP-101, KIP-279, KIP-320."""

from bisect import bisect_right
from collections.abc import Iterable
from typing import NamedTuple

from pybroker.model.ids import NO_LEADER_EPOCH, UNKNOWN_OFFSET, LeaderEpoch, Offset


class EpochEntry(NamedTuple):
    """An epoch and the first offset that its leader wrote, or would have written."""

    epoch: LeaderEpoch
    start_offset: Offset


class EpochEndOffset(NamedTuple):
    """The largest epoch up to the one asked for, and the offset after its last record; (-1, -1) if
    unknown."""

    epoch: LeaderEpoch
    end_offset: Offset


UNKNOWN_EPOCH_END = EpochEndOffset(NO_LEADER_EPOCH, UNKNOWN_OFFSET)


class LeaderEpochs:
    """The epochs of one partition, increasing in epoch and in offset. ``dirty`` until written to the
    checkpoint."""

    __slots__ = ("_entries", "dirty", "latest")

    def __init__(self, entries: Iterable[EpochEntry] = ()) -> None:
        self._entries = sorted(entries)
        self.dirty = False
        self.latest: LeaderEpoch = self._entries[-1].epoch if self._entries else NO_LEADER_EPOCH

    @property
    def entries(self) -> tuple[EpochEntry, ...]:
        """All entries, oldest first."""
        return tuple(self._entries)

    def assign(self, epoch: LeaderEpoch, start_offset: Offset) -> bool:
        """Notes that ``epoch`` begins at ``start_offset``; entries that contradict it go. True if it was
        news."""
        entries = self._entries
        if entries and entries[-1].epoch == epoch and start_offset >= entries[-1].start_offset:
            return False
        while entries and (entries[-1].epoch >= epoch or entries[-1].start_offset >= start_offset):
            entries.pop()
        entries.append(EpochEntry(epoch, start_offset))
        self._changed()
        return True

    def end_offset_for(self, epoch: LeaderEpoch, log_end_offset: Offset) -> EpochEndOffset:
        """Where ``epoch`` ended; for the latest one the log end, for an unknown one what is nearest below
        it."""
        if epoch == NO_LEADER_EPOCH or not self._entries:
            return UNKNOWN_EPOCH_END
        if epoch == self.latest:
            return EpochEndOffset(epoch, log_end_offset)
        if epoch > self.latest:
            return UNKNOWN_EPOCH_END
        above = bisect_right(self._entries, epoch, key=lambda entry: entry.epoch)
        end_offset = self._entries[above].start_offset
        return EpochEndOffset(epoch if above == 0 else self._entries[above - 1].epoch, end_offset)

    def epoch_for(self, offset: Offset) -> LeaderEpoch:
        """The epoch that wrote ``offset``; -1 when it is before the first entry."""
        slot = bisect_right(self._entries, offset, key=lambda entry: entry.start_offset)
        return self._entries[slot - 1].epoch if slot else NO_LEADER_EPOCH

    def truncate_from_end(self, end_offset: Offset) -> None:
        """Drops the epochs that begin at or after ``end_offset``."""
        dropped = False
        while self._entries and self._entries[-1].start_offset >= end_offset >= 0:
            self._entries.pop()
            dropped = True
        if dropped:
            self._changed()

    def truncate_from_start(self, start_offset: Offset) -> None:
        """Drops the epochs that ended before ``start_offset``; the one that holds it begins there from now
        on."""
        slot = bisect_right(self._entries, start_offset, key=lambda entry: entry.start_offset)
        if slot == 0:
            return
        first = EpochEntry(self._entries[slot - 1].epoch, start_offset)
        if slot > 1 or self._entries[0] != first:
            self._entries[:slot] = [first]
            self._changed()

    def clear(self) -> None:
        """Forgets all epochs."""
        if self._entries:
            self._entries.clear()
            self._changed()

    def _changed(self) -> None:
        self.dirty = True
        self.latest = self._entries[-1].epoch if self._entries else NO_LEADER_EPOCH
