"""One segment: a ``.log`` file with its indexes, from the first append until it is dropped.

A segment reads its indexes when it first needs them, and forgets them when the shared cache says so; what
it always keeps is its size and, once known, its largest timestamp.
"""

from collections.abc import Iterable, Iterator

from pybroker.model.ids import Offset
from pybroker.model.values import State
from pybroker.records.header import BatchHeader
from pybroker.records.layout import LOG_OVERHEAD_BYTES
from pybroker.storage import names
from pybroker.storage.batch_scan import scan_headers
from pybroker.storage.context import StorageContext
from pybroker.storage.files import Data
from pybroker.storage.handles import FileHandle, FileSlice, join
from pybroker.storage.offset_index import ENTRY_BYTES as OFFSET_ENTRY_BYTES
from pybroker.storage.offset_index import OffsetIndex
from pybroker.storage.time_index import ENTRY_BYTES as TIME_ENTRY_BYTES
from pybroker.storage.time_index import NO_TIMESTAMP, TimeIndex
from pybroker.storage.transaction_index import TransactionIndex

MAX_RELATIVE_OFFSET = 0x7FFFFFFF


class LogPlace(State, eq=False):
    """Where a log lives. Shared by its segments, so that renaming the directory is one assignment."""

    path: str


class Segment:
    """One segment. Written only by its log; ``size`` counts the bytes that belong to it."""

    __slots__ = (
        "_context",
        "_max_offset_bytes",
        "_max_time_bytes",
        "_max_timestamp",
        "_max_timestamp_offset",
        "_offset_index",
        "_place",
        "_pwrite",
        "_time_index",
        "aborted",
        "base_offset",
        "bytes_since_index",
        "created_ms",
        "first_timestamp",
        "handle",
        "index_interval",
        "index_is_full",
        "indexes_recently_used",
        "size",
    )

    def __init__(
        self,
        place: LogPlace,
        base_offset: Offset,
        context: StorageContext,
        *,
        size: int = 0,
        index_interval: int = 4096,
        index_bytes: int = 10 << 20,
    ) -> None:
        self._place = place
        self._context = context
        self._pwrite = context.files.pwrite
        self.index_interval = index_interval
        # Kafka keeps the last slot of the time index for the entry that sealing forces.
        self._max_offset_bytes = index_bytes - index_bytes % OFFSET_ENTRY_BYTES
        self._max_time_bytes = index_bytes - index_bytes % TIME_ENTRY_BYTES - TIME_ENTRY_BYTES
        self.index_is_full = False
        self.base_offset = base_offset
        self.size = size
        self.handle: FileHandle | None = None
        self._offset_index: OffsetIndex | None = None
        self._time_index: TimeIndex | None = None
        self._max_timestamp: int | None = None
        self._max_timestamp_offset = base_offset
        self.first_timestamp: int | None = None
        self.bytes_since_index = 0
        self.created_ms = 0
        self.aborted = TransactionIndex(context.files, self.path, base_offset)
        self.indexes_recently_used = True

    # -- files

    def path(self, suffix: str = names.LOG) -> str:
        """Where one of this segment's files is now."""
        return join(self._place.path, names.segment_file(self.base_offset, suffix))

    def create(self, now_ms: int) -> None:
        """Makes the empty ``.log``; the index files follow with their first flush."""
        self.created_ms = now_ms
        self.reset_indexes()
        handle = self._context.handles.open(self.path(), self, create=True)
        # Not for nothing: ext4 writes out all of a file that was ever cut to nothing when it is closed.
        if self._context.files.size(self.path()):
            self._context.files.truncate(handle.fd, 0)
        self._context.index_cache.loaded(self)

    def open_handle(self) -> FileHandle:
        """The descriptor of the ``.log``, opened if the pool had taken it back."""
        handle = self.handle
        if handle is None:
            return self._context.handles.open(self.path(), self)
        handle.recently_used = True
        return handle

    def slice(self, position: int, size: int) -> FileSlice:
        """A counted view of a stretch of the ``.log``."""
        return FileSlice(self._context.files, self.open_handle(), position, size)

    def read(self, position: int, size: int) -> bytes:
        """Bytes of the ``.log``; fewer only at the end of the file."""
        return self._context.files.pread(self.open_handle().fd, size, position)

    def modified_ms(self) -> int:
        """When the ``.log`` was last written, by the filesystem."""
        return self._context.files.modified_ms(self.path())

    def close_handle(self) -> None:
        """Lets the descriptor go; readers that hold a slice keep it open."""
        self._context.handles.discard(self)

    # -- indexes

    @property
    def offset_index(self) -> OffsetIndex:
        """The offset index, read or rebuilt if it is not in memory."""
        index = self._offset_index
        if index is None:
            self._load_indexes()
            index = self._offset_index
            assert index is not None
        self.indexes_recently_used = True
        return index

    @property
    def time_index(self) -> TimeIndex:
        """The time index, read or rebuilt if it is not in memory."""
        index = self._time_index
        if index is None:
            self._load_indexes()
            index = self._time_index
            assert index is not None
        self.indexes_recently_used = True
        return index

    def _load_indexes(self) -> None:
        files = self._context.files
        try:
            offsets = OffsetIndex.parse(self.base_offset, files.read_bytes(self.path(names.INDEX)), self.size)
            times = TimeIndex.parse(self.base_offset, files.read_bytes(self.path(names.TIME_INDEX)))
        except FileNotFoundError:
            offsets = times = None
        if offsets is None or times is None:
            self.rebuild_indexes()
            self.write_indexes()
        else:
            self._offset_index, self._time_index = offsets, times
        self._context.index_cache.loaded(self)

    def rebuild_indexes(self) -> None:
        """Makes both indexes anew from the batch headers; the batches themselves are trusted."""
        self.reset_indexes()
        for position, header in self.headers(0):
            self.note_batch(position, header.size_in_bytes, header.last_offset, header.max_timestamp)
        self.time_index.maybe_append(*self.max_timestamp_and_offset)

    def reset_indexes(self) -> None:
        """Forgets all that was ever indexed; every batch must be noted again."""
        self._offset_index, self._time_index = OffsetIndex(self.base_offset), TimeIndex(self.base_offset)
        self._offset_index.persisted = self._time_index.persisted = -1
        self._max_timestamp, self._max_timestamp_offset = NO_TIMESTAMP, self.base_offset
        self.bytes_since_index = 0

    def drop_indexes(self) -> None:
        """Forgets the images; they must be persisted."""
        self._offset_index = self._time_index = None

    @property
    def index_bytes_in_memory(self) -> int:
        """What the loaded indexes take."""
        offsets, times = self._offset_index, self._time_index
        return (len(offsets.entries) if offsets is not None else 0) + (
            len(times.entries) if times is not None else 0
        )

    @property
    def indexes_are_persisted(self) -> bool:
        """Whether the files hold all that is in memory."""
        offsets, times = self._offset_index, self._time_index
        return (offsets is None or offsets.persisted == len(offsets.entries)) and (
            times is None or times.persisted == len(times.entries)
        )

    def write_indexes(self, *, final: bool = False) -> None:
        """Appends new entries to the index files.

        Args:
            final: forces the largest timestamp in first, as sealing and closing do.
        """
        self.aborted.write_pending()
        if final and self._max_timestamp is not None:
            self.time_index.maybe_append(self._max_timestamp, self._max_timestamp_offset)
        if self._offset_index is None or self._time_index is None:
            return
        self._write_index(self._offset_index, names.INDEX)
        self._write_index(self._time_index, names.TIME_INDEX)

    def _write_index(self, index: OffsetIndex | TimeIndex, suffix: str) -> None:
        files = self._context.files
        total = len(index.entries)
        if index.persisted == total:
            return
        path = self.path(suffix)
        if index.persisted < 0:
            files.write_bytes(path, index.entries)
        else:
            fd = files.open(path, create=True)
            try:
                files.write_all(fd, index.entries[index.persisted :], index.persisted)
            finally:
                files.close(fd)
        index.persisted = total

    @property
    def max_timestamp(self) -> int:
        """The largest timestamp in the segment in ms, -1 when empty or unknown."""
        return self.max_timestamp_and_offset[0]

    @property
    def max_timestamp_and_offset(self) -> tuple[int, Offset]:
        """The largest timestamp and the last offset of the batch that holds it."""
        if self._max_timestamp is None:
            timestamp, offset = self._last_time_entry()
            if self._max_timestamp is None:
                self._max_timestamp, self._max_timestamp_offset = timestamp, offset
        return self._max_timestamp, self._max_timestamp_offset

    def largest_timestamp_ms(self) -> int:
        """The largest timestamp, or when no record has one the time of the file's last change."""
        timestamp = self.max_timestamp
        return timestamp if timestamp >= 0 else self._context.files.modified_ms(self.path())

    def _last_time_entry(self) -> tuple[int, Offset]:
        return self.time_index.last()

    # -- append

    def append(self, data: Data, size: int, last_offset: Offset, max_timestamp: int) -> None:
        """Writes one batch at the end and indexes it when an entry is due.

        Raises:
            OSError: nothing of the batch is in the segment.
        """
        position = self.write(data, size)
        if position == 0:
            self.first_timestamp = max_timestamp
        self.note_batch(position, size, last_offset, max_timestamp)

    def append_run(self, data: Data, headers: Iterable[BatchHeader]) -> None:
        """Writes consecutive batches at once; otherwise as :meth:`append`."""
        position = self.write(data, len(data))
        for header in headers:
            if position == 0:
                self.first_timestamp = header.max_timestamp
            size = header.batch_length + LOG_OVERHEAD_BYTES
            self.note_batch(position, size, header.last_offset, header.max_timestamp)
            position += size

    def write(self, data: Data, size: int) -> int:
        """Puts bytes at the end and returns their position; each batch must be noted next.

        Raises:
            OSError: nothing of them is in the segment.
        """
        if self._max_timestamp is None or self._offset_index is None:
            # Read now: once the bytes are there, nothing may fail any more.
            self._load_for_append()
        position = self.size
        handle = self.handle
        if handle is None:
            handle = self.open_handle()
        handle.recently_used = True
        try:
            written = self._pwrite(handle.fd, data, position)
        except OSError:
            self._cut_back(position)
            raise
        if written != size:
            self._finish_write(handle, data, position, written, size)
        self.size = position + size
        return position

    def _load_for_append(self) -> None:
        if self._offset_index is None:
            self._load_indexes()
        self._max_timestamp, self._max_timestamp_offset = self.max_timestamp_and_offset

    def note_batch(self, position: int, size: int, last_offset: Offset, max_timestamp: int) -> None:
        """Indexes a batch that is in the file, when an entry is due."""
        known = self._max_timestamp
        assert known is not None
        if max_timestamp > known:
            self._max_timestamp = known = max_timestamp
            self._max_timestamp_offset = last_offset
        if self.bytes_since_index > self.index_interval:
            offsets, times = self._offset_index, self._time_index
            if offsets is None or times is None:
                offsets, times = self.offset_index, self.time_index
            self.indexes_recently_used = True
            offsets.append(last_offset, position)
            if known > times.last_timestamp:
                times.maybe_append(known, self._max_timestamp_offset)
            self.bytes_since_index = 0
            self.index_is_full = (
                len(offsets.entries) >= self._max_offset_bytes or len(times.entries) >= self._max_time_bytes
            )
        self.bytes_since_index += size

    def note_run(self, size: int, last_offset: Offset, max_timestamp: int) -> None:
        """Notes batches of which none is due for an entry.

        Args:
            size: bytes of all of them, with those noted since the last entry at most ``index_interval``, the
                last batch aside.
            last_offset: of the first batch with the largest timestamp.
        """
        known = self._max_timestamp
        assert known is not None
        if max_timestamp > known:
            self._max_timestamp, self._max_timestamp_offset = max_timestamp, last_offset
        self.bytes_since_index += size

    def _finish_write(self, handle: FileHandle, data: Data, position: int, written: int, size: int) -> None:
        """A short write is a full disk about to show itself, or a signal: the rest goes in one more try."""
        try:
            self._context.files.write_all(handle.fd, memoryview(data)[written:size], position + written)
        except OSError:
            self._cut_back(position)
            raise

    def _cut_back(self, size: int) -> None:
        # If even this fails the bytes beyond ``size`` are not part of the segment: the next append
        # overwrites them, and recovery drops them unless a whole valid batch got there.
        try:
            self._context.files.truncate(self.open_handle().fd, size)
        except OSError:
            return

    # -- look-up

    def headers(self, position: int, end: int | None = None) -> Iterator[tuple[int, BatchHeader]]:
        """(position, header) of the batches from a batch position on."""
        end = self.size if end is None else min(end, self.size)
        return scan_headers(self._context.files.pread, self.open_handle().fd, position, end)

    def locate(self, offset: Offset) -> tuple[int, BatchHeader] | None:
        """Position and header of the first batch that ends at or after ``offset``; None beyond the end."""
        for position, header in self.headers(self.offset_index.position_for(offset)):
            if header.base_offset + header.last_offset_delta >= offset:
                return position, header
        return None

    def boundary_before(self, position: int, start: int, start_offset: Offset) -> tuple[int, Offset]:
        """The last batch boundary that is not beyond ``position``, and the offset that follows it.

        Args:
            position: smaller than the segment's size.
            start: a boundary not beyond ``position``.
            start_offset: the offset that follows ``start``.
        """
        boundary, offset = start, start_offset
        for found, header in self.headers(max(start, self.offset_index.position_before(position))):
            boundary, offset = found, header.base_offset
            if found + header.size_in_bytes > position:
                break
        return boundary, offset

    def read_next_offset(self) -> Offset:
        """The offset after the last batch, found by scanning from the last index entry."""
        next_offset = self.base_offset
        for _position, header in self.headers(self.offset_index.last_position()):
            next_offset = header.next_offset
        return next_offset

    def first_batch_timestamp(self) -> int:
        """The largest timestamp of the first batch, which times the roll; -1 when there is none."""
        if self.first_timestamp is None:
            found = next(self.headers(0), None)
            if found is None:
                return NO_TIMESTAMP
            self.first_timestamp = found[1].max_timestamp
        return self.first_timestamp

    # -- change as a whole

    def truncate_to(self, offset: Offset, now_ms: int) -> Offset:
        """Drops every batch that reaches ``offset`` or lies beyond; returns the offset at which the log ends
        then, which is smaller than ``offset`` only if that was inside a batch."""
        located = self.locate(offset)
        offsets, times = self.offset_index, self.time_index
        offsets.truncate_to(offset)
        times.truncate_to(offset)
        self.aborted.truncate_to(offset)
        end = offset
        if located is not None:
            end = min(offset, located[1].base_offset)
            self._context.files.truncate(self.open_handle().fd, located[0])
            self.size = located[0]
        if self.size == 0:
            self.created_ms = now_ms
            self.first_timestamp = None
        self.bytes_since_index = 0
        self._max_timestamp, self._max_timestamp_offset = self._largest_timestamp()
        return end

    def _largest_timestamp(self) -> tuple[int, Offset]:
        timestamp, offset = self.time_index.last()
        for _position, header in self.headers(self.offset_index.position_for(offset)):
            if header.max_timestamp > timestamp:
                timestamp, offset = header.max_timestamp, header.last_offset
        return timestamp, offset

    def rename_files(self, before: str, after: str) -> None:
        """Renames the files that carry the suffix ``before`` to carry ``after`` instead; the ``.log`` first.

        The files of one name must not be those that this segment reads at present.
        """
        files = self._context.files
        for suffix in names.SEGMENT_SUFFIXES:
            path = self.path(suffix)
            if files.exists(path + before):
                files.rename(path + before, path + after)

    def rename_to_deleted(self) -> list[str]:
        """Renames the segment's files to ``.deleted``; returns the paths to unlink later."""
        files, renamed = self._context.files, []
        for suffix in names.SEGMENT_SUFFIXES:
            path = self.path(suffix)
            if files.exists(path):
                files.rename(path, path + names.DELETED)
                renamed.append(path + names.DELETED)
        self.drop_indexes()
        self.close_handle()
        return renamed

    def sync_paths(self) -> list[str]:
        """The files that a flush must make durable."""
        suffixes = names.SEGMENT_SUFFIXES if self.aborted.exists else names.SEGMENT_SUFFIXES[:3]
        return [self.path(suffix) for suffix in suffixes]

    def __repr__(self) -> str:
        return f"Segment(base_offset={self.base_offset}, size={self.size})"
