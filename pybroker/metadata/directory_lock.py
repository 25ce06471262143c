"""A lock on a directory that ends with the process, however it ends."""

import os
import sys
from pathlib import Path

from pybroker.metadata.store import StoreError

if sys.platform == "win32":
    import msvcrt

    def _lock(descriptor: int) -> None:
        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
else:
    import fcntl

    def _lock(descriptor: int) -> None:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


class DirectoryLocked(StoreError):
    """Another process works in the directory."""


class DirectoryLock:
    """Holds the lock from construction to :meth:`release`.

    Raises:
        DirectoryLocked: somebody else holds it.
        OSError: the lock file cannot be made.
    """

    def __init__(self, path: Path) -> None:
        self._descriptor: int | None = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            _lock(self._descriptor)
        except OSError as error:
            self.release()
            raise DirectoryLocked(f"{path.parent} is in use by another process") from error

    def release(self) -> None:
        """Gives the lock back. Twice does nothing."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
