"""How far a partition may be seen, and what a reader gets of it."""

from msgspec.structs import replace

from pybroker.model.errors import ApiError, ErrorCode
from pybroker.model.ids import NO_LEADER_EPOCH, BrokerId, LeaderEpoch, Offset, TopicPartition
from pybroker.replication.fetched import FetchedData, Isolation
from pybroker.storage.leader_epochs import UNKNOWN_EPOCH_END, EpochEndOffset
from pybroker.storage.log import Log
from pybroker.storage.segments import LogRead
from pybroker.storage.transaction_index import AbortedTransaction


class ReadablePartition:
    """The part of :class:`pybroker.replication.partition.Partition`, which extends it, that is read: a log,
    and the high watermark up to which consumers see it. Nothing here changes either."""

    def __init__(self, tp: TopicPartition, log: Log, checkpointed_high_watermark: Offset) -> None:
        self.tp = tp
        self.log = log
        self.high_watermark: Offset = min(
            max(checkpointed_high_watermark, log.log_start_offset), log.log_end_offset
        )

    @property
    def last_stable_offset(self) -> Offset:
        """The end, exclusive, of what a ``read_committed`` reader may see."""
        unstable = self.log.first_unstable_offset
        return self.high_watermark if unstable is None else min(self.high_watermark, unstable)

    def readable_end(self, isolation: Isolation) -> Offset:
        """The end, exclusive, of what a consumer with this isolation may see."""
        if isolation is Isolation.READ_COMMITTED:
            return self.last_stable_offset
        return self.high_watermark

    def read(
        self,
        offset: Offset,
        max_bytes: int,
        isolation: Isolation,
        *,
        min_one_batch: bool,
        last_fetched_epoch: LeaderEpoch = NO_LEADER_EPOCH,
    ) -> FetchedData:
        """Read for a consumer, from the batch that holds ``offset``; nothing from the readable end on. A
        reader that says of which epoch its last record was is told when this log has no such record there
        (KIP-595).

        Raises:
            ApiError: OFFSET_OUT_OF_RANGE below the log start or beyond the log end, or when nothing is known
                of the last fetched epoch.
        """
        diverging = self._divergence(offset, last_fetched_epoch)
        if diverging is not None:
            return self._fetched(LogRead(None, offset), None, diverging)
        self._check_range(offset)
        end = self.readable_end(isolation)
        read = self.log.read(offset, max_bytes, max_offset=end, min_one_batch=min_one_batch)
        aborted = None
        if isolation is Isolation.READ_COMMITTED:
            aborted = self.log.aborted_transactions(offset, read.end_offset) if read.slice is not None else []
        return self._fetched(read, aborted)

    def read_elsewhere(self, offset: Offset, broker_id: BrokerId) -> FetchedData:
        """Nothing, for a consumer that shall read from another replica."""
        return replace(self._fetched(LogRead(None, offset), None), preferred_replica=broker_id)

    def end_offset_for_epoch(self, epoch: LeaderEpoch) -> EpochEndOffset:
        """Where the largest epoch at or below ``epoch`` ends (KIP-101)."""
        return self.log.end_offset_for_epoch(epoch)

    def _check_range(self, offset: Offset) -> None:
        start, end = self.log.log_start_offset, self.log.log_end_offset
        if not start <= offset <= end:
            raise ApiError(
                ErrorCode.OFFSET_OUT_OF_RANGE,
                f"Offset {offset} of {self.tp} is not between {start} and {end}",
            )

    def _fetched(
        self,
        read: LogRead,
        aborted: list[AbortedTransaction] | None,
        diverging: EpochEndOffset | None = None,
    ) -> FetchedData:
        return FetchedData(
            read,
            self.high_watermark,
            self.last_stable_offset,
            self.log.log_start_offset,
            aborted,
            diverging,
        )

    def _divergence(self, offset: Offset, last_fetched_epoch: LeaderEpoch) -> EpochEndOffset | None:
        if last_fetched_epoch < 0:
            return None
        end = self.log.end_offset_for_epoch(last_fetched_epoch)
        if end == UNKNOWN_EPOCH_END or offset < self.log.log_start_offset:
            raise ApiError(
                ErrorCode.OFFSET_OUT_OF_RANGE, f"{self.tp} cannot tell where epoch {last_fetched_epoch} ended"
            )
        return end if end.epoch < last_fetched_epoch or end.end_offset < offset else None
