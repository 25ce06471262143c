"""Reading a partition's directory at start, and finishing or undoing what a crash left half-done in it."""

import logging

from msgspec import field

from pybroker.model.ids import Offset
from pybroker.model.values import State
from pybroker.storage import names
from pybroker.storage.batch_scan import scan_headers
from pybroker.storage.files import Files
from pybroker.storage.handles import join

logger = logging.getLogger(__name__)


class DirectoryContent(State, eq=False):
    """The files of a partition: base offset and size of each ``.log`` in order, and which others exist."""

    logs: list[tuple[Offset, int]] = field(default_factory=list)
    indexes: set[Offset] = field(default_factory=set)
    time_indexes: set[Offset] = field(default_factory=set)
    txn_indexes: set[Offset] = field(default_factory=set)
    snapshots: set[Offset] = field(default_factory=set)
    leftovers: bool = False
    """Whether there are ``.deleted``, ``.cleaned``, ``.swap`` or ``.tmp`` files."""


def read_directory(files: Files, directory: str) -> DirectoryContent:
    """Lists a partition's directory once."""
    content = DirectoryContent()
    sets = {
        names.INDEX: content.indexes,
        names.TIME_INDEX: content.time_indexes,
        names.TXN_INDEX: content.txn_indexes,
        names.SNAPSHOT: content.snapshots,
    }
    for entry in files.scan(directory):
        name = entry.name
        offset = names.offset_of_file(name)
        if offset is None:
            content.leftovers |= name.endswith(".tmp")
            continue
        suffix = name[20:]
        if suffix == names.LOG:
            content.logs.append((offset, entry.stat().st_size))
        elif suffix in sets:
            sets[suffix].add(offset)
        else:
            content.leftovers = True
    content.logs.sort()
    return content


def tidy_directory(files: Files, directory: str) -> None:
    """Removes files that wait for deletion, drops half-made segments, completes interrupted swaps.

    A set of ``.swap`` files is complete when it exists: the cleaner renames to ``.swap`` only after every
    new segment is durable. Segments that the swapped ones cover are removed first.
    Source: ``LogLoader`` of Kafka 3.9.
    """
    cleaned, swaps = [], []
    for entry in list(files.scan(directory)):
        if not entry.is_file():
            continue
        if entry.name.endswith((names.DELETED, ".tmp")):
            files.unlink(entry.path)
        elif entry.name.endswith(names.CLEANED):
            cleaned.append(entry.name)
        elif entry.name.endswith(names.SWAP):
            swaps.append(entry.name)
    first_cleaned = min(
        (offset for name in cleaned if (offset := names.offset_of_file(name)) is not None), default=None
    )
    valid = []
    for name in swaps:
        offset = names.offset_of_file(name)
        # With .cleaned files still there, a swap at or after them belongs to a split that did not finish.
        if offset is None or (first_cleaned is not None and offset >= first_cleaned):
            files.unlink(join(directory, name))
        else:
            valid.append(name)
    for name in cleaned:
        files.unlink(join(directory, name))
    if valid:
        _complete_swap(files, directory, valid)


def _complete_swap(files: Files, directory: str, swaps: list[str]) -> None:
    first: Offset | None = None
    end: Offset = -1
    for name in swaps:
        if name.endswith(names.LOG + names.SWAP):
            offset = names.offset_of_file(name)
            assert offset is not None
            first = offset if first is None else min(first, offset)
            # Of an empty one too: it replaces at least the segment of its name.
            end = max(end, offset + 1, _next_offset(files, join(directory, name), offset))
    if first is not None:
        for entry in list(files.scan(directory)):
            offset = names.offset_of_file(entry.name)
            if offset is None or entry.name.endswith(names.SWAP) or not first <= offset < end:
                continue
            logger.info("removing %s, which a compacted segment replaces", entry.path)
            files.unlink(entry.path)
    for name in swaps:
        logger.info("completing the interrupted swap of %s", name)
        files.rename(join(directory, name), join(directory, name.removesuffix(names.SWAP)))
    files.fsync_dir(directory)


def _next_offset(files: Files, path: str, base_offset: Offset) -> Offset:
    fd = files.open(path)
    try:
        next_offset = base_offset
        for _position, header in scan_headers(files.pread, fd, 0, files.size(path)):
            next_offset = header.next_offset
        return next_offset
    finally:
        files.close(fd)
