"""The states of a classic group, and what each of them answers: tables first."""

from collections.abc import Mapping
from enum import Enum, auto

from pybroker.model.errors import ErrorCode


class GroupState(Enum):
    """The values are the words of ListGroups and DescribeGroups."""

    EMPTY = "Empty"
    """No members; it keeps offsets."""
    PREPARING_REBALANCE = "PreparingRebalance"
    """Collects the members' joins."""
    COMPLETING_REBALANCE = "CompletingRebalance"
    """A new generation waits for its leader's assignment."""
    STABLE = "Stable"
    """Every member has its assignment."""
    DEAD = "Dead"
    """Deleted, or moved to another coordinator."""


EMPTY = GroupState.EMPTY
PREPARING_REBALANCE = GroupState.PREPARING_REBALANCE
COMPLETING_REBALANCE = GroupState.COMPLETING_REBALANCE
STABLE = GroupState.STABLE
DEAD = GroupState.DEAD

PREVIOUS_STATES: Mapping[GroupState, frozenset[GroupState]] = {
    EMPTY: frozenset({PREPARING_REBALANCE}),
    PREPARING_REBALANCE: frozenset({STABLE, COMPLETING_REBALANCE, EMPTY}),
    COMPLETING_REBALANCE: frozenset({PREPARING_REBALANCE}),
    STABLE: frozenset({COMPLETING_REBALANCE}),
    DEAD: frozenset(GroupState),
}
"""From where a state may be entered."""

HEARTBEAT_ANSWERS: Mapping[GroupState, ErrorCode] = {
    EMPTY: ErrorCode.UNKNOWN_MEMBER_ID,
    PREPARING_REBALANCE: ErrorCode.REBALANCE_IN_PROGRESS,
    COMPLETING_REBALANCE: ErrorCode.NONE,
    STABLE: ErrorCode.NONE,
    DEAD: ErrorCode.COORDINATOR_NOT_AVAILABLE,
}
"""To a known member of the current generation."""

COMMIT_ANSWERS: Mapping[GroupState, ErrorCode] = {
    EMPTY: ErrorCode.NONE,
    PREPARING_REBALANCE: ErrorCode.NONE,
    COMPLETING_REBALANCE: ErrorCode.REBALANCE_IN_PROGRESS,
    STABLE: ErrorCode.NONE,
    DEAD: ErrorCode.COORDINATOR_NOT_AVAILABLE,
}
"""To a commit of somebody who may commit; NONE stores it."""


class SyncStep(Enum):
    """What a valid SyncGroup leads to."""

    REFUSE = auto()
    AWAIT = auto()
    ANSWER = auto()


SYNC_STEPS: Mapping[GroupState, tuple[SyncStep, ErrorCode]] = {
    EMPTY: (SyncStep.REFUSE, ErrorCode.UNKNOWN_MEMBER_ID),
    PREPARING_REBALANCE: (SyncStep.REFUSE, ErrorCode.REBALANCE_IN_PROGRESS),
    COMPLETING_REBALANCE: (SyncStep.AWAIT, ErrorCode.NONE),
    STABLE: (SyncStep.ANSWER, ErrorCode.NONE),
    DEAD: (SyncStep.REFUSE, ErrorCode.COORDINATOR_NOT_AVAILABLE),
}


class RejoinStep(Enum):
    """What the JoinGroup of a known member leads to."""

    REFUSE = auto()
    AWAIT = auto()
    """It waits for the rebalance that is under way."""
    AWAIT_IF_CHANGED = auto()
    """New protocols begin a rebalance; the same ones are a repeated request and are answered again."""
    AWAIT_IF_CHANGED_OR_LEADER = auto()
    """As above, and the leader may always ask for a rebalance."""


REJOIN_STEPS: Mapping[GroupState, RejoinStep] = {
    EMPTY: RejoinStep.REFUSE,
    PREPARING_REBALANCE: RejoinStep.AWAIT,
    COMPLETING_REBALANCE: RejoinStep.AWAIT_IF_CHANGED,
    STABLE: RejoinStep.AWAIT_IF_CHANGED_OR_LEADER,
    DEAD: RejoinStep.REFUSE,
}

DELETE_ANSWERS: Mapping[GroupState, ErrorCode] = {
    EMPTY: ErrorCode.NONE,
    PREPARING_REBALANCE: ErrorCode.NON_EMPTY_GROUP,
    COMPLETING_REBALANCE: ErrorCode.NON_EMPTY_GROUP,
    STABLE: ErrorCode.NON_EMPTY_GROUP,
    DEAD: ErrorCode.GROUP_ID_NOT_FOUND,
}
"""To the wish to delete the group; NONE deletes it."""
