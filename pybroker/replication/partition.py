"""One partition as this broker hosts it: leadership, high watermark, and the requests that wait on it.

The Partition is the one writer of its role, its ISR view and its high watermark, and the only caller of its
Log's writes. All methods are plain functions on the trio thread: nothing awaits between reading state and
changing it.
"""

from enum import IntEnum

from attrs import frozen

from pybroker.model.errors import ApiError, ErrorCode
from pybroker.model.ids import (
    NO_LEADER,
    NO_LEADER_EPOCH,
    ZERO_TOPIC_ID,
    BrokerId,
    ControllerEpoch,
    LeaderEpoch,
    Offset,
    TopicId,
    TopicPartition,
)
from pybroker.records.policy import Origin
from pybroker.records.validation import ValidatedBatch
from pybroker.replication.topic_settings import PartitionSettings
from pybroker.replication.waiters import WaiterSet
from pybroker.storage.leader_epochs import UNKNOWN_EPOCH_END, EpochEndOffset
from pybroker.storage.log import AppendInfo, Log
from pybroker.storage.segments import LogRead
from pybroker.storage.transaction_index import AbortedTransaction

UNKNOWN_PARTITION_EPOCH = -1


class Isolation(IntEnum):
    """How far a reader may see; the values of ``isolation_level`` on the wire."""

    READ_UNCOMMITTED = 0
    READ_COMMITTED = 1

    @classmethod
    def of(cls, level: int) -> "Isolation":
        """The level that a request names.

        Raises:
            ApiError: UNKNOWN_SERVER_ERROR, as Kafka answers a level that does not exist.
        """
        try:
            return cls(level)
        except ValueError:
            raise ApiError(ErrorCode.UNKNOWN_SERVER_ERROR, f"Unknown isolation level {level}") from None

    @classmethod
    def _missing_(cls, value: object) -> "Isolation":
        raise ApiError(ErrorCode.INVALID_REQUEST, f"Unknown isolation level {value}")


@frozen
class PartitionState:
    """What the controller last said of a partition (one entry of LeaderAndIsr)."""

    leader: BrokerId = NO_LEADER
    leader_epoch: LeaderEpoch = NO_LEADER_EPOCH
    controller_epoch: ControllerEpoch = -1
    partition_epoch: int = UNKNOWN_PARTITION_EPOCH
    isr: tuple[BrokerId, ...] = ()
    replicas: tuple[BrokerId, ...] = ()


@frozen
class FetchedData:
    """What a reader gets of one partition; offsets are those of the moment of reading."""

    read: LogRead
    high_watermark: Offset
    last_stable_offset: Offset
    log_start_offset: Offset
    aborted: list[AbortedTransaction] | None
    """Transactions that the reader must leave out; None unless it reads committed records only."""

    diverging: EpochEndOffset | None = None
    """Where the reader's log and this one part ways; it gets no records before it has gone back there."""


