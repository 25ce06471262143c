"""What a leader knows of its followers, and what it makes of that: the in-sync replicas, the high watermark.

Pure: time and what is known of other brokers are arguments. A change of the ISR is proposed to the
controller and counts once it has answered (KIP-497); until then a replica that is proposed counts for the
high watermark, and one that is to be left out counts still. Source: ``Partition`` and ``Replica`` of Kafka
3.9.
"""

from collections.abc import Callable, Collection, Iterable
from enum import Enum

from pybroker.model.errors import ErrorCode
from pybroker.model.ids import UNKNOWN_OFFSET, BrokerId, LeaderEpoch, Offset
from pybroker.model.values import State, Value

IsEligible = Callable[[BrokerId], bool]
"""Whether a broker may be in an ISR: whether it is alive, as far as this broker knows."""


class FetchTimes(State):
    """When a follower's fetch session was last used; its one writer is the session's connection."""

    last_ms: int = 0


class Follower(State):
    """One follower, by its fetches. Its one writer is the leader's :class:`Leadership`.

    Attributes:
        log_end_offset: what it asked for last, so all before is in its log; -1 before its first fetch.
        last_caught_up_ms: when its log was last as long as the leader's.
        last_fetch_ms: when it fetched last.
        leader_end_then: the leader's log end offset at that time.
        rests_with: set while it has everything and its fetches are not looked at one by one; they are in
            these times.
    """

    log_end_offset: Offset = UNKNOWN_OFFSET
    log_start_offset: Offset = UNKNOWN_OFFSET
    last_caught_up_ms: int = 0
    last_fetch_ms: int = 0
    leader_end_then: Offset = UNKNOWN_OFFSET
    rests_with: FetchTimes | None = None

    def note_fetch(self, offset: Offset, log_start_offset: Offset, leader_end: Offset, now_ms: int) -> None:
        """It has asked for ``offset``. Having reached the end as it was at the fetch before, it was caught up
        then, also when the leader is always a little ahead."""
        if offset >= leader_end:
            self.last_caught_up_ms = max(self.last_caught_up_ms, now_ms)
        elif offset >= self.leader_end_then:
            self.last_caught_up_ms = max(self.last_caught_up_ms, self.last_fetch_ms)
        self.log_end_offset = offset
        self.log_start_offset = log_start_offset
        self.leader_end_then = max(leader_end, self.leader_end_then)
        self.last_fetch_ms = now_ms
        self.rests_with = None

    def end_rest(self) -> None:
        """The leader's log is about to grow: until its last fetch this follower was caught up."""
        times, self.rests_with = self.rests_with, None
        if times is not None:
            self.last_fetch_ms = max(self.last_fetch_ms, times.last_ms)
            self.last_caught_up_ms = max(self.last_caught_up_ms, times.last_ms)

    def is_caught_up(self, leader_end: Offset, now_ms: int, max_lag_ms: int) -> bool:
        """Whether it has everything, or had not long ago."""
        return self.log_end_offset == leader_end or now_ms - self.last_caught_up_ms <= max_lag_ms


class Proposal(Value, eq=False):
    """A change of the ISR that the controller is asked for; two of them are never the same."""

    leader_epoch: LeaderEpoch
    partition_epoch: int
    isr: tuple[BrokerId, ...]


class Answer(Value):
    """What the controller says: the state of the partition as it is now, or an error."""

    error: ErrorCode = ErrorCode.NONE
    leader_epoch: LeaderEpoch = -1
    partition_epoch: int = -1
    isr: tuple[BrokerId, ...] = ()


class Settled(Enum):
    """What an answer means for a proposal."""

    APPLIED = "the ISR is what the controller said"
    DROPPED = "the proposal is over"
    WAITING = "something newer is on its way from the controller"
    RETRY = "ask again"


_NEWS_WILL_COME = frozenset(
    {
        ErrorCode.UNKNOWN_TOPIC_OR_PARTITION,
        ErrorCode.UNKNOWN_TOPIC_ID,
        ErrorCode.FENCED_LEADER_EPOCH,
        ErrorCode.INVALID_UPDATE_VERSION,
        ErrorCode.INVALID_REQUEST,
        ErrorCode.NEW_LEADER_ELECTED,
    }
)
"""Refusals because this leader does not know the latest. It changes nothing until it has been told."""

_REFUSED = frozenset({ErrorCode.OPERATION_NOT_ATTEMPTED, ErrorCode.INELIGIBLE_REPLICA})
"""Refusals of this proposal by a controller that agrees on everything else."""


