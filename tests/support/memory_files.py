"""A filesystem in memory that can fail, fill up, write short, and lose power.

What a power cut leaves is modelled strictly: a file's bytes are safe only up to its last fsync, a name only
once its directory was synced; whatever came after may be there, torn, or gone. Names change in order, as
journalling filesystems keep it. A directory exists durably as soon as it was made; its renaming is a change
of a name like any other.
"""

import errno
import os
import random
from collections.abc import Callable, Iterator
from types import SimpleNamespace

from pybroker.model.values import Value
from pybroker.storage.files import Data, Files


class PowerCut(BaseException):
    """The machine is off. Not an Exception: nothing may handle it."""


def _parent(path: str) -> str:
    return path.rpartition("/")[0]


def _renamed(path: str, old: str, new: str) -> str:
    """The path after a directory was renamed."""
    return new + path[len(old) :] if path == old or path.startswith(old + "/") else path


class Inode:
    """A file's bytes: as written, and as they were at the last fsync."""

    def __init__(self) -> None:
        self.data = bytearray()
        self.synced = b""


class Change(Value):
    """A change of a name: of a file (to an inode, or None for gone) or of a directory (to its new path)."""

    path: str
    what: "Inode | str | None"

    def apply(self, names: dict[str, Inode], directories: set[str]) -> None:
        match self.what:
            case None:
                names.pop(self.path, None)
            case Inode() as inode:
                names[self.path] = inode
            case str() as target:
                for path in [path for path in names if path.startswith(self.path + "/")]:
                    names[_renamed(path, self.path, target)] = names.pop(path)
                directories.discard(self.path)
                directories.add(target)

    def after(self, earlier: "Change") -> "Change":
        """The same change once an earlier one has been made."""
        if not isinstance(earlier.what, str):
            return self
        return Change(_renamed(self.path, earlier.path, earlier.what), self.what)


