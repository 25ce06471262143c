"""The segments of a log in order, and everything that is looked up across them."""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from operator import attrgetter
from typing import NamedTuple

from pybroker.model.ids import Offset
from pybroker.records.header import BatchHeader
from pybroker.storage.handles import FileSlice
from pybroker.storage.lookup import TimestampOffset, find_in_segment, find_largest
from pybroker.storage.segment import Segment
from pybroker.storage.transaction_index import AbortedTransaction, collect_aborted

HINTS = 16
_base_offset = attrgetter("base_offset")


class LogRead(NamedTuple):
    """What a read found. ``slice`` is None when there is nothing; its reader must release it."""

    slice: FileSlice | None
    first_offset: Offset
    """Base offset of the first batch, which may lie before the offset asked for; that offset when empty."""
    end_offset: Offset = -1
    """Offset after the last batch found (exclusive): what aborted transactions are to be looked up for."""
    first_batch_incomplete: bool = False
    """A batch is there, but it is larger than what was asked for."""

    @property
    def size_in_bytes(self) -> int:
        """Bytes found."""
        return 0 if self.slice is None else self.slice.size


class Segments:
    """Never empty once the log is open; the last one is active. Written only by its log."""

    __slots__ = ("_all", "_bases", "_hints", "_largest_so_far", "_with_aborted", "active", "sealed_bytes")

    def __init__(self, segments: Iterable[Segment]) -> None:
        self._all: list[Segment] = []
        self._bases: list[Offset] = []
        self._largest_so_far: list[int] = []
        self._hints: dict[Offset, tuple[int, int]] = {}
        self._with_aborted: list[Segment] = []
        self.sealed_bytes = 0
        self.replace_all(segments)

    def __len__(self) -> int:
        return len(self._all)

    def __iter__(self) -> Iterator[Segment]:
        return iter(self._all)

    @property
    def first(self) -> Segment:
        """The oldest."""
        return self._all[0]

    @property
    def size_in_bytes(self) -> int:
        """Bytes of all ``.log`` files."""
        return self.sealed_bytes + self.active.size

    def replace_all(self, segments: Iterable[Segment]) -> None:
        """Takes these segments, in order, instead of the present ones."""
        self._all = list(segments)
        self._bases = [segment.base_offset for segment in self._all]
        self._largest_so_far = []
        self._hints = {}
        self._with_aborted = [segment for segment in self._all if segment.aborted]
        self.active = self._all[-1]
        self.sealed_bytes = sum(segment.size for segment in self._all[:-1])

    def add(self, segment: Segment) -> None:
        """Makes ``segment`` the active one; the one before is sealed."""
        self.sealed_bytes += self.active.size
        self._all.append(segment)
        self._bases.append(segment.base_offset)
        self.active = segment

    def from_offset(self, offset: Offset) -> list[Segment]:
        """The segment that holds ``offset`` and all later ones."""
        return self._all[max(0, bisect_right(self._bases, offset) - 1) :]

    def end_of(self, number: int, log_end_offset: Offset) -> Offset:
        """The offset at which the next segment begins, or the log ends."""
        return self._bases[number + 1] if number + 1 < len(self._bases) else log_end_offset

    def read(
        self, offset: Offset, max_bytes: int, max_offset: Offset, log_end_offset: Offset, min_one_batch: bool
    ) -> LogRead:
        """Whole batches from the one that holds ``offset``, of one segment, below ``max_offset``."""
        found = self._find(offset)
        if found is None:
            return LogRead(None, offset, offset)
        number, start, header = found
        segment = self._all[number]
        limit, end_offset = segment.size, self.end_of(number, log_end_offset)
        if max_offset < end_offset:
            bound = segment.locate(max_offset)
            if bound is not None:
                limit, end_offset = bound[0], bound[1].base_offset
        if start >= limit:
            return LogRead(None, offset, offset)
        first_size = header.size_in_bytes
        end = start + max_bytes
        if first_size > max_bytes:
            if not min_one_batch:
                return LogRead(None, header.base_offset, offset, first_batch_incomplete=True)
            end, end_offset = start + first_size, header.next_offset
        elif end < limit:
            end, end_offset = segment.boundary_before(end, start + first_size, header.next_offset)
        else:
            end = limit
        self._hint(end_offset, number, end)
        return LogRead(segment.slice(start, end - start), header.base_offset, end_offset)

    def _find(self, offset: Offset) -> tuple[int, int, BatchHeader] | None:
        """Segment number, position and header of the batch that holds ``offset`` or of the next one."""
        hint = self._hints.get(offset)
        if hint is not None:
            number, position = hint
            for _position, header in self._all[number].headers(position):
                return number, position, header
        number = bisect_right(self._bases, offset) - 1
        while number < len(self._all):
            segment = self._all[number]
            located = segment.locate(max(offset, segment.base_offset))
            if located is not None:
                return number, *located
            number += 1
        return None

    def _hint(self, offset: Offset, number: int, position: int) -> None:
        """Remembers where the next read of a consumer that reads on will begin."""
        hints = self._hints
        if len(hints) >= HINTS:
            del hints[next(iter(hints))]
        hints[offset] = number, position

    def find_timestamp(self, timestamp: int, start_offset: Offset) -> TimestampOffset | None:
        """The first record from ``start_offset`` on with at least that timestamp. O(log segments)."""
        largest = self._largest_so_far
        for segment in self._all[len(largest) : -1]:
            largest.append(max(segment.max_timestamp, largest[-1] if largest else -1))
        # A record before the log start does not count, so the first hit may have to be passed over.
        for segment in self._all[bisect_left(largest, timestamp) :]:
            if segment.max_timestamp >= timestamp:
                found = find_in_segment(segment, timestamp, start_offset)
                if found is not None:
                    return found
        return None

    def largest_timestamp(self) -> TimestampOffset | None:
        """The first record with the largest timestamp; None when there is none."""
        return find_largest(self._all)

    def note_aborted(self) -> None:
        """A transaction was aborted in the active segment."""
        if not self._with_aborted or self._with_aborted[-1] is not self.active:
            self._with_aborted.append(self.active)

    def aborted(self, start: Offset, end: Offset) -> list[AbortedTransaction]:
        """The aborted transactions that a reader of [start, end) must know."""
        found: list[AbortedTransaction] = []
        first = self._bases[max(0, bisect_right(self._bases, start) - 1)]
        for segment in self._with_aborted[bisect_left(self._with_aborted, first, key=_base_offset) :]:
            more, complete = collect_aborted(segment.aborted.entries(), start, end)
            found += more
            if complete:
                break
        return found

    def take_first(self, count: int) -> list[Segment]:
        """Takes the oldest ``count`` out; at least one must stay."""
        taken = self._all[:count]
        self.replace_all(self._all[count:])
        return taken

    def replace(self, old: Sequence[Segment], new: Segment) -> None:
        """Puts ``new`` in the place of consecutive sealed segments.

        Raises:
            ValueError: they are not, or no longer, what stands there.
        """
        start = bisect_left(self._bases, old[0].base_offset)
        end = start + len(old)
        if end >= len(self._all) or self._all[start:end] != list(old):
            raise ValueError("these segments are not sealed segments of this log")
        self.replace_all([*self._all[:start], new, *self._all[end:]])

    def take_beyond(self, offset: Offset) -> list[Segment]:
        """Takes out the segments that begin after ``offset``; at least one stays, which may be cut then."""
        keep = max(1, bisect_right(self._bases, offset))
        taken = self._all[keep:]
        # Also when none is taken: the active one is about to be cut, and what is remembered of it is void.
        self.replace_all(self._all[:keep])
        return taken
