"""The rules of the in-sync replicas, whatever order things happen in."""

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from pybroker.model.errors import ErrorCode
from pybroker.replication.isr import Answer, Follower, Leadership, Proposal, Settled

US, A, B = 1, 2, 3
REPLICAS = (US, A, B)
MAX_LAG_MS = 30_000

FOLLOWERS = st.sampled_from((A, B))


class IsrMachine(RuleBasedStateMachine):
    """A leader, two followers, and a controller whose answers may be late or lost."""

    def __init__(self) -> None:
        super().__init__()
        self.now_ms = 1_000_000
        self.ends = dict.fromkeys(REPLICAS, 0)
        self.alive = {A, B}
        self.high_watermark = 0
        self.isr = REPLICAS
        self.leader_epoch = 0
        self.partition_epoch = 0
        self.proposal: Proposal | None = None
        self.answers: list[tuple[Proposal, Answer]] = []
        self.leadership = Leadership(US)
        self.begin_epoch()

    def begin_epoch(self) -> None:
        self.leadership.begin_epoch(
            self.leader_epoch, self.partition_epoch, self.isr, REPLICAS, self.ends[US], self.now_ms
        )
        self.proposal = None
        self.advance()

    def is_alive(self, broker_id: int) -> bool:
        return broker_id in self.alive

    def advance(self) -> None:
        end = self.leadership.high_watermark(self.ends[US], self.now_ms, MAX_LAG_MS, self.is_alive)
        self.high_watermark = max(self.high_watermark, end)

    @rule(count=st.integers(1, 5))
    def append(self, count: int) -> None:
        self.ends[US] += count
        self.advance()

    @rule(broker_id=FOLLOWERS)
    def fetch(self, broker_id: int) -> None:
        """A follower asks from its end, and then has all that the leader has."""
        if broker_id not in self.alive:
            return
        self.leadership.followers[broker_id].note_fetch(self.ends[broker_id], 0, self.ends[US], self.now_ms)
        proposal = self.leadership.propose_expansion(broker_id, self.high_watermark, self.is_alive)
        self.proposal = proposal or self.proposal
        self.advance()
        self.ends[broker_id] = self.ends[US]

    @rule(ms=st.sampled_from((1, 1000, MAX_LAG_MS + 1)))
    def wait(self, ms: int) -> None:
        self.now_ms += ms

    @rule()
    def look_for_lag(self) -> None:
        proposal = self.leadership.propose_shrink(self.ends[US], self.now_ms, MAX_LAG_MS)
        self.proposal = proposal or self.proposal

    @precondition(lambda self: self.proposal is not None)
    @rule()
    def controller_decides(self) -> None:
        """Also a second time: a leader asks again when the connection broke, and with it goes the first
        answer."""
        proposal = self.proposal
        assert proposal is not None
        self.answers = [(asked, answer) for asked, answer in self.answers if asked is not proposal]
        if proposal.leader_epoch < self.leader_epoch:
            answer = Answer(ErrorCode.FENCED_LEADER_EPOCH)
        elif not set(proposal.isr) <= self.alive | {US}:
            answer = Answer(ErrorCode.INELIGIBLE_REPLICA)
        elif proposal.isr != self.isr and proposal.partition_epoch < self.partition_epoch:
            answer = Answer(ErrorCode.INVALID_UPDATE_VERSION)
        else:
            self.partition_epoch += proposal.isr != self.isr
            self.isr = proposal.isr
            answer = Answer(ErrorCode.NONE, self.leader_epoch, self.partition_epoch, self.isr)
        self.answers.append((proposal, answer))

    @precondition(lambda self: self.answers)
    @rule()
    def answer_arrives(self) -> None:
        proposal, answer = self.answers.pop(0)
        settled = self.leadership.settle(proposal, answer)
        assert settled is not Settled.RETRY
        if proposal is self.proposal:
            self.proposal = None
        if settled is Settled.APPLIED:
            self.advance()

    @precondition(lambda self: self.answers)
    @rule()
    def answer_is_lost(self) -> None:
        self.answers.pop(0)

    @rule(broker_id=FOLLOWERS)
    def broker_dies(self, broker_id: int) -> None:
        """The controller takes it out of the ISR, which begins a leader epoch."""
        if broker_id not in self.alive:
            return
        self.alive.discard(broker_id)
        if broker_id in self.isr:
            self.isr = tuple(member for member in self.isr if member != broker_id)
            self.leader_epoch += 1
            self.partition_epoch += 1
            self.begin_epoch()

    @rule(broker_id=FOLLOWERS)
    def broker_comes_back(self, broker_id: int) -> None:
        self.alive.add(broker_id)

    @invariant()
    def whoever_may_be_elected_has_all_that_is_committed(self) -> None:
        for member in self.isr:
            assert self.ends[member] >= self.high_watermark

    @invariant()
    def the_leader_counts_everybody_whom_the_controller_counts(self) -> None:
        assert set(self.isr) <= set(self.leadership.maximal_isr) or self.answers or self.proposal

    @invariant()
    def the_leader_is_in_sync(self) -> None:
        assert US in self.leadership.isr


