"""One clean of one log: files in, files out. Nothing that belongs to the broker is touched.

First all keys of the dirty part go into the offset map; then every segment, clean ones too, is copied without
what the map says is obsolete. When the map is full the rest of the log is left to the next clean.
Source: ``Cleaner`` of Kafka 3.9.
"""

from collections.abc import Callable, Iterator

from pybroker.model.ids import Offset
from pybroker.records.errors import InvalidRecords
from pybroker.records.header import BatchHeader
from pybroker.records.layout import LOG_OVERHEAD_BYTES
from pybroker.storage import names
from pybroker.storage.batch_scan import batch_is_valid, header_at
from pybroker.storage.cleaning.batch_filter import BatchFilter, CleanStats, KeptBatch, keys_of
from pybroker.storage.cleaning.grouping import SegmentSizes, group_segments
from pybroker.storage.cleaning.job import Answer, Cleaned, CleanedGroup, CleanJob, DamagedLog
from pybroker.storage.cleaning.offset_map import BYTES_PER_SLOT, OffsetMap
from pybroker.storage.cleaning.transactions import TransactionsSeen
from pybroker.storage.context import StorageContext
from pybroker.storage.errors import CorruptRecords
from pybroker.storage.files import Files
from pybroker.storage.handles import join
from pybroker.storage.recovery import sync_file
from pybroker.storage.segment import LogPlace, Segment

LEAST_READ_BYTES = 4096
WRITE_BYTES = 1 << 20

Throttle = Callable[[int], None]
"""Told of bytes that were read or written; waits when they were too many."""


def run_job(job: CleanJob, files: Files, throttle: Throttle = lambda _bytes: None) -> Iterator[Answer]:
    """Cleans, one answer a group and one at the end. A group may be swapped in before the next is asked
    for."""
    try:
        yield from _Clean(job, files, throttle).run()
    except OSError as error:
        yield error
    except (CorruptRecords, InvalidRecords) as error:
        yield DamagedLog(str(error))


class CleanedSegment(Segment):
    """A segment that is being written; its files carry the ``.cleaned`` suffix."""

    __slots__ = ()

    def path(self, suffix: str = names.LOG) -> str:
        return super().path(suffix) + names.CLEANED

    def remove(self, files: Files) -> None:
        """Removes what an earlier clean, or a damaged one, has left."""
        self.close_handle()
        for suffix in names.SEGMENT_SUFFIXES:
            files.unlink_if_exists(self.path(suffix))


