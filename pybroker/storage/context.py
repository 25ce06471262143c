"""What every log of a broker shares: files, descriptors, cached indexes, the clock and the waste basket."""

import heapq
from collections import deque
from collections.abc import Callable
from random import Random
from typing import TYPE_CHECKING

from msgspec import field

from pybroker.model.ids import TopicPartition
from pybroker.model.values import State
from pybroker.storage.files import Files, system_files
from pybroker.storage.handles import HandlePool, default_handle_limit
from pybroker.storage.names import DELETED

if TYPE_CHECKING:
    from pybroker.storage.log import Log
    from pybroker.storage.segment import Segment

INDEX_CACHE_BYTES = 64 << 20


class IndexCache:
    """Bounds the memory of loaded indexes: second chance, by bytes. Indexes with unwritten entries stay."""

    def __init__(self, max_bytes: int = INDEX_CACHE_BYTES) -> None:
        self._max_bytes = max_bytes
        self._loaded: deque[Segment] = deque()
        self._bytes = 0

    def loaded(self, segment: "Segment") -> None:
        """Tells that a segment has just read its indexes."""
        self._loaded.append(segment)
        self._bytes += segment.index_bytes_in_memory
        if self._bytes > self._max_bytes:
            self._evict()

    def sealed(self, segment: "Segment") -> None:
        """Tells that a segment's indexes have stopped growing."""
        self._bytes += segment.index_bytes_in_memory
        if self._bytes > self._max_bytes:
            self._evict()

    def _evict(self) -> None:
        kept: deque[Segment] = deque()
        total = sum(segment.index_bytes_in_memory for segment in self._loaded)
        newest = self._loaded.pop()
        for _ in range(2 * len(self._loaded)):
            if total <= self._max_bytes or not self._loaded:
                break
            segment = self._loaded.popleft()
            if segment.indexes_recently_used or not segment.indexes_are_persisted:
                segment.indexes_recently_used = False
                self._loaded.append(segment)
                continue
            total -= segment.index_bytes_in_memory
            segment.drop_indexes()
        kept.extend(segment for segment in self._loaded if segment.index_bytes_in_memory)
        kept.append(newest)
        self._loaded = kept
        self._bytes = total


class Trash:
    """Paths to unlink later: renamed out of the way already, kept for readers until their time has come."""

    def __init__(self) -> None:
        self._heap: list[tuple[int, str]] = []

    def __len__(self) -> int:
        return len(self._heap)

    def add(self, path: str, due_ms: int) -> None:
        """A file or a directory that may be removed from ``due_ms`` on."""
        heapq.heappush(self._heap, (due_ms, path))

    def take_due(self, now_ms: int) -> list[str]:
        """Takes out the paths that are due. Removing them may happen in a thread."""
        due = []
        while self._heap and self._heap[0][0] <= now_ms:
            due.append(heapq.heappop(self._heap)[1])
        return due


def _ignore_failure(_log_dir: str, _error: OSError) -> None:
    return


def _ignore_cut(_log: "Log") -> None:
    return


class StorageContext(State, eq=False):
    """Shared by all logs of a broker; built once.

    ``on_failure(log_dir, error)`` is told of a disk failure before ``LogDirFailed`` is raised.
    """

    now_ms: Callable[[], int]
    files: Files = field(default_factory=system_files)
    handle_limit: int = field(default_factory=default_handle_limit)
    """How many ``.log`` files may be open at once."""
    handles: HandlePool = None  # type: ignore[assignment]  # made of the two above
    index_cache: IndexCache = field(default_factory=IndexCache)
    trash: Trash = field(default_factory=Trash)
    sealed: set[TopicPartition] = field(default_factory=set)
    """Whose logs have rolled: what was sealed waits to be made durable, so that recovery need not read it."""
    on_failure: Callable[[str, OSError], None] = _ignore_failure
    on_cut: "Callable[[Log], None]" = _ignore_cut
    """Told of a log that was cut below what its checkpoints on disk say, before it grows again."""
    producer_id_expiration_ms: int = 86_400_000
    transaction_verification: bool = False
    """Whether a transaction's first batch needs a guard (``transaction.partition.verification.enable``)."""
    random: Random = field(default_factory=Random)
    """For the roll jitter only."""

    def __post_init__(self) -> None:
        self.handles = HandlePool(self.files, self.handle_limit)

    def trash_renamed(self, paths: list[str], delay_ms: int) -> None:
        """Files that carry the ``.deleted`` suffix already: unlink them after the delay."""
        due_ms = self.now_ms() + delay_ms
        for path in paths:
            self.trash.add(path, due_ms)

    def trash_files(self, paths: list[str], delay_ms: int) -> None:
        """Renames files to ``.deleted`` and unlinks them after the delay."""
        renamed = []
        for path in paths:
            if self.files.exists(path):
                self.files.rename(path, path + DELETED)
                renamed.append(path + DELETED)
        self.trash_renamed(renamed, delay_ms)
