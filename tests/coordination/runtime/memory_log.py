"""A coordinator's log in memory, whose high watermark and leadership the test holds in its hand."""

import trio

from pybroker.model.errors import ApiError, ErrorCode
from pybroker.records.batch import iter_records
from pybroker.records.header import Record, iter_batch_headers, patch_offset_and_epoch, read_batch_header
from pybroker.storage.errors import StorageError


class MemoryLog:
    """Everything is committed at once while ``follows`` is set; else when the test says so."""

    def __init__(self, leader_epoch: int = 0) -> None:
        self.leader_epoch = leader_epoch
        self.log_start_offset = 0
        self.log_end_offset = 0
        self.high_watermark = 0
        self.follows = True
        self.is_leader = True
        self.refusal: ErrorCode | None = None
        self.broken: StorageError | None = None
        self.batches: list[bytes] = []
        self._changed = trio.Event()

    def read(self, offset: int, max_bytes: int) -> bytes:
        if self.broken is not None:
            raise self.broken
        found = b""
        for batch in self.batches:
            if read_batch_header(batch).next_offset > offset:
                if found and len(found) + len(batch) > max_bytes:
                    break
                found += batch
        return found

    def start_verification(self, producer_id: int, producer_epoch: int) -> object | None:
        return None

    def append(self, batch: bytes, *, all_replicas: bool, guard: object | None = None) -> tuple[int, int]:
        if not self.is_leader:
            raise ApiError(ErrorCode.NOT_LEADER_OR_FOLLOWER)
        if self.refusal is not None and all_replicas:
            raise ApiError(self.refusal)
        buffer = memoryview(bytearray(batch))
        first = self.log_end_offset
        patch_offset_and_epoch(buffer, first, self.leader_epoch)
        self.batches.append(bytes(buffer))
        self.log_end_offset = read_batch_header(buffer).next_offset
        if self.follows:
            self.high_watermark = self.log_end_offset
        return first, self.log_end_offset

    def is_committed(self, end_offset: int) -> bool:
        return self.is_leader and self.high_watermark >= end_offset

    async def committed(self, end_offset: int, timeout_s: float) -> None:
        with trio.move_on_after(timeout_s):
            while self.is_leader and self.high_watermark < end_offset:
                await self._changed.wait()
        if not self.is_leader:
            raise ApiError(ErrorCode.NOT_LEADER_OR_FOLLOWER)
        if self.high_watermark < end_offset:
            raise ApiError(ErrorCode.REQUEST_TIMED_OUT)

    # -- the test's side

    def commit_all(self) -> None:
        """The followers have caught up."""
        self.commit_up_to(self.log_end_offset)

    def commit_up_to(self, offset: int) -> None:
        """The followers have all before ``offset``."""
        self.high_watermark = offset
        self._tell()

    def lose_leadership(self) -> None:
        self.is_leader = False
        self._tell()

    def _tell(self) -> None:
        changed, self._changed = self._changed, trio.Event()
        changed.set()

    def records(self) -> list[Record]:
        return [
            record
            for batch in self.batches
            for position, header in iter_batch_headers(batch)
            for record in iter_records(batch[position : position + header.size_in_bytes])
        ]