class _Clean:
    def __init__(self, job: CleanJob, files: Files, throttle: Throttle) -> None:
        self._job = job
        self._files = files
        self._throttle = throttle
        self._context = StorageContext(now_ms=lambda: job.now_ms, files=files, handle_limit=8)
        ends = [*(base for base, _size in job.segments[1:]), job.first_uncleanable_offset]
        self._ends = {base: end for (base, _size), end in zip(job.segments, ends, strict=False)}
        self._stats = CleanStats()
        self._read_bytes = max(LEAST_READ_BYTES, job.limits.buffer_bytes)

    def run(self) -> Iterator[Answer]:
        job = self._job
        offsets = self._build_map()
        end_offset = offsets.latest_offset + 1
        sizes = [self._sizes(base, size) for base, size in job.segments if base < end_offset]
        groups = group_segments(
            sizes,
            max_bytes=job.config.segment_bytes,
            max_index_bytes=job.config.segment_index_bytes,
            first_uncleanable_offset=job.first_uncleanable_offset,
        )
        keeping = BatchFilter(
            offsets,
            TransactionsSeen(job.aborted),
            job.last_writes,
            job.now_ms,
            job.config.delete_retention_ms,
            self._stats,
        )
        legacy_horizon_ms = self._legacy_horizon_ms()
        for group in groups:
            yield self._clean_group(group, keeping, legacy_horizon_ms)
        yield Cleaned(end_offset, self._stats, offsets.utilization)

    # -- the map

    def _build_map(self) -> OffsetMap:
        job = self._job
        first, end = job.first_dirty_offset, job.first_uncleanable_offset
        limits = job.limits
        # Each record may be a new key; more slots than these are of no use.
        useful = int((end - first + 2) / limits.map_load_factor + 2) * BYTES_PER_SLOT
        offsets = OffsetMap(min(limits.map_bytes, useful), limits.map_load_factor)
        offsets.latest_offset = first - 1
        transactions = TransactionsSeen(job.aborted)
        for base, size in job.segments:
            if self._ends[base] <= first:
                continue
            for header, batch in self._batches(base, size):
                has_keys = not transactions.see(header, batch) and not header.is_control
                if header.last_offset < first:
                    continue
                if has_keys and not _put_keys(offsets, header, batch, first):
                    return offsets
                offsets.latest_offset = header.last_offset
            # Offsets without a record are known as well: they have no keys.
            offsets.latest_offset = self._ends[base] - 1
        return offsets

    # -- copying

    def _sizes(self, base: Offset, size: int) -> SegmentSizes:
        indexes = [
            self._files.size(path) if self._files.exists(path) else 0
            for path in (self._path(base, names.INDEX), self._path(base, names.TIME_INDEX))
        ]
        return SegmentSizes(base, size, *indexes)

    def _path(self, base: Offset, suffix: str) -> str:
        return join(self._job.directory, names.segment_file(base, suffix))

    def _legacy_horizon_ms(self) -> int:
        """Formats without a delete horizon lose their tombstones by the age of their segment's file."""
        clean = [base for base, _size in self._job.segments if base < self._job.first_dirty_offset]
        if not clean:
            return 0
        modified_ms = self._files.modified_ms(self._path(clean[-1], names.LOG))
        return modified_ms - self._job.config.delete_retention_ms

    def _clean_group(
        self, group: list[SegmentSizes], keeping: BatchFilter, legacy_horizon_ms: int
    ) -> CleanedGroup:
        files, config = self._files, self._job.config
        target = CleanedSegment(
            LogPlace(self._job.directory),
            group[0].base_offset,
            self._context,
            index_interval=config.index_interval_bytes,
            index_bytes=config.segment_index_bytes,
        )
        target.remove(files)
        target.create(self._job.now_ms)
        modified_ms = [files.modified_ms(self._path(one.base_offset, names.LOG)) for one in group]
        try:
            for segment, modified in zip(group, modified_ms, strict=True):
                self._copy(segment, target, keeping, keeps_legacy_deletes=modified > legacy_horizon_ms)
            for entry in keeping.transactions.retained:
                target.aborted.append(entry)
            keeping.transactions.retained.clear()
            target.write_indexes(final=True)
            for suffix in names.SEGMENT_SUFFIXES:
                sync_file(files, target.path(suffix))
            files.set_modified_ms(target.path(), modified_ms[-1])
        finally:
            target.close_handle()
        return CleanedGroup([one.base_offset for one in group], target.size, target.aborted.exists)

    def _copy(
        self, source: SegmentSizes, target: Segment, keeping: BatchFilter, *, keeps_legacy_deletes: bool
    ) -> None:
        kept: list[KeptBatch] = []
        waiting = 0
        for header, batch in self._batches(source.base_offset, source.log):
            one = keeping.filter(header, batch, keeps_legacy_deletes=keeps_legacy_deletes)
            if one is not None:
                kept.append(one)
                waiting += len(one.data)
            if waiting >= WRITE_BYTES:
                self._write(target, kept, waiting)
                kept, waiting = [], 0
        if kept:
            self._write(target, kept, waiting)

    def _write(self, target: Segment, kept: list[KeptBatch], size: int) -> None:
        position = target.write(b"".join(one.data for one in kept), size)
        for one in kept:
            target.note_batch(position, len(one.data), one.last_offset, one.max_timestamp)
            position += len(one.data)
        self._throttle(size)

    # -- reading

    def _batches(self, base: Offset, size: int) -> Iterator[tuple[BatchHeader, bytes]]:
        """Every batch of a segment.

        Raises:
            CorruptRecords: a batch is damaged, or the file is shorter than it was.
        """
        path = self._path(base, names.LOG)
        fd = self._files.open(path)
        try:
            position, wanted, next_offset = 0, self._read_bytes, base
            while position < size:
                wanted = min(wanted, size - position)
                chunk = self._files.pread(fd, wanted, position)
                if len(chunk) < wanted:
                    raise CorruptRecords(f"{path} is shorter than it was")
                self._throttle(wanted)
                used = 0
                while (found := _whole_batch(chunk, used)) is not None:
                    header, batch = found
                    # Offsets are outside the CRC; of old messages a wrapper has that of its last.
                    is_in_place = next_offset <= header.base_offset and header.last_offset < self._ends[base]
                    if not is_in_place or not batch_is_valid(header, memoryview(batch)):
                        raise CorruptRecords(f"{path}: the batch at position {position + used} is damaged")
                    next_offset = header.next_offset
                    yield header, batch
                    used += len(batch)
                wanted = self._read_bytes if used else self._enough(path, chunk, position, size)
                position += used
        finally:
            self._files.close(fd)

    @staticmethod
    def _enough(path: str, chunk: bytes, position: int, size: int) -> int:
        """How much must be read for the next batch to be whole."""
        header = header_at(chunk, 0)
        wanted = 2 * len(chunk) if header is None else LOG_OVERHEAD_BYTES + header.batch_length
        if wanted <= len(chunk) or wanted > size - position:
            raise CorruptRecords(f"{path}: the batch at position {position} is cut")
        return wanted


def _put_keys(offsets: OffsetMap, header: BatchHeader, batch: bytes, first: Offset) -> bool:
    """Puts the keys of a batch into the map; False when it is full before they are all in."""
    for offset, key in keys_of(header, batch):
        if key is not None and offset >= first:
            if offsets.is_full:
                return False
            offsets.put(key, offset)
    return True


def _whole_batch(chunk: bytes, position: int) -> tuple[BatchHeader, bytes] | None:
    header = header_at(chunk, position)
    if header is None:
        return None
    end = position + LOG_OVERHEAD_BYTES + header.batch_length
    return (header, chunk[position:end]) if end <= len(chunk) else None
