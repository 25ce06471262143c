"""Disks that a test can break and fill, and that never make it wait for a sync."""

import errno
import os
from pathlib import Path

from pybroker.storage.files import Data, Files


class TroubledFiles(Files):
    """The operating system's files. Add directories to ``broken`` or ``full``, and take them out again, at
    any time.

    Without ``syncs`` nothing is made durable: the page cache outlives every broker that a test kills.
    """

    def __init__(self, *, syncs: bool = True) -> None:
        self._syncs = syncs
        self.broken: set[Path] = set()
        self.full: set[Path] = set()
        self._path_of: dict[int, str] = {}

    def open(self, path: str, *, create: bool = False) -> int:
        self._touch(path)
        fd = super().open(path, create=create)
        self._path_of[fd] = path
        return fd

    def close(self, fd: int) -> None:
        self._path_of.pop(fd, None)
        super().close(fd)

    def pwrite(self, fd: int, data: Data, position: int) -> int:
        path = self._path_of[fd]
        self._touch(path)
        if _is_below(path, self.full):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), path)
        return super().pwrite(fd, data, position)

    def fsync(self, fd: int) -> None:
        self._touch(self._path_of[fd])
        if self._syncs:
            super().fsync(fd)

    def fsync_dir(self, path: str) -> None:
        self._touch(path)
        if self._syncs:
            super().fsync_dir(path)

    def rename(self, source: str, target: str) -> None:
        self._touch(source)
        super().rename(source, target)

    def mkdir(self, path: str) -> None:
        self._touch(path)
        super().mkdir(path)

    def _touch(self, path: str) -> None:
        if _is_below(path, self.broken):
            raise OSError(errno.EIO, os.strerror(errno.EIO), path)


def _is_below(path: str, directories: set[Path]) -> bool:
    return bool(directories) and any(Path(path).is_relative_to(directory) for directory in directories)
