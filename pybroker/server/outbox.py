"""The sending half of one connection: replies in order, as parts of memory and of files."""

from collections import deque
from collections.abc import Iterable

from pybroker.instruments.metrics import ServerMetrics
from pybroker.server.transport import FileSlice, Part, Transport

JOINED_BYTES = 256 * 1024
"""Pieces of memory are joined into one send up to this size; joining copies."""

FLUSH_BYTES = 4 * 1024 * 1024
"""One flush sends at most this much before other tasks get their turn."""


_MEMORY = (bytes, bytearray, memoryview)


class FileCutShort(Exception):
    """A file ended before the bytes that a reply already announced. The connection cannot go on."""


class Outbox:
    """Parts waiting to be sent, and where the first of them stands. Only the connection's task adds to it."""

    __slots__ = ("_files", "_head", "_head_sent", "_metrics", "_parts", "_transport", "pending_bytes")

    def __init__(self, transport: Transport, metrics: ServerMetrics) -> None:
        self._transport = transport
        self._metrics = metrics
        self._parts: deque[Part] = deque()
        self._head: bytes | memoryview | FileSlice | None = None
        self._head_sent = 0
        self._files = 0
        self.pending_bytes = 0

    def add(self, parts: Iterable[Part]) -> None:
        """Queues one reply. File slices belong to the outbox from now on."""
        for part in parts:
            size = len(part)
            if not isinstance(part, _MEMORY):
                if size == 0:  # nothing to send, and nothing may seem to follow what comes before
                    part.release()
                    continue
                self._files += 1
            self._parts.append(part)
            self.pending_bytes += size

    def flush(self) -> bool:
        """Sends what the socket takes without waiting. True when nothing is left.

        Raises:
            OSError: the connection is gone.
            FileCutShort: a slice's file is shorter than the slice.
        """
        allowance = FLUSH_BYTES
        while self._head is not None or self._next_head():
            try:
                sent = self._send_head()
            except BlockingIOError:
                return False
            self.pending_bytes -= sent
            self._metrics.bytes_out += sent
            if not self._parts and self._head is None:
                return True
            allowance -= sent
            if allowance <= 0:
                return False
        return True

    def discard(self) -> None:
        """Drops everything and lets go of the files. The connection is at its end."""
        if self._head is not None and not isinstance(self._head, _MEMORY):
            self._head.release()
        self._head = None
        for part in self._parts:
            if not isinstance(part, _MEMORY):
                part.release()
        self._parts.clear()
        self._files = 0
        self.pending_bytes = 0

    def _next_head(self) -> bool:
        """Makes the next piece to send out of the queue. False when the queue is empty."""
        parts = self._parts
        if not self._files and self.pending_bytes <= JOINED_BYTES:  # by far the most replies
            self._head = b"".join(parts) or None  # type: ignore[arg-type]
            parts.clear()
            return self._head is not None
        self._head_sent = 0
        run: list[bytes | bytearray | memoryview] = []
        size = 0
        while parts:
            part = parts[0]
            if not isinstance(part, _MEMORY):
                if run:
                    break
                parts.popleft()
                self._files -= 1
                self._head = part
                return True
            if run and size + len(part) > JOINED_BYTES:
                break
            parts.popleft()
            size += len(part)
            if part:
                run.append(part)
        if not run:
            return False
        self._head = memoryview(run[0]) if len(run) == 1 else b"".join(run)
        return True

    def _send_head(self) -> int:
        head = self._head
        assert head is not None
        if isinstance(head, (bytes, memoryview)):
            sent = self._transport.send(head, bool(self._parts))
            self._head = None if sent == len(head) else memoryview(head)[sent:]
            return sent
        sent = self._transport.send_file(head, self._head_sent, len(head) - self._head_sent)
        if sent == 0:
            raise FileCutShort(f"{len(head) - self._head_sent} announced bytes are missing")
        self._head_sent += sent
        if self._head_sent == len(head):
            self._head = None
            head.release()
        return sent
