"""Who leads a partition next. Pure: assignment, ISR and live replicas in, the new state out.

Every rule takes the first suitable replica in assignment order. Source: Kafka 3.9 ``Election`` and
``PartitionLeaderElectionAlgorithms``.
"""

from collections.abc import Collection, Sequence
from enum import Enum, auto

from pybroker.metadata.znodes import RECOVERING, LeaderAndIsr, ReplicaAssignment
from pybroker.model.ids import NO_LEADER, BrokerId


class Strategy(Enum):
    """Why a leader is elected."""

    OFFLINE = auto()
    UNCLEAN = auto()
    REASSIGNMENT = auto()
    PREFERRED = auto()
    CONTROLLED_SHUTDOWN = auto()


def first_state(replicas: Sequence[BrokerId], live: Collection[BrokerId]) -> LeaderAndIsr | None:
    """State of a new partition: the first live replica leads, all live ones are in sync. None without any."""
    isr = tuple(replica for replica in replicas if replica in live)
    return LeaderAndIsr(leader=isr[0], leader_epoch=0, isr=isr) if isr else None


def offline(
    state: LeaderAndIsr, replicas: Sequence[BrokerId], live: Collection[BrokerId], *, unclean_allowed: bool
) -> LeaderAndIsr | None:
    """State of a partition whose leader is gone: the ISR shrinks to its live members, one of them leads.

    If none of them lives and ``unclean_allowed``, any live replica leads alone, and is recovering.
    """
    leader = _first(replicas, live, state.isr)
    if leader is not None:
        return state.next(leader, tuple(replica for replica in state.isr if replica in live))
    leader = _first(replicas, live) if unclean_allowed else None
    return None if leader is None else state.next(leader, (leader,), RECOVERING)


def preferred(
    state: LeaderAndIsr, replicas: Sequence[BrokerId], live: Collection[BrokerId]
) -> LeaderAndIsr | None:
    """State with the first assigned replica as leader, if it is live and in sync."""
    leader = _first(replicas[:1], live, state.isr)
    return None if leader is None else state.next(leader, state.isr)


def reassigned(
    state: LeaderAndIsr, assignment: ReplicaAssignment, live: Collection[BrokerId]
) -> LeaderAndIsr | None:
    """State with a leader out of the replicas that stay."""
    leader = _first(assignment.target, live, state.isr)
    return None if leader is None else state.next(leader, state.isr)


def controlled_shutdown(
    state: LeaderAndIsr,
    replicas: Sequence[BrokerId],
    live_or_shutting_down: Collection[BrokerId],
    shutting_down: Collection[BrokerId],
) -> LeaderAndIsr | None:
    """State without the brokers that are about to stop, neither as leader nor in the ISR."""
    isr = tuple(replica for replica in state.isr if replica not in shutting_down)
    leader = _first(replicas, live_or_shutting_down, isr)
    return None if leader is None else state.next(leader, isr)


def without_replica(state: LeaderAndIsr, replica: BrokerId) -> LeaderAndIsr:
    """State after a replica went offline. The last member of the ISR stays in it, without leading."""
    isr = state.isr if len(state.isr) == 1 else tuple(member for member in state.isr if member != replica)
    return state.next(NO_LEADER if state.leader == replica else state.leader, isr)


def _first(replicas: Sequence[BrokerId], *among: Collection[BrokerId]) -> BrokerId | None:
    return next((replica for replica in replicas if all(replica in group for group in among)), None)