TestIsr = IsrMachine.TestCase
TestIsr.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)


def leading(isr: tuple[int, ...] = REPLICAS, end: int = 0) -> Leadership:
    leadership = Leadership(US)
    leadership.begin_epoch(5, 7, isr, REPLICAS, end, now_ms=1000)
    return leadership


def test_a_follower_that_is_always_a_little_behind_is_caught_up() -> None:
    follower = Follower(last_caught_up_ms=0)
    for step in range(10):
        start, now_ms = 10 * step, 100 * step
        follower.note_fetch(start, 0, start + 5, now_ms)
        follower.note_fetch(start + 5, 0, start + 9, now_ms + 50)
    assert follower.last_caught_up_ms == 900
    assert follower.is_caught_up(leader_end=1000, now_ms=1000, max_lag_ms=100)
    assert not follower.is_caught_up(leader_end=1000, now_ms=1001, max_lag_ms=100)


def test_a_follower_out_of_the_isr_that_is_caught_up_holds_the_high_watermark_back() -> None:
    leadership = leading(isr=(US,))
    leadership.followers[A].note_fetch(10, 0, 10, now_ms=2000)
    assert leadership.high_watermark(12, 2000, 100, lambda _: True) == 10
    assert leadership.high_watermark(12, 2000, 100, lambda _: False) == 12
    assert leadership.high_watermark(12, 2101, 100, lambda _: True) == 12


def test_nobody_joins_before_he_has_the_records_of_this_epoch() -> None:
    leadership = leading(isr=(US,), end=10)
    follower = leadership.followers[A]
    follower.note_fetch(9, 0, 10, now_ms=1000)
    assert leadership.propose_expansion(A, 5, lambda _: True) is None
    follower.note_fetch(10, 0, 10, now_ms=1000)
    assert leadership.propose_expansion(A, 5, lambda _: False) is None
    proposal = leadership.propose_expansion(A, 5, lambda _: True)
    assert proposal is not None
    assert (proposal.isr, proposal.leader_epoch, proposal.partition_epoch) == ((US, A), 5, 7)


def test_one_change_at_a_time() -> None:
    leadership = leading(isr=(US, A))
    leadership.followers[B].note_fetch(0, 0, 0, now_ms=1000)
    assert leadership.propose_expansion(B, 0, lambda _: True) is not None
    assert leadership.propose_shrink(5, 1_000_000, 100) is None
    assert leadership.propose_expansion(B, 0, lambda _: True) is None


@pytest.mark.parametrize(
    ("answer", "settled", "isr", "may_propose"),
    [
        (Answer(ErrorCode.NONE, 5, 8, (US, A)), Settled.APPLIED, (US, A), True),
        (Answer(ErrorCode.NONE, 6, 8, (US, A)), Settled.WAITING, (US,), False),
        (Answer(ErrorCode.NONE, 5, 6, (US, A)), Settled.WAITING, (US,), False),
        (Answer(ErrorCode.INELIGIBLE_REPLICA), Settled.DROPPED, (US,), True),
        (Answer(ErrorCode.OPERATION_NOT_ATTEMPTED), Settled.DROPPED, (US,), True),
        (Answer(ErrorCode.FENCED_LEADER_EPOCH), Settled.WAITING, (US,), False),
        (Answer(ErrorCode.INVALID_UPDATE_VERSION), Settled.WAITING, (US,), False),
        (Answer(ErrorCode.UNKNOWN_TOPIC_ID), Settled.WAITING, (US,), False),
        (Answer(ErrorCode.UNKNOWN_SERVER_ERROR), Settled.RETRY, (US,), False),
        (Answer(ErrorCode.NOT_CONTROLLER), Settled.RETRY, (US,), False),
    ],
)
def test_what_an_answer_means(
    answer: Answer, settled: Settled, isr: tuple[int, ...], may_propose: bool
) -> None:
    leadership = leading(isr=(US,))
    leadership.followers[A].note_fetch(0, 0, 0, now_ms=1000)
    proposal = leadership.propose_expansion(A, 0, lambda _: True)
    assert proposal is not None
    assert leadership.settle(proposal, answer) is settled
    assert leadership.isr == isr
    assert (leadership.proposal is None) is may_propose


def test_an_answer_to_an_earlier_proposal_changes_nothing() -> None:
    leadership = leading(isr=(US,))
    leadership.followers[A].note_fetch(0, 0, 0, now_ms=1000)
    old = leadership.propose_expansion(A, 0, lambda _: True)
    assert old is not None
    leadership.begin_epoch(6, 9, (US,), REPLICAS, 0, now_ms=1000)
    assert leadership.settle(old, Answer(ErrorCode.NONE, 6, 9, (US, A))) is Settled.DROPPED
    assert leadership.isr == (US,)
