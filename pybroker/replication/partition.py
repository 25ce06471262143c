"""One partition as this broker hosts it: leadership, high watermark, and the requests that wait on it.

The Partition is the one writer of its role, its ISR view and its high watermark, and the only caller of its
Log's writes. All methods are plain functions on the trio thread: nothing awaits between reading state and
changing it.
"""

import logging
from collections.abc import Callable

from msgspec.structs import replace

from pybroker.model.errors import ApiError, ErrorCode
from pybroker.model.ids import (
    NO_LEADER,
    NO_LEADER_EPOCH,
    ZERO_TOPIC_ID,
    BrokerId,
    ControllerEpoch,
    LeaderEpoch,
    Offset,
    ProducerEpoch,
    ProducerId,
    TopicId,
    TopicPartition,
)
from pybroker.model.values import Value
from pybroker.records.header import NO_SEQUENCE
from pybroker.records.policy import Origin
from pybroker.records.validation import ValidatedBatch
from pybroker.replication.fetched import FetchedData
from pybroker.replication.isr import Answer, FetchTimes, Follower, IsEligible, Leadership, Proposal, Settled
from pybroker.replication.observers import Observers
from pybroker.replication.readable import ReadablePartition
from pybroker.replication.topic_settings import PartitionSettings
from pybroker.replication.waiters import WaiterSet
from pybroker.storage.errors import UnexpectedAppendOffset
from pybroker.storage.log import AppendInfo, Log
from pybroker.storage.segments import LogRead

logger = logging.getLogger(__name__)

UNKNOWN_PARTITION_EPOCH = -1


class PartitionState(Value):
    """What the controller last said of a partition (one entry of LeaderAndIsr)."""

    leader: BrokerId = NO_LEADER
    leader_epoch: LeaderEpoch = NO_LEADER_EPOCH
    controller_epoch: ControllerEpoch = -1
    partition_epoch: int = UNKNOWN_PARTITION_EPOCH
    isr: tuple[BrokerId, ...] = ()
    replicas: tuple[BrokerId, ...] = ()


def _nobody_asks(_partition: "Partition", _proposal: Proposal) -> None:
    return


class Surroundings(Value):
    """What partitions know of the rest of the broker.

    Attributes:
        now_ms: broker time.
        max_lag_ms: ``replica.lag.time.max.ms``.
        is_alive: whether a broker is registered, as far as this one knows.
        submit: takes a change of the ISR to the controller, who answers with :meth:`Partition.settle`.
    """

    now_ms: Callable[[], int] = lambda: 0
    max_lag_ms: int = 30_000
    is_alive: IsEligible = lambda _broker_id: True
    submit: Callable[["Partition", Proposal], None] = _nobody_asks


