"""The states of a transaction, and what each of them answers: tables first."""

from collections.abc import Mapping
from enum import Enum, IntEnum, auto

from pybroker.model.errors import ErrorCode


class TransactionState(IntEnum):
    """The values are those of the records."""

    EMPTY = 0
    """A producer has its id, and has not begun a transaction."""
    ONGOING = 1
    PREPARE_COMMIT = 2
    """The decision to commit is in the log; markers are being written."""
    PREPARE_ABORT = 3
    COMPLETE_COMMIT = 4
    """All markers are written."""
    COMPLETE_ABORT = 5
    DEAD = 6
    """Expired; its tombstone is being written."""
    PREPARE_EPOCH_FENCE = 7
    """Never in a log: the producer is fenced, and its transaction is about to be aborted."""

    @property
    def word(self) -> str:
        """What ListTransactions and DescribeTransactions call it."""
        return "".join(part.capitalize() for part in self.name.split("_"))


EMPTY = TransactionState.EMPTY
ONGOING = TransactionState.ONGOING
PREPARE_COMMIT = TransactionState.PREPARE_COMMIT
PREPARE_ABORT = TransactionState.PREPARE_ABORT
COMPLETE_COMMIT = TransactionState.COMPLETE_COMMIT
COMPLETE_ABORT = TransactionState.COMPLETE_ABORT
DEAD = TransactionState.DEAD

BY_WORD: Mapping[str, TransactionState] = {state.word: state for state in TransactionState}

_AT_REST = frozenset({EMPTY, COMPLETE_COMMIT, COMPLETE_ABORT})

PREVIOUS_STATES: Mapping[TransactionState, frozenset[TransactionState]] = {
    EMPTY: _AT_REST,
    ONGOING: _AT_REST | {ONGOING},
    PREPARE_COMMIT: frozenset({ONGOING}),
    PREPARE_ABORT: _AT_REST | {ONGOING},
    COMPLETE_COMMIT: frozenset({PREPARE_COMMIT}),
    COMPLETE_ABORT: frozenset({PREPARE_ABORT}),
    DEAD: _AT_REST,
    TransactionState.PREPARE_EPOCH_FENCE: frozenset(),
}
"""From where a state may be entered."""

EXPIRABLE = _AT_REST

COMPLETED: Mapping[TransactionState, TransactionState] = {
    PREPARE_COMMIT: COMPLETE_COMMIT,
    PREPARE_ABORT: COMPLETE_ABORT,
}
"""Where a decided transaction gets when its markers are written."""


class InitStep(Enum):
    """What an InitProducerId of somebody who may ask leads to."""

    BUMP = auto()
    """A new epoch, or a new producer id when there is none left."""
    FENCE = auto()
    """The producer before is fenced and its transaction aborted; the client asks again."""
    BUSY = auto()


INIT_STEPS: Mapping[TransactionState, InitStep] = {
    EMPTY: InitStep.BUMP,
    ONGOING: InitStep.FENCE,
    PREPARE_COMMIT: InitStep.BUSY,
    PREPARE_ABORT: InitStep.BUSY,
    COMPLETE_COMMIT: InitStep.BUMP,
    COMPLETE_ABORT: InitStep.BUMP,
}

ADD_ANSWERS: Mapping[TransactionState, ErrorCode] = {
    EMPTY: ErrorCode.NONE,
    ONGOING: ErrorCode.NONE,
    PREPARE_COMMIT: ErrorCode.CONCURRENT_TRANSACTIONS,
    PREPARE_ABORT: ErrorCode.CONCURRENT_TRANSACTIONS,
    COMPLETE_COMMIT: ErrorCode.NONE,
    COMPLETE_ABORT: ErrorCode.NONE,
}
"""To partitions of the current producer, to be added or verified; NONE goes on."""


class EndStep(Enum):
    """What an EndTxn of the current producer leads to."""

    END = auto()
    """The decision is written."""
    AGREE = auto()
    """It has been done already."""
    BUSY = auto()
    REFUSE = auto()
    """INVALID_TXN_STATE."""


END, AGREE, BUSY, REFUSE = EndStep.END, EndStep.AGREE, EndStep.BUSY, EndStep.REFUSE

END_STEPS: Mapping[TransactionState, Mapping[bool, EndStep]] = {
    EMPTY: {True: REFUSE, False: REFUSE},
    ONGOING: {True: END, False: END},
    PREPARE_COMMIT: {True: BUSY, False: REFUSE},
    PREPARE_ABORT: {True: REFUSE, False: BUSY},
    COMPLETE_COMMIT: {True: AGREE, False: REFUSE},
    COMPLETE_ABORT: {True: REFUSE, False: AGREE},
}
"""By whether it is a commit, for clients that keep their epoch."""

BUMPING_END_STEPS: Mapping[TransactionState, Mapping[bool, tuple[EndStep, EndStep]]] = {
    EMPTY: {True: (REFUSE, REFUSE), False: (END, END)},
    ONGOING: {True: (END, END), False: (END, END)},
    PREPARE_COMMIT: {True: (BUSY, BUSY), False: (REFUSE, REFUSE)},
    PREPARE_ABORT: {True: (REFUSE, REFUSE), False: (BUSY, BUSY)},
    COMPLETE_COMMIT: {True: (REFUSE, AGREE), False: (END, REFUSE)},
    COMPLETE_ABORT: {True: (REFUSE, REFUSE), False: (END, AGREE)},
}
"""By whether it is a commit, for clients whose epoch grows with every transaction (KIP-890): (the step in the
current epoch, the step of a request that is sent again, in the epoch before)."""


class MarkerStep(Enum):
    """What becomes of a partition to which a marker was sent."""

    DONE = auto()
    RETRY = auto()
    GIVE_UP = auto()
    """Somebody newer is in charge: all markers of this transaction are none of our business any more."""


MARKER_STEPS: Mapping[ErrorCode, MarkerStep] = {
    ErrorCode.NONE: MarkerStep.DONE,
    ErrorCode.UNSUPPORTED_FOR_MESSAGE_FORMAT: MarkerStep.DONE,
    ErrorCode.UNSUPPORTED_VERSION: MarkerStep.DONE,
    ErrorCode.INVALID_PRODUCER_EPOCH: MarkerStep.DONE,
    ErrorCode.TRANSACTION_COORDINATOR_FENCED: MarkerStep.GIVE_UP,
}
"""Everything that is not listed is tried again: a transaction that was decided has to get its markers. A
partition that knows a newer epoch of the producer needs no marker of an older one."""