class MemoryFiles(Files):
    """Counts every change; ``cut_at`` names the one at which the power goes (0 is the first)."""

    def __init__(self, now_ms: Callable[[], int] = lambda: 0) -> None:
        self.parallel_syncs = 1
        self.names: dict[str, Inode] = {}
        self.directories: set[str] = set()
        self.durable_names: dict[str, Inode] = {}
        self.durable_directories: set[str] = set()
        self.pending: list[Change] = []
        """Name changes that are not durable, by the names that are."""
        self.changes = 0
        self.cut_at: int | None = None
        self.free_bytes: int | None = None
        self.short_writes = False
        self.fail: Callable[[str, str], OSError | None] = lambda _operation, _path: None
        self._open: dict[int, tuple[Inode, str]] = {}
        self._next_fd = 1000
        self._now_ms = now_ms
        self._off = False

    # -- the machine

    def _change(self, operation: str, path: str) -> None:
        if self._off or self.changes == self.cut_at:
            self._off = True
            raise PowerCut
        self.changes += 1
        error = self.fail(operation, path)
        if error is not None:
            raise error

    def after_power_cut(
        self, rng: random.Random | None, *, keep_all: bool = False, keep_names_below: str | None = None
    ) -> "MemoryFiles":
        """The disk as the next boot finds it: everything (a mere kill), the least, or by ``rng`` something
        between. ``keep_names_below`` is a disk of its own, all of whose names are as they were."""
        survivor = MemoryFiles(self._now_ms)
        survivor.directories = set(self.durable_directories)
        kept = len(self.pending) if keep_all else rng.randint(0, len(self.pending)) if rng else 0
        names = dict(self.durable_names)
        rest = self.pending[:kept]
        if keep_names_below is not None:
            rest = [change for change in self.pending if change.path.startswith(keep_names_below + "/")]
        while rest:
            change = rest.pop(0)
            change.apply(names, survivor.directories)
            rest = [later.after(change) for later in rest]
        for path, inode in names.items():
            copy = Inode()
            copy.data = bytearray(inode.data if keep_all else self._what_is_left(inode, rng))
            copy.synced = bytes(copy.data)
            survivor.names[path] = copy
        survivor.durable_names = dict(survivor.names)
        survivor.durable_directories = set(survivor.directories)
        return survivor

    @staticmethod
    def _what_is_left(inode: Inode, rng: random.Random | None) -> bytes:
        if rng is None or inode.synced == inode.data:
            return inode.synced
        pairs = zip(inode.synced, inode.data, strict=False)
        shorter = min(len(inode.synced), len(inode.data))
        common = next((n for n, (a, b) in enumerate(pairs) if a != b), shorter)
        cut = rng.randint(common, len(inode.data))
        zeros = bytes(len(inode.data) - cut)
        return rng.choice([inode.synced, bytes(inode.data[:cut]), bytes(inode.data[:cut]) + zeros])

    # -- Files

    def open(self, path: str, *, create: bool = False) -> int:
        inode = self.names.get(path)
        if inode is None:
            if not create:
                raise FileNotFoundError(errno.ENOENT, "no such file", path)
            self._change("create", path)
            inode = Inode()
            self._name(path, inode)
        self._next_fd += 1
        self._open[self._next_fd] = (inode, path)
        return self._next_fd

    def _name(self, path: str, inode: Inode | None) -> None:
        if inode is None:
            del self.names[path]
        else:
            self.names[path] = inode
        self.pending.append(Change(self._durable(path), inode))

    def _durable(self, path: str) -> str:
        """The path by the names of directories that are durable."""
        for change in reversed(self.pending):
            if isinstance(change.what, str):
                path = _renamed(path, change.what, change.path)
        return path

    def close(self, fd: int) -> None:
        del self._open[fd]

    @property
    def open_count(self) -> int:
        """Descriptors in use."""
        return len(self._open)

    def pwrite(self, fd: int, data: Data, position: int) -> int:
        inode, path = self._open[fd]
        data = bytes(data)
        try:
            self._change("write", path)
        except PowerCut:
            # The last write may have reached the page cache in part.
            self._put(inode, data[: len(data) // 2], position)
            raise
        if self.short_writes and len(data) > 1:
            data = data[: len(data) // 2]
        if self.free_bytes is not None:
            growth = max(0, position + len(data) - len(inode.data))
            if growth > self.free_bytes:
                data = data[: len(data) - (growth - self.free_bytes)]
                growth = self.free_bytes
                if not data:
                    raise OSError(errno.ENOSPC, "no space left on device", path)
            self.free_bytes -= growth
        self._put(inode, data, position)
        return len(data)

    @staticmethod
    def _put(inode: Inode, data: bytes, position: int) -> None:
        if position > len(inode.data):
            inode.data += bytes(position - len(inode.data))
        inode.data[position : position + len(data)] = data

    def pread(self, fd: int, size: int, position: int) -> bytes:
        return bytes(self._open[fd][0].data[position : position + size])

    def truncate(self, fd: int, size: int) -> None:
        inode, path = self._open[fd]
        if len(inode.data) == size:
            return
        self._change("truncate", path)
        if self.free_bytes is not None:
            self.free_bytes += max(0, len(inode.data) - size)
        del inode.data[size:]
        inode.data += bytes(size - len(inode.data))

    def fsync(self, fd: int) -> None:
        inode, path = self._open[fd]
        self._change("fsync", path)
        inode.synced = bytes(inode.data)

    def rename(self, source: str, target: str) -> None:
        self._change("rename", source)
        if source in self.directories:
            self._rename_directory(source, target)
            return
        inode = self.names[source]
        # One entry for both names: a rename is atomic.
        del self.names[source]
        self.names[target] = inode
        self.pending.append(Change(self._durable(target), inode))
        self.pending.append(Change(self._durable(source), None))

    def _rename_directory(self, source: str, target: str) -> None:
        change = Change(source, target)
        change.apply(self.names, self.directories)
        self.pending.append(change)

    def unlink(self, path: str) -> None:
        if path not in self.names:
            raise FileNotFoundError(errno.ENOENT, "no such file", path)
        self._change("unlink", path)
        self._name(path, None)

    def mkdir(self, path: str) -> None:
        self.directories.add(path)
        self.durable_directories.add(self._durable(path))

    def rmdir(self, path: str) -> None:
        self.directories.discard(path)
        self.durable_directories.discard(self._durable(path))

    def exists(self, path: str) -> bool:
        return path in self.names or path in self.directories

    def size(self, path: str) -> int:
        return len(self.names[path].data)

    def modified_ms(self, path: str) -> int:
        return self._now_ms()

    def set_modified_ms(self, path: str, modified_ms: int) -> None:
        return

    def scan(self, path: str) -> Iterator[os.DirEntry[str]]:
        for name in sorted({*self.names, *self.directories}):
            if _parent(name) == path:
                yield self._entry(name)  # type: ignore[misc]

    def _entry(self, path: str) -> SimpleNamespace:
        is_file = path in self.names
        size = len(self.names[path].data) if is_file else 0
        return SimpleNamespace(
            name=path.rpartition("/")[2],
            path=path,
            is_file=lambda **_: is_file,
            is_dir=lambda **_: not is_file,
            stat=lambda: SimpleNamespace(st_size=size),
        )

    def fsync_dir(self, path: str) -> None:
        self._change("fsync_dir", path)
        path = self._durable(path)
        kept: list[Change] = []
        while self.pending:
            change = self.pending.pop(0)
            if _parent(change.path) != path:
                kept.append(change)
                continue
            change.apply(self.durable_names, self.durable_directories)
            kept = [other.after(change) for other in kept]
            self.pending = [later.after(change) for later in self.pending]
        self.pending = kept

    def read_bytes(self, path: str) -> bytes:
        if path not in self.names:
            raise FileNotFoundError(errno.ENOENT, "no such file", path)
        return bytes(self.names[path].data)