class Partition(ReadablePartition):
    """A replica of ``tp`` on broker ``broker_id``.

    Attributes:
        leadership: what it knows of its followers; None unless it is led here.
        waiters: requests that wait for the high watermark, or for another leader.
        append_waiters: followers that wait for records. Another leader wakes them too.
        observers: hear of everything that a follower has to be told of.
    """

    def __init__(
        self,
        tp: TopicPartition,
        broker_id: BrokerId,
        log: Log,
        settings: PartitionSettings,
        checkpointed_high_watermark: Offset = 0,
        surroundings: Surroundings | None = None,
    ) -> None:
        super().__init__(tp, log, checkpointed_high_watermark)
        self.settings = settings
        self.state = PartitionState()
        self.leadership: Leadership | None = None
        self.waiters = WaiterSet()
        self.append_waiters = WaiterSet()
        self.observers = Observers()
        self.is_offline = False
        """Whether the disk under the log has failed. Nothing is served any more."""
        self.broker_id = broker_id
        self._surroundings = surroundings or Surroundings()

    @property
    def topic_id(self) -> TopicId | None:
        return self.log.topic_id

    @property
    def leader_epoch(self) -> LeaderEpoch:
        return self.state.leader_epoch

    @property
    def is_leader(self) -> bool:
        return self.leadership is not None

    @property
    def isr(self) -> tuple[BrokerId, ...]:
        """The in-sync replicas, as far as they are known here: followers are not told of changes."""
        return self.state.isr if self.leadership is None else self.leadership.isr

    @property
    def has_old_high_watermark(self) -> bool:
        """Whether the high watermark may be behind that of the leader before this one."""
        return self.leadership is not None and self.leadership.epoch_start_offset > self.high_watermark

    def update_settings(self, settings: PartitionSettings) -> None:
        """Obey a changed topic configuration from now on."""
        self.settings = settings
        self.log.update_config(settings.log)

    @property
    def low_watermark(self) -> Offset:
        """The largest log start offset that all living replicas have reached, as far as the leader knows."""
        lowest = self.log.log_start_offset
        if self.leadership is not None:
            for broker_id, follower in self.leadership.followers.items():
                if follower.log_start_offset < lowest and self._surroundings.is_alive(broker_id):
                    lowest = follower.log_start_offset
        return lowest

    def advance_log_start_offset(self, offset: Offset) -> None:
        """Records before ``offset``, which is at most the high watermark, count as deleted from now on."""
        if self.log.advance_log_start_offset(offset):
            self._wake()

    def _wake(self) -> None:
        self.observers.tell(is_urgent=True)
        self.waiters.wake_all()
        self.append_waiters.wake_all()

    def replace_log(self, log: Log) -> None:
        """Go on with a log that ends where the present one ends: it was moved to another directory."""
        log.update_config(self.settings.log)
        if self.is_leader:
            log.assign_epoch_start(self.leader_epoch, log.log_end_offset)
        log.on_high_watermark(self.high_watermark)
        self.log = log

    # -- roles ---------------------------------------------------------------------------------------

    def make_leader(self, state: PartitionState) -> None:
        """Lead from now on in ``state.leader_epoch``."""
        self.state = state
        end = self.log.log_end_offset
        self.log.assign_epoch_start(state.leader_epoch, end)
        if self.leadership is None:
            self.leadership = Leadership(self.broker_id)
        now_ms = self._surroundings.now_ms()
        self.leadership.begin_epoch(
            state.leader_epoch, state.partition_epoch, state.isr, state.replicas, end, now_ms
        )
        self.log.on_high_watermark(self.high_watermark)
        self._advance_high_watermark()
        self._wake()

    def make_follower(self, state: PartitionState) -> None:
        """Stop leading; requests that wait here look again and find another leader."""
        self.state = state
        self.leadership = None
        self._wake()

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
                f"The size of the current ISR {list(self.isr)} is insufficient to satisfy the "
                f"min.isr requirement of {self.effective_min_isr} for partition {self.tp}",
            )

    @property
    def has_enough_replicas(self) -> bool:
        """Whether the ISR that the controller knows is as large as ``min.insync.replicas`` asks."""
        return len(self.isr) >= self.effective_min_isr

    @property
    def had_enough_replicas(self) -> bool:
        """The same for a replicated append: a replica that may be in the ISR by now counts."""
        leadership = self.leadership
        return leadership is not None and len(leadership.maximal_isr) >= self.effective_min_isr

    @property
    def effective_min_isr(self) -> int:
        """``min.insync.replicas``, as far as there are replicas at all."""
        return min(self.settings.topic.min_insync_replicas, len(self.state.replicas))

    def start_verification(
        self, producer_id: ProducerId, producer_epoch: ProducerEpoch, sequence: int = NO_SEQUENCE
    ) -> object | None:
        """Before a batch of a transaction is appended: a guard if its coordinator has to be asked first, None
        if the transaction is open here already (KIP-890)."""
        return self.log.start_verification(producer_id, producer_epoch, sequence)

    def append(
        self, batch: ValidatedBatch, origin: Origin = Origin.CLIENT, guard: object | None = None
    ) -> AppendInfo:
        """Append as leader; the caller has checked leadership. Raises what the Log raises."""
        info = self.log.append_as_leader(batch, self.state.leader_epoch, origin, guard)
        if not info.duplicate:
            if self.leadership is not None:
                self.leadership.log_grows()
            self.observers.tell(is_urgent=True)
            self.append_waiters.wake_all()
            self._advance_high_watermark()
        return info

    def _advance_high_watermark(self) -> None:
        """Moves it on as far as the replicas that count have come, and not at all below the smallest ISR that
        ``min.insync.replicas`` allows (KIP-966)."""
        leadership = self.leadership
        if leadership is None:
            return
        end = self.log.log_end_offset
        if leadership.followers:
            if not self.has_enough_replicas:
                return
            around = self._surroundings
            end = leadership.high_watermark(end, around.now_ms(), around.max_lag_ms, around.is_alive)
        if end > self.high_watermark:
            self._set_high_watermark(end)
            self.waiters.wake_all()

    def _set_high_watermark(self, offset: Offset) -> None:
        self.observers.tell(is_urgent=False)
        self.high_watermark = offset
        self.log.on_high_watermark(offset)

    # -- the in-sync replicas --------------------------------------------------------------------------

    def reconsider_followers(self) -> None:
        """Time has passed, or brokers have gone: ask for an ISR without followers that have not caught up for
        ``replica.lag.time.max.ms``, and do not let others hold the high watermark back any more."""
        if self.leadership is None:
            return
        around = self._surroundings
        end = self.log.log_end_offset
        self._submit(self.leadership.propose_shrink(end, around.now_ms(), around.max_lag_ms))
        if self.high_watermark < end:
            self._advance_high_watermark()

    def _submit(self, proposal: Proposal | None) -> None:
        if proposal is not None:
            logger.info("%s: the ISR %s shall be %s", self.tp, list(self.isr), list(proposal.isr))
            self._surroundings.submit(self, proposal)

    def settle(self, proposal: Proposal, answer: Answer) -> Settled:
        """The controller has answered."""
        if self.leadership is None:
            return Settled.DROPPED
        settled = self.leadership.settle(proposal, answer)
        if settled is Settled.RETRY:
            return settled
        if settled is Settled.APPLIED:
            logger.info("%s: the ISR is %s", self.tp, list(self.isr))
        else:
            logger.info("%s: the ISR stays %s: %s", self.tp, list(self.isr), answer.error.name)
        self._advance_high_watermark()
        self.waiters.wake_all()
        return settled

    # -- following -------------------------------------------------------------------------------------

    def append_as_follower(
        self, records: memoryview, leader_high_watermark: Offset, leader_log_start_offset: Offset
    ) -> None:
        """Take over what the leader has sent, and how far it is with the rest. Raises what the Log raises."""
        log = self.log
        if records:
            try:
                log.append_as_follower(records)
            except UnexpectedAppendOffset as error:
                # The leader's log starts amid a batch, and the first one is given whole.
                end = log.log_end_offset
                if not (end == log.log_start_offset and error.first_offset < end <= error.last_offset):
                    raise
                log.truncate_fully_and_start_at(error.first_offset)
                log.append_as_follower(records)
        high_watermark = min(max(leader_high_watermark, log.log_start_offset), log.log_end_offset)
        if high_watermark != self.high_watermark:
            self._set_high_watermark(high_watermark)
            self.waiters.wake_all()
        start = min(leader_log_start_offset, self.high_watermark)
        if start > log.log_start_offset:
            self.advance_log_start_offset(start)

    def truncate_to(self, offset: Offset) -> None:
        """Cut off what the leader does not have."""
        if offset < self.high_watermark:
            logger.warning("%s: cut at %d, below the high watermark %d", self.tp, offset, self.high_watermark)
        self.log.truncate_to(offset)
        self.high_watermark = min(self.high_watermark, self.log.log_end_offset)

    def start_over_at(self, offset: Offset) -> None:
        """Drop everything: the leader's log starts beyond this one's end."""
        self.log.truncate_fully_and_start_at(offset)
        self._set_high_watermark(offset)

    # -- reading -------------------------------------------------------------------------------------

    def read_as_replica(
        self,
        broker_id: BrokerId,
        offset: Offset,
        max_bytes: int,
        *,
        min_one_batch: bool,
        last_fetched_epoch: LeaderEpoch,
        current_leader_epoch: LeaderEpoch,
        log_start_offset: Offset,
        is_first_look: bool,
        times: FetchTimes,
    ) -> FetchedData:
        """Read for a follower, up to the log end, and note how far it has come.

        Args:
            log_start_offset: the follower's.
            is_first_look: False when a request that has waited looks again: the follower has not moved since.
            times: of the follower's fetches in this session. While it has everything it need not be looked at
                again before there is something new: the answer says so.

        Raises:
            ApiError: OFFSET_OUT_OF_RANGE as for :meth:`read`; UNKNOWN_LEADER_EPOCH, or NOT_LEADER_OR_FOLLOWER
                when it names no epoch, for a broker that is no replica as far as is known here.
        """
        follower = None if self.leadership is None else self.leadership.followers.get(broker_id)
        if follower is None:
            code = ErrorCode.NOT_LEADER_OR_FOLLOWER
            if current_leader_epoch != NO_LEADER_EPOCH:
                code = ErrorCode.UNKNOWN_LEADER_EPOCH
            raise ApiError(code, f"{self.tp} has no replica on broker {broker_id}")
        diverging = self._divergence(offset, last_fetched_epoch)
        if diverging is not None:
            return self._fetched(LogRead(None, offset), None, diverging)
        self._check_range(offset)
        read = self.log.read(offset, max_bytes, min_one_batch=min_one_batch)
        if is_first_look:
            self._note_fetch(broker_id, follower, offset, log_start_offset)
        fetched = self._fetched(read, None)
        if offset == self.log.log_end_offset and broker_id in self.isr:
            follower.rests_with = times
            return replace(fetched, observers=self.observers)
        return fetched

    def _note_fetch(
        self, broker_id: BrokerId, follower: Follower, offset: Offset, log_start_offset: Offset
    ) -> None:
        leadership = self.leadership
        assert leadership is not None
        has_moved = follower.log_end_offset != offset
        has_deleted = follower.log_start_offset != log_start_offset
        around = self._surroundings
        follower.note_fetch(offset, log_start_offset, self.log.log_end_offset, around.now_ms())
        if broker_id not in leadership.isr:
            self._submit(leadership.propose_expansion(broker_id, self.high_watermark, around.is_alive))
        if has_moved:
            self._advance_high_watermark()
        if has_deleted:
            self.waiters.wake_all()


def open_partition(
    tp: TopicPartition,
    topic_id: TopicId,
    broker_id: BrokerId,
    log: Log,
    settings: PartitionSettings,
    checkpointed_high_watermark: Offset = 0,
    surroundings: Surroundings | None = None,
) -> Partition:
    """The partition on a log that may be new or from before.

    Raises:
        ApiError: INCONSISTENT_TOPIC_ID, when the log belongs to an earlier topic of the same name.
    """
    if ZERO_TOPIC_ID not in (topic_id, log.topic_id or ZERO_TOPIC_ID) and log.topic_id != topic_id:
        raise ApiError(ErrorCode.INCONSISTENT_TOPIC_ID)
    return Partition(tp, broker_id, log, settings, checkpointed_high_watermark, surroundings)
