"""Counted descriptors of ``.log`` files, and the bounded pool that opens and closes them.

A slice on its way to a socket holds the descriptor itself, never its number: numbers are reused.
"""

import contextlib
import errno
import os
from collections import deque
from typing import Protocol

from pybroker.storage.files import Files


class HandleOwner(Protocol):
    """Whoever keeps a pooled handle; told when the pool took it back."""

    handle: "FileHandle | None"


class FileHandle:
    """An open file with a reference count; the owner's reference is one of them. Closes at zero."""

    __slots__ = ("_files", "fd", "owner", "recently_used", "references")

    def __init__(self, files: Files, fd: int, owner: HandleOwner | None) -> None:
        self._files = files
        self.fd = fd
        self.owner = owner
        self.references = 1
        self.recently_used = True

    def release(self) -> None:
        self.references -= 1
        if self.references == 0:
            fd, self.fd = self.fd, -1
            self._files.close(fd)


class FileSlice:
    """A stretch of a file that stays readable until released, whatever happens to the segment meanwhile.

    ``len()`` is what the slice announced; fewer bytes can be read only if the file was cut after that.
    """

    __slots__ = ("_files", "_handle", "position", "size")

    def __init__(self, files: Files, handle: FileHandle, position: int, size: int) -> None:
        handle.references += 1
        self._files = files
        self._handle: FileHandle | None = handle
        self.position = position
        self.size = size

    def __len__(self) -> int:
        return self.size

    def fileno(self) -> int:
        """The descriptor, for ``sendfile``; valid only until :meth:`release`."""
        if self._handle is None:
            raise ValueError("the slice was released")
        return self._handle.fd

    def read(self) -> bytes:
        """The bytes of the slice; shorter if the file was cut."""
        return self.read_at(0, self.size)

    def read_at(self, offset: int, size: int) -> bytes:
        """Up to ``size`` bytes from ``offset`` within the slice."""
        fd = self.fileno()
        size = min(size, self.size - offset)
        data = self._files.pread(fd, size, self.position + offset)
        if len(data) == size:
            return data
        parts = [data]
        got = len(data)
        while data and got < size:
            data = self._files.pread(fd, size - got, self.position + offset + got)
            parts.append(data)
            got += len(data)
        return b"".join(parts)

    def release(self) -> None:
        """Gives the descriptor back. More than once is allowed."""
        handle, self._handle = self._handle, None
        if handle is not None:
            handle.release()

    def __del__(self) -> None:
        # A response that is dropped on an error path must not pin a descriptor for ever.
        self.release()

    def __repr__(self) -> str:
        return f"FileSlice(position={self.position}, size={self.size})"


class HandlePool:
    """Opens files for their owners and keeps at most ``limit`` open, second chance first.

    A handle somebody still reads from is never closed; if all are in use the limit is exceeded instead.
    """

    def __init__(self, files: Files, limit: int = 4096) -> None:
        self._files = files
        self._limit = max(1, limit)
        self._handles: deque[FileHandle] = deque()

    def __len__(self) -> int:
        return len(self._handles)

    def open(self, path: str, owner: HandleOwner, *, create: bool = False) -> FileHandle:
        """Opens ``path`` and gives the handle to ``owner``."""
        if len(self._handles) >= self._limit:
            self._evict(len(self._handles) - self._limit + 1)
        try:
            fd = self._files.open(path, create=create)
        except OSError as error:
            if error.errno not in (errno.EMFILE, errno.ENFILE) or not self._evict(
                len(self._handles) // 2 + 1
            ):
                raise
            fd = self._files.open(path, create=create)
        handle = FileHandle(self._files, fd, owner)
        owner.handle = handle
        self._handles.append(handle)
        return handle

    def discard(self, owner: HandleOwner) -> None:
        """The owner needs its file no more; readers that still hold it keep it open."""
        handle = owner.handle
        if handle is None:
            return
        owner.handle = None
        handle.owner = None
        self._handles.remove(handle)
        handle.release()

    def _evict(self, wanted: int) -> int:
        evicted = 0
        handles = self._handles
        for _ in range(2 * len(handles)):
            if evicted == wanted:
                break
            handle = handles.popleft()
            if handle.recently_used or handle.references > 1:
                handle.recently_used = False
                handles.append(handle)
                continue
            if handle.owner is not None:
                handle.owner.handle = None
            handle.release()
            evicted += 1
        return evicted


def default_handle_limit() -> int:
    """A third of the descriptors this process may have: the rest is for sockets and short-lived opens."""
    try:
        import resource
    except ImportError:
        return 512
    soft, _hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return 65536
    return max(64, min(65536, soft // 3))


def raise_descriptor_limit() -> None:
    """Lets this process have as many descriptors as it may ask for, where the system lets it."""
    try:
        import resource
    except ImportError:
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    # macOS says "unlimited" and refuses it: there the soft limit stays.
    if soft != hard:
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def join(directory: str, name: str) -> str:
    """``os.path.join`` for a plain name, without its cost."""
    return directory + os.sep + name
