"""What a follower does with one partition's part of a fetch response, and where it cuts its log.

Synchronous. Source: ``AbstractFetcherThread`` and ``ReplicaFetcherThread`` of Kafka 3.9.
"""

import logging
from enum import Enum, auto

from pybroker.model.errors import ErrorCode
from pybroker.model.ids import NO_LEADER_EPOCH, ZERO_TOPIC_ID, LeaderEpoch, Offset
from pybroker.model.values import State
from pybroker.protocol.messages import FetchResponse
from pybroker.replication.leader_session import Asked
from pybroker.replication.partition import Partition
from pybroker.replication.throttle import names_replica
from pybroker.storage.errors import CorruptRecords, LogDirFailed, StorageError
from pybroker.storage.leader_epochs import EpochEndOffset

logger = logging.getLogger(__name__)


class Progress(Enum):
    """What comes next for a partition."""

    GO_ON = auto()
    """It was taken over; ask for what follows."""
    RETRY_LATER = auto()
    """Something is wrong that passes: ask again after ``replica.fetch.backoff.ms``."""
    OUT_OF_RANGE = auto()
    """The leader has nothing at this offset: ask where its log begins and ends."""
    FAILED = auto()
    """It cannot go on until the controller says something new."""


class Following(State, eq=False):
    """A partition that is copied from its leader, in one leader epoch.

    Attributes:
        offset: what is asked for next: the log end, but for a moment after a cut.
        retry_at_s: it is left alone until then, in trio's time.
        lag: committed records that are not here yet, None before the first answer.
    """

    partition: Partition
    leader_epoch: LeaderEpoch
    offset: Offset
    retry_at_s: float = 0.0
    lag: Offset | None = None

    @classmethod
    def begin(cls, partition: Partition) -> "Following":
        """From where the log ends. A log without any epoch cannot be compared with the leader's: what was not
        known to be replicated is cut off.

        Raises:
            StorageError: it cannot be cut.
        """
        log = partition.log
        if log.latest_epoch == NO_LEADER_EPOCH and log.log_end_offset > partition.high_watermark:
            partition.truncate_to(partition.high_watermark)
        return cls(partition, partition.leader_epoch, log.log_end_offset)

    @property
    def is_in_sync(self) -> bool:
        """Whether it has all that is committed, as far as it knows."""
        return self.lag == 0

    @property
    def is_throttled(self) -> bool:
        """Whether ``follower.replication.throttled.replicas`` names it."""
        partition = self.partition
        throttled = partition.settings.topic.follower_replication_throttled_replicas
        return names_replica(throttled, partition.tp.partition, partition.broker_id)

    @property
    def is_over(self) -> bool:
        """Whether the controller has said something else in the meantime."""
        partition = self.partition
        return partition.is_leader or partition.is_offline or partition.leader_epoch != self.leader_epoch

    def asked(self) -> Asked:
        """What to ask the leader for."""
        log = self.partition.log
        return Asked(
            topic_id=log.topic_id or ZERO_TOPIC_ID,
            fetch_offset=self.offset,
            log_start_offset=log.log_start_offset,
            current_leader_epoch=self.leader_epoch,
            last_fetched_epoch=log.latest_epoch,
        )

    def take(self, data: FetchResponse.PartitionData) -> Progress:
        """Take over what the leader has answered."""
        match data.error_code:
            case ErrorCode.NONE:
                return self._take_records(data)
            case ErrorCode.OFFSET_OUT_OF_RANGE:
                return Progress.OUT_OF_RANGE
            case ErrorCode.FENCED_LEADER_EPOCH:
                logger.info("%s: the leader has a newer epoch than %d", self.partition.tp, self.leader_epoch)
                return Progress.FAILED
            case code:
                logger.debug("%s cannot be fetched now: error %d", self.partition.tp, code)
                return Progress.RETRY_LATER

    def _take_records(self, data: FetchResponse.PartitionData) -> Progress:
        partition = self.partition
        try:
            if data.diverging_epoch.epoch >= 0:
                end = EpochEndOffset(data.diverging_epoch.epoch, data.diverging_epoch.end_offset)
                self._cut(common_end(partition, end))
            else:
                records = data.records
                partition.append_as_follower(
                    records if isinstance(records, memoryview) else memoryview(records or b""),
                    data.high_watermark,
                    data.log_start_offset,
                )
                self.offset = partition.log.log_end_offset
                self.lag = max(0, data.high_watermark - self.offset)
        except CorruptRecords as error:
            logger.error("%s: what the leader sent is damaged: %s", partition.tp, error)
            return Progress.RETRY_LATER
        except StorageError as error:
            return self.failed(error)
        return Progress.GO_ON

    def failed(self, error: StorageError) -> Progress:
        """The log refuses. A failed disk is looked after elsewhere."""
        if not isinstance(error, LogDirFailed):
            logger.error("%s cannot follow its leader any more: %s", self.partition.tp, error)
        return Progress.FAILED

    def _cut(self, offset: Offset) -> None:
        logger.info(
            "%s: cut at %d, where it parts from its leader (it ended at %d)",
            self.partition.tp,
            offset,
            self.partition.log.log_end_offset,
        )
        self.partition.truncate_to(offset)
        self.offset = self.partition.log.log_end_offset

    def adapt(self, leader_start: Offset, leader_end: Offset) -> None:
        """Find a place to go on, after the leader had nothing at this one: its end, if it has fewer records
        (after an unclean election), its start if all of ours are gone there.

        Raises:
            StorageError: the log cannot be cut.
        """
        partition = self.partition
        end = partition.log.log_end_offset
        if leader_end < end:
            self._cut(leader_end)
            return
        if leader_start > end:
            logger.warning("%s: starts over at %d, where its leader begins", partition.tp, leader_start)
            partition.start_over_at(leader_start)
        self.offset = partition.log.log_end_offset


def common_end(partition: Partition, leader: EpochEndOffset) -> Offset:
    """Where to cut, when the leader says that its log holds nothing of our last epoch beyond ``leader``
    (KIP-279). If the epoch it names is unknown here, it will be asked again from the cut on."""
    end = partition.log.log_end_offset
    ours = partition.end_offset_for_epoch(leader.epoch)
    if ours.end_offset < 0:
        return min(leader.end_offset, end)
    if ours.epoch != leader.epoch:
        return min(ours.end_offset, end)
    return min(ours.end_offset, leader.end_offset, end)