class Leadership:
    """The leader's side of a partition, from the time this broker began to lead until it ceases to.

    Its one writer is the Partition.

    Attributes:
        epoch_start_offset: the log end when the present leader epoch began.
        isr: as the controller knows it, this broker included.
        partition_epoch: of ``isr``.
        proposal: the change that the controller was asked for, if there is one.
        followers: the other replicas.
    """

    __slots__ = (
        "_broker_id",
        "epoch_start_offset",
        "followers",
        "isr",
        "leader_epoch",
        "partition_epoch",
        "proposal",
    )

    def __init__(self, broker_id: BrokerId) -> None:
        self._broker_id = broker_id
        self.leader_epoch: LeaderEpoch = -1
        self.epoch_start_offset: Offset = 0
        self.isr: tuple[BrokerId, ...] = ()
        self.partition_epoch = -1
        self.proposal: Proposal | None = None
        self.followers: dict[BrokerId, Follower] = {}

    def begin_epoch(
        self,
        leader_epoch: LeaderEpoch,
        partition_epoch: int,
        isr: tuple[BrokerId, ...],
        replicas: Iterable[BrokerId],
        log_end_offset: Offset,
        now_ms: int,
    ) -> None:
        """The controller says who leads from now on, and it is this broker, perhaps as before. Replicas in
        the ISR are given time from now on to show themselves."""
        known = self.followers
        self.followers = {}
        for broker_id in replicas:
            if broker_id == self._broker_id:
                continue
            since_ms = now_ms if broker_id in isr else 0
            follower = known.get(broker_id)
            if follower is None:
                follower = Follower(last_caught_up_ms=since_ms)
            else:
                follower.last_caught_up_ms = follower.last_fetch_ms = since_ms
                follower.rests_with = None
                follower.leader_end_then = log_end_offset
            self.followers[broker_id] = follower
        self.leader_epoch = leader_epoch
        self.partition_epoch = partition_epoch
        self.epoch_start_offset = log_end_offset
        self.isr = isr
        self.proposal = None

    def log_grows(self) -> None:
        """Records were appended. To be called before anybody looks at the followers again."""
        for follower in self.followers.values():
            if follower.rests_with is not None:
                follower.end_rest()

    @property
    def maximal_isr(self) -> Collection[BrokerId]:
        """Whoever is in the ISR or may be by now."""
        proposal = self.proposal
        return self.isr if proposal is None or len(proposal.isr) < len(self.isr) else proposal.isr

    def high_watermark(
        self, log_end_offset: Offset, now_ms: int, max_lag_ms: int, is_eligible: IsEligible
    ) -> Offset:
        """What all replicas that count have in their logs. One that is caught up counts although it is not in
        the ISR yet: else it would never get there, with the high watermark always ahead of it."""
        maximal = self.maximal_isr
        lowest = log_end_offset
        for broker_id, follower in self.followers.items():
            end = follower.log_end_offset
            if end < lowest and (
                broker_id in maximal
                or (follower.is_caught_up(log_end_offset, now_ms, max_lag_ms) and is_eligible(broker_id))
            ):
                lowest = end
        return lowest

    def propose_expansion(
        self, broker_id: BrokerId, high_watermark: Offset, is_eligible: IsEligible
    ) -> Proposal | None:
        """Asks for a follower that has reached the high watermark, and records of this leader epoch."""
        if self.proposal is not None or broker_id in self.isr or not is_eligible(broker_id):
            return None
        end = self.followers[broker_id].log_end_offset
        if end < high_watermark or end < self.epoch_start_offset:
            return None
        return self._propose((*self.isr, broker_id))

    def propose_shrink(self, log_end_offset: Offset, now_ms: int, max_lag_ms: int) -> Proposal | None:
        """Asks for the ISR without those that have not caught up for longer than ``max_lag_ms``."""
        if self.proposal is not None:
            return None
        kept = tuple(
            broker_id
            for broker_id in self.isr
            if broker_id == self._broker_id
            or (
                broker_id in self.followers
                and self.followers[broker_id].is_caught_up(log_end_offset, now_ms, max_lag_ms)
            )
        )
        return None if len(kept) == len(self.isr) else self._propose(kept)

    def _propose(self, isr: tuple[BrokerId, ...]) -> Proposal:
        self.proposal = Proposal(self.leader_epoch, self.partition_epoch, isr)
        return self.proposal

    def settle(self, proposal: Proposal, answer: Answer) -> Settled:
        """Takes over what the controller says of a proposal, unless it has said something else since."""
        if proposal is not self.proposal:
            return Settled.DROPPED
        if answer.error in _REFUSED:
            self.proposal = None
            return Settled.DROPPED
        if answer.error in _NEWS_WILL_COME:
            return Settled.WAITING
        if answer.error is not ErrorCode.NONE:
            return Settled.RETRY
        if answer.leader_epoch != self.leader_epoch or answer.partition_epoch < self.partition_epoch:
            return Settled.WAITING
        self.isr = answer.isr
        self.partition_epoch = answer.partition_epoch
        self.proposal = None
        return Settled.APPLIED
