"""The filesystem seam: every byte the log reads or writes goes through :class:`Files`.

Tests put a layer here that fails, runs out of space or cuts the power at any call.
"""

import contextlib
import errno
import os
import threading
from collections.abc import Iterator
from typing import TypeAlias

Data: TypeAlias = bytes | bytearray | memoryview

NO_SPACE = (errno.ENOSPC, errno.EDQUOT)
"""Error numbers of a full disk: not the disk's failure, and gone once space returns."""

_OPEN_FLAGS = os.O_RDWR | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
_HAS_BULK_READS = all(hasattr(os, name) for name in ("preadv", "posix_fadvise", "RWF_NOWAIT"))
_HAS_POSITIONED_IO = hasattr(os, "pread") and hasattr(os, "pwrite")


class Files:
    """The operating system's files. Methods raise ``OSError`` and nothing else."""

    parallel_syncs = 16
    """How many threads may sync at once: file systems commit what waits together as one."""

    def open(self, path: str, *, create: bool = False) -> int:
        """A descriptor for reading and writing."""
        return os.open(path, _OPEN_FLAGS | os.O_CREAT if create else _OPEN_FLAGS, 0o644)

    def close(self, fd: int) -> None:
        os.close(fd)

    def pwrite(self, fd: int, data: Data, position: int) -> int:
        """Writes once at ``position``; may write less than asked."""
        return os.pwrite(fd, data, position)

    def pread(self, fd: int, size: int, position: int) -> bytes:
        """Reads once at ``position``; fewer bytes than asked only at the end of the file."""
        return os.pread(fd, size, position)

    def pread_into(self, fd: int, buffer: memoryview, position: int) -> int:
        """Reads once at ``position``; fewer bytes than there is room for only at the end of the file.

        For bulk reading: the pages of a large buffer that is used again need not be made anew.
        """
        data = self.pread(fd, len(buffer), position)
        buffer[: len(data)] = data
        return len(data)

    def will_read(self, fd: int, position: int, size: int) -> None:
        """Lets the system fetch a stretch beforehand, where it can."""

    def truncate(self, fd: int, size: int) -> None:
        os.ftruncate(fd, size)

    def fsync(self, fd: int) -> None:
        os.fsync(fd)

    def rename(self, source: str, target: str) -> None:
        """Atomic; replaces the target."""
        os.replace(source, target)

    def unlink(self, path: str) -> None:
        os.unlink(path)

    def mkdir(self, path: str) -> None:
        os.makedirs(path, exist_ok=True)

    def rmdir(self, path: str) -> None:
        os.rmdir(path)

    def exists(self, path: str) -> bool:
        return os.path.exists(path)

    def size(self, path: str) -> int:
        return os.stat(path).st_size

    def modified_ms(self, path: str) -> int:
        return os.stat(path).st_mtime_ns // 1_000_000

    def set_modified_ms(self, path: str, modified_ms: int) -> None:
        os.utime(path, ns=(modified_ms * 1_000_000, modified_ms * 1_000_000))

    def scan(self, path: str) -> Iterator[os.DirEntry[str]]:
        """The entries of a directory in no order."""
        with os.scandir(path) as entries:
            yield from entries

    def fsync_dir(self, path: str) -> None:
        """Makes names in ``path`` durable. A no-op where directories cannot be opened (Windows)."""
        if os.name == "nt":
            return
        fd = os.open(path, os.O_RDONLY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)

    def read_bytes(self, path: str) -> bytes:
        """The whole file."""
        with open(path, "rb") as file:
            return file.read()

    def write_bytes(self, path: str, data: Data, *, sync: bool = False) -> None:
        """Makes the file's content exactly ``data``; not atomic."""
        fd = self.open(path, create=True)
        try:
            self.truncate(fd, 0)
            self.write_all(fd, data, 0)
            if sync:
                self.fsync(fd)
        finally:
            self.close(fd)

    def write_all(self, fd: int, data: Data, position: int) -> None:
        """Writes everything, in as many calls as the system needs."""
        view = memoryview(data)
        while view:
            written = self.pwrite(fd, view, position)
            view = view[written:]
            position += written

    def replace_bytes(self, path: str, data: Data) -> None:
        """Replaces a file so that after a power cut either the old or the new content is there."""
        self.write_bytes(path + ".tmp", data, sync=True)
        self.rename(path + ".tmp", path)
        self.fsync_dir(os.path.dirname(path))

    def unlink_if_exists(self, path: str) -> bool:
        """Whether there was something to remove."""
        try:
            self.unlink(path)
        except FileNotFoundError:
            return False
        return True

    def remove_tree(self, path: str) -> None:
        """Removes a directory with everything in it; what vanished meanwhile is not an error."""
        with contextlib.suppress(FileNotFoundError):
            for entry in list(self.scan(path)):
                if entry.is_dir(follow_symlinks=False):
                    self.remove_tree(entry.path)
                else:
                    self.unlink_if_exists(entry.path)
            self.rmdir(path)


class LinuxFiles(Files):
    """With the calls that not every system has."""

    def pread_into(self, fd: int, buffer: memoryview, position: int) -> int:
        return os.preadv(fd, (buffer,), position)

    def will_read(self, fd: int, position: int, size: int) -> None:
        # The advice looks at every page, so it is dear where all are there. One stands for the stretch; not
        # every filesystem can tell of it.
        try:
            os.preadv(fd, (bytearray(1),), position, os.RWF_NOWAIT)
        except OSError as error:
            if error.errno not in (errno.EAGAIN, errno.EOPNOTSUPP):
                raise
            os.posix_fadvise(fd, position, size, os.POSIX_FADV_WILLNEED)


class SeekingFiles(Files):
    """For systems without positioned reads and writes: seek and go, under one lock."""

    def __init__(self) -> None:
        self._lock = threading.Lock()

    def pwrite(self, fd: int, data: Data, position: int) -> int:
        with self._lock:
            os.lseek(fd, position, os.SEEK_SET)
            return os.write(fd, data)

    def pread(self, fd: int, size: int, position: int) -> bytes:
        with self._lock:
            os.lseek(fd, position, os.SEEK_SET)
            return os.read(fd, size)


def system_files() -> Files:
    """The best implementation that this platform has."""
    if _HAS_BULK_READS:
        return LinuxFiles()
    return Files() if _HAS_POSITIONED_IO else SeekingFiles()
