"""Cutting a byte stream into frames: an int32 size, then that many bytes.

A size on the wire is a claim. Until its bytes arrive a frame costs what was received and no more: small
frames live in a receive buffer shared by all connections of a listener, large ones in an anonymous memory map
whose pages appear as they are filled.

Frames are writable memoryviews. They may be used as long as their request lasts, also across waits, and not a
moment longer: buffers are used again once nobody looks at them.
"""

import mmap
import struct
import sys
from collections.abc import Callable
from typing import TypeAlias

RECEIVE_BUFFER_BYTES = 64 * 1024
COPY_UP_TO_BYTES = 2048
"""Frames up to this size get bytes of their own, so that a small request that waits (a long poll, a
rebalance) does not keep a whole receive buffer alive."""

CLAIM_BELIEVED_AFTER_BYTES = 4096
"""A large frame gets its own buffer once this much of it has arrived."""

POOLED_BYTES = 8 * 1024 * 1024
SMALLEST_LARGE_BYTES = 128 * 1024
LARGEST_POOLED_BYTES = 4 * 1024 * 1024

_SIZE = struct.Struct(">i")
_read_size = _SIZE.unpack_from

RecvInto: TypeAlias = Callable[[memoryview], int]


class FrameError(ValueError):
    """The stream cannot be read on: a size that is negative or above the limit. The message says which."""


class ReceiveBuffer:
    """The buffer that all connections of a listener receive into, one after the other.

    A memoryview keeps a reference to what it shows, so the reference count tells whether some request still
    looks at the buffer. If so it is left to that request and the next reader gets another one.
    """

    __slots__ = ("_buffer", "_unviewed", "size")

    def __init__(self, size: int = RECEIVE_BUFFER_BYTES) -> None:
        self.size = size
        self._buffer = bytearray(size)
        self._unviewed = sys.getrefcount(self._buffer)

    def take(self) -> bytearray:
        """A buffer of ``size`` bytes that nobody looks at. It is taken as long as a view of it lives."""
        if sys.getrefcount(self._buffer) != self._unviewed:
            self._buffer = bytearray(self.size)
        return self._buffer


def _references_to_a_local() -> int:
    buffer = bytearray()
    return sys.getrefcount(buffer)


_UNVIEWED = _references_to_a_local()
"""What getrefcount says of an object that one local name refers to; interpreters differ."""


class LargeBuffers:
    """Hands out buffers for large frames and keeps a few, up to 8 MiB in all, for the next ones.

    Fresh maps cost a page fault per 4 KiB; used ones do not.
    """

    __slots__ = ("_free", "_free_bytes", "_limit_bytes")

    def __init__(self, limit_bytes: int = POOLED_BYTES) -> None:
        self._free: dict[int, list[mmap.mmap]] = {}
        self._free_bytes = 0
        self._limit_bytes = limit_bytes

    def take(self, size: int) -> mmap.mmap:
        """A writable buffer of at least ``size`` bytes. A new one has no page in memory yet."""
        capacity = _capacity(size)
        kept = self._free.get(capacity)
        if kept:
            self._free_bytes -= capacity
            return kept.pop()
        return _anonymous_map(capacity)

    def give_back(self, holder: list[mmap.mmap]) -> None:
        """Takes back the one buffer in ``holder``, which is emptied.

        A buffer that a view still shows is left to its viewer. Buffers are never closed here: dropping the
        last reference unmaps them, while ``close`` would raise under a living view.
        """
        buffer = holder.pop()
        capacity = len(buffer)
        if (
            capacity <= LARGEST_POOLED_BYTES
            and self._free_bytes + capacity <= self._limit_bytes
            and sys.getrefcount(buffer) == _UNVIEWED
        ):
            self._free.setdefault(capacity, []).append(buffer)
            self._free_bytes += capacity

    @property
    def free_bytes(self) -> int:
        return self._free_bytes


def _capacity(size: int) -> int:
    """Sizes worth pooling are rounded up to powers of two, so that they fit the next frame too."""
    if size > LARGEST_POOLED_BYTES:
        return size
    return max(SMALLEST_LARGE_BYTES, 1 << (size - 1).bit_length())