class Partition:
    """A replica of ``tp`` on broker ``broker_id``."""

    def __init__(
        self,
        tp: TopicPartition,
        broker_id: BrokerId,
        log: Log,
        settings: PartitionSettings,
        checkpointed_high_watermark: Offset = 0,
    ) -> None:
        self.tp = tp
        self.log = log
        self.settings = settings
        self.state = PartitionState()
        self.high_watermark: Offset = min(
            max(checkpointed_high_watermark, log.log_start_offset), log.log_end_offset
        )
        self.waiters = WaiterSet()
        self.is_offline = False
        """Whether the disk under the log has failed. Nothing is served any more."""
        self._broker_id = broker_id

    @property
    def topic_id(self) -> TopicId | None:
        return self.log.topic_id

    @property
    def leader_epoch(self) -> LeaderEpoch:
        return self.state.leader_epoch

    @property
    def is_leader(self) -> bool:
        return self.state.leader == self._broker_id

    @property
    def last_stable_offset(self) -> Offset:
        """The end, exclusive, of what a ``read_committed`` reader may see."""
        unstable = self.log.first_unstable_offset
        return self.high_watermark if unstable is None else min(self.high_watermark, unstable)

    def update_settings(self, settings: PartitionSettings) -> None:
        """Obey a changed topic configuration from now on."""
        self.settings = settings
        self.log.update_config(settings.log)

    @property
    def low_watermark(self) -> Offset:
        """The largest log start offset that all replicas are known to have reached."""
        return self.log.log_start_offset

    def advance_log_start_offset(self, offset: Offset) -> None:
        """Records before ``offset``, which is at most the high watermark, count as deleted from now on."""
        if self.log.advance_log_start_offset(offset):
            self.waiters.wake_all()

    # -- roles ---------------------------------------------------------------------------------------

    def make_leader(self, state: PartitionState) -> None:
        """Lead from now on in ``state.leader_epoch``."""
        self.state = state
        self.log.assign_epoch_start(state.leader_epoch, self.log.log_end_offset)
        self._advance_high_watermark()
        self.waiters.wake_all()

    def make_follower(self, state: PartitionState) -> None:
        """Stop leading; requests that wait here look again and find another leader."""
        self.state = state
        self.waiters.wake_all()

    def go_offline(self) -> None:
        """The disk has failed; requests that wait here look again and are told so."""
        self.is_offline = True
        self.make_follower(PartitionState(leader_epoch=self.leader_epoch))

    def check_epoch(self, epoch: LeaderEpoch) -> None:
        """Fence a client whose idea of the leader epoch differs (KIP-320); -1 passes.

        Raises:
            ApiError: FENCED_LEADER_EPOCH for an older epoch, UNKNOWN_LEADER_EPOCH for a newer one.
        """
        if epoch in (NO_LEADER_EPOCH, self.state.leader_epoch):
            return
        if epoch < self.state.leader_epoch:
            raise ApiError(ErrorCode.FENCED_LEADER_EPOCH)
        raise ApiError(ErrorCode.UNKNOWN_LEADER_EPOCH)

    # -- writing -------------------------------------------------------------------------------------

    def check_enough_replicas(self) -> None:
        """Whether an ``acks=-1`` append may start.

        Raises:
            ApiError: NOT_ENOUGH_REPLICAS, when the ISR is smaller than ``min.insync.replicas``.
        """
        if not self.has_enough_replicas:
            raise ApiError(
                ErrorCode.NOT_ENOUGH_REPLICAS,
                f"The size of the current ISR {list(self.state.isr)} is insufficient to satisfy the "
                f"min.isr requirement of {self.effective_min_isr} for partition {self.tp}",
            )

    @property
    def has_enough_replicas(self) -> bool:
        return len(self.state.isr) >= self.effective_min_isr

    @property
    def effective_min_isr(self) -> int:
        """``min.insync.replicas``, as far as there are replicas at all."""
        return min(self.settings.topic.min_insync_replicas, len(self.state.replicas))

    def append(self, batch: ValidatedBatch, origin: Origin = Origin.CLIENT) -> AppendInfo:
        """Append as leader; the caller has checked leadership. Raises what the Log raises."""
        info = self.log.append_as_leader(batch, self.state.leader_epoch, origin)
        if not info.duplicate:
            self._advance_high_watermark()
            self.waiters.wake_all()
        return info

    def _advance_high_watermark(self) -> None:
        self.high_watermark = max(self.high_watermark, self.log.log_end_offset)
        self.log.on_high_watermark(self.high_watermark)

    # -- reading -------------------------------------------------------------------------------------

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
        """Read for a consumer, from the batch that holds ``offset``. A reader that says of which epoch its
        last record was is told when this log has no such record there (KIP-595).

        Raises:
            ApiError: OFFSET_OUT_OF_RANGE below the log start or beyond the readable end, or when nothing is
                known of the last fetched epoch.
        """
        diverging = self._divergence(offset, last_fetched_epoch)
        if diverging is not None:
            nothing = LogRead(None, offset)
            return FetchedData(
                nothing,
                self.high_watermark,
                self.last_stable_offset,
                self.log.log_start_offset,
                None,
                diverging,
            )
        end = self.readable_end(isolation)
        if not self.log.log_start_offset <= offset <= self.high_watermark:
            raise ApiError(
                ErrorCode.OFFSET_OUT_OF_RANGE,
                f"Offset {offset} of {self.tp} is not between {self.log.log_start_offset} "
                f"and {self.high_watermark}",
            )
        read = self.log.read(offset, max_bytes, max_offset=end, min_one_batch=min_one_batch)
        aborted = None
        if isolation is Isolation.READ_COMMITTED:
            aborted = self.log.aborted_transactions(offset, read.end_offset) if read.slice is not None else []
        return FetchedData(
            read, self.high_watermark, self.last_stable_offset, self.log.log_start_offset, aborted
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

    def end_offset_for_epoch(self, epoch: LeaderEpoch) -> EpochEndOffset:
        """Where the largest epoch at or below ``epoch`` ends (KIP-101)."""
        return self.log.end_offset_for_epoch(epoch)


def open_partition(
    tp: TopicPartition,
    topic_id: TopicId,
    broker_id: BrokerId,
    log: Log,
    settings: PartitionSettings,
    checkpointed_high_watermark: Offset = 0,
) -> Partition:
    """The partition on a log that may be new or from before.

    Raises:
        ApiError: INCONSISTENT_TOPIC_ID, when the log belongs to an earlier topic of the same name.
    """
    if ZERO_TOPIC_ID not in (topic_id, log.topic_id or ZERO_TOPIC_ID) and log.topic_id != topic_id:
        raise ApiError(ErrorCode.INCONSISTENT_TOPIC_ID)
    return Partition(tp, broker_id, log, settings, checkpointed_high_watermark)
