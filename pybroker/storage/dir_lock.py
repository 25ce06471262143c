"""The ``.lock`` of a log directory: one broker at a time, also against Apache Kafka's."""

import os

from pybroker.storage import names
from pybroker.storage.errors import LogDirUnusable

_held_here: set[str] = set()
"""Directories locked by this process: POSIX record locks do not hold between brokers of one process."""


class DirectoryLock:
    """A held lock; released by :meth:`release` or by the end of the process."""

    def __init__(self, directory: str) -> None:
        """Takes the lock.

        Raises:
            LogDirUnusable: another broker holds it, or the directory cannot be written.
        """
        self._directory = os.path.realpath(directory)
        path = os.path.join(directory, names.LOCK)
        if self._directory in _held_here:
            raise LogDirUnusable(f"log directory {directory} is in use by another broker of this process")
        try:
            self._fd = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o644)
        except OSError as error:
            raise LogDirUnusable(f"log directory {directory} cannot be written: {error.strerror}") from error
        try:
            _lock(self._fd)
        except OSError as error:
            os.close(self._fd)
            raise LogDirUnusable(
                f"log directory {directory} is in use by another broker (.lock is held)"
            ) from error
        _held_here.add(self._directory)

    def release(self) -> None:
        """Lets the directory go."""
        if self._directory in _held_here:
            _held_here.discard(self._directory)
            os.close(self._fd)


def _lock(fd: int) -> None:
    """A POSIX record lock, because that is what the JVM's ``tryLock`` takes; a byte-range lock on Windows."""
    if os.name == "nt":
        import msvcrt

        msvcrt.locking(fd, msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined,unused-ignore]
    else:
        import fcntl

        fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