def _anonymous_map(size: int) -> mmap.mmap:
    if sys.platform == "win32":
        return mmap.mmap(-1, size)
    buffer = mmap.mmap(-1, size, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    if hasattr(mmap, "MADV_NOHUGEPAGE"):
        # With huge pages the first byte of a frame would cost 2 MiB.
        buffer.madvise(mmap.MADV_NOHUGEPAGE)
    return buffer


class FrameReader:
    """The receiving half of one connection. Only its connection's task uses it.

    Each wake-up: one :meth:`receive`, then :meth:`next_frame` until it returns None, then :meth:`settle`.

    Attributes:
        limit: the largest frame accepted, in bytes; may be changed between frames.
        large_bytes: how many bytes of a large frame are held, complete or not; nobody else sets it.
    """

    __slots__ = (
        "_carry",
        "_end",
        "_large",
        "_length",
        "_pool",
        "_pos",
        "_shared",
        "_view",
        "large_bytes",
        "limit",
    )

    def __init__(self, limit: int, shared: ReceiveBuffer, pool: LargeBuffers) -> None:
        self.limit = limit
        self._shared = shared
        self._pool = pool
        self._carry = b""
        self._view: memoryview | None = None
        self._pos = 0
        self._end = 0
        self._large: list[mmap.mmap] = []
        self.large_bytes = 0
        self._length = 0

    @property
    def missing_bytes(self) -> int:
        """How many bytes the large frame being received still lacks; 0 when there is none."""
        return self._length - self.large_bytes

    @property
    def is_between_frames(self) -> bool:
        """Whether no byte of an incomplete frame is held."""
        return not self._carry and not self._large

    def receive(self, recv_into: RecvInto) -> int:
        """Lets ``recv_into`` fill what is free of the current buffer, once. Returns what it returned: the
        bytes received, 0 at the end of the stream. When it raises nothing has changed."""
        if self._large:
            count = recv_into(memoryview(self._large[0])[self.large_bytes : self._length])
            self.large_bytes += count
            return count
        view = memoryview(self._shared.take())
        carry = self._carry
        if carry:
            start = len(carry)
            view[:start] = carry
            count = recv_into(view[start:])
            self._end = start + count
        else:
            self._end = count = recv_into(view)
        if count:
            self._carry = b""
            self._view = view
            self._pos = 0
        return count

    def next_frame(self) -> memoryview | None:
        """The next complete frame without its size, None when more bytes are needed.

        The frame before must not be referred to any more, so that its buffer can be used again.

        Raises:
            FrameError: the next size is negative or above the limit.
        """
        view = self._view
        if view is None:
            return self._next_large() if self._large else None
        start = self._pos + 4
        end = self._end
        if start > end:
            return None
        (size,) = _read_size(view, self._pos)
        if not 0 <= size <= self.limit:
            raise FrameError(_refusal(size, self.limit))
        stop = start + size
        if stop > end:
            return None
        self._pos = stop
        if size <= COPY_UP_TO_BYTES:
            return memoryview(bytearray(view[start:stop]))
        return view[start:stop]

    def settle(self) -> None:
        """Moves an incomplete frame out of the shared buffer. Call it before waiting for more."""
        view = self._view
        if view is None:
            return
        self._view = None
        held = self._end - self._pos
        if held == 0:
            return
        if held > CLAIM_BELIEVED_AFTER_BYTES:
            (size,) = _read_size(view, self._pos)
            if size + 4 > self._shared.size:
                self._start_large(size, view[self._pos + 4 : self._end])
                return
        self._carry = bytes(view[self._pos : self._end])

    def drop(self) -> None:
        """Forgets everything received. The connection is at its end."""
        self._view = None
        self._carry = b""
        if self._large:
            self._finish_large()

    def _start_large(self, size: int, received: memoryview) -> None:
        self._large.append(self._pool.take(size))
        self._length = size
        self.large_bytes = len(received)
        memoryview(self._large[0])[: self.large_bytes] = received

    def _next_large(self) -> memoryview | None:
        if self._length == 0:  # handed out before, and done with by now
            self._finish_large()
            return None
        if self.large_bytes < self._length:
            return None
        length, self._length = self._length, 0
        return memoryview(self._large[0])[:length]

    def _finish_large(self) -> None:
        self.large_bytes = self._length = 0
        self._pool.give_back(self._large)


def _refusal(size: int, limit: int) -> str:
    head = _SIZE.pack(size)
    if head[:2] == b"\x16\x03":
        return "the client speaks TLS, this listener does not"
    if head in (b"GET ", b"POST", b"HEAD", b"PUT ", b"OPTI", b"DELE", b"CONN"):
        return "the client speaks HTTP, this is a Kafka listener"
    if size < 0:
        return f"a frame of negative size {size}"
    return f"a frame of {size} bytes, more than the {limit} bytes allowed"
