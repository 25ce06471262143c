"""Everything that can be done to a cluster from outside: one row an operation, with its arguments.

The HTTP API, its OpenAPI description and the Python client are made from :data:`OPERATIONS`.
"""

from collections.abc import Mapping
from typing import Any, Protocol

from msgspec import field

from pybroker.control.reading import BadInput
from pybroker.instruments.faults import FaultRule, InvalidFault
from pybroker.instruments.journal import Status, Wanted
from pybroker.instruments.plain import Plain
from pybroker.model.values import Value

DEFAULT_TIMEOUT_S = 10.0
DEFAULT_LIMIT = 1000


class NoSuchThing(LookupError):
    """A broker, topic, group or rule that an operation names is not there. The message says what is."""


class OperationFailed(Exception):
    """The cluster refused what was wanted. The message says what and why."""


class TimedOut(Exception):
    """What was waited for has not come true in time. The message says what is so instead."""


EXPECTED = (BadInput, InvalidFault, NoSuchThing, OperationFailed, TimedOut)
"""What operations raise for their caller to read; anything else is a bug."""


class Nothing(Value, kw_only=True):
    """No arguments."""


class OfBroker(Value, kw_only=True):
    """Which broker."""

    broker: int


class Kill(Value, kw_only=True):
    """Which broker, and whether the cluster notices at once (else after the session timeout)."""

    broker: int
    expire_session: bool = True


class OfDisk(Value, kw_only=True):
    """Which log directory of which broker; without a number all of them."""

    broker: int
    log_dir: int | None = None


class MoveLeader(Value, kw_only=True):
    """A partition and the broker that shall lead it."""

    topic: str
    partition: int = 0
    broker: int


class MoveCoordinator(Value, kw_only=True):
    """A group or a transactional id, and the broker that shall coordinate it."""

    group: str | None = None
    transactional_id: str | None = None
    broker: int


class SetIsr(Value, kw_only=True):
    """A partition and the brokers that shall be in sync; its leader always is."""

    topic: str
    partition: int = 0
    isr: tuple[int, ...]


class OfPartition(Value, kw_only=True):
    """Which partition."""

    topic: str
    partition: int = 0


class OfGroup(Value, kw_only=True):
    """Which group."""

    group: str


class OfMember(Value, kw_only=True):
    """A group, and a member of it; without one all members."""

    group: str
    member: str | None = None


class OfTransaction(Value, kw_only=True):
    """Which transactional id."""

    transactional_id: str


class RemoveFault(Value, kw_only=True):
    """The number that a rule got when it was added."""

    number: int


class Freeze(Value, kw_only=True):
    """The broker time to stop at, in ms since 1970; without it where it stands."""

    at_ms: int | None = None


class Advance(Value, kw_only=True):
    """How far, and for which kinds of timers; without any for all."""

    days: float = 0.0
    hours: float = 0.0
    minutes: float = 0.0
    seconds: float = 0.0
    ms: int = 0
    only: tuple[str, ...] = ()

    @property
    def total_ms(self) -> int:
        seconds = self.seconds + 60 * (self.minutes + 60 * (self.hours + 24 * self.days))
        return round(seconds * 1000) + self.ms


class ReadJournal(Value, kw_only=True):
    """Which requests; patterns have ``*`` and ``?``, ``after`` is the number of an entry."""

    api: str | None = None
    topic: str | None = None
    group: str | None = None
    client_id: str | None = None
    broker: int | None = None
    error: str | None = None
    status: Status | None = None
    after: int = 0
    limit: int = DEFAULT_LIMIT

    @property
    def wanted(self) -> Wanted:
        return Wanted(
            api=self.api,
            topic=self.topic,
            group=self.group,
            client_id=self.client_id,
            broker=self.broker,
            error=self.error,
            status=self.status,
            after=self.after,
        )


class WaitForRequests(ReadJournal, kw_only=True):
    """Which requests, how many of them, and how long to wait."""

    count: int = 1
    timeout_s: float = DEFAULT_TIMEOUT_S


class WaitForTopic(Value, kw_only=True):
    """A topic, and how many partitions with a leader it must have."""

    topic: str
    partitions: int = 1
    timeout_s: float = DEFAULT_TIMEOUT_S


class WaitForGroup(Value, kw_only=True):
    """A group, the state it must be in, and how many members it must have (none given: any number)."""

    group: str
    state: str = "Stable"
    members: int | None = None
    timeout_s: float = DEFAULT_TIMEOUT_S


class WaitForRecords(Value, kw_only=True):
    """A topic (or one partition) and how many records a consumer must be able to read there."""

    topic: str
    count: int
    partition: int | None = None
    timeout_s: float = DEFAULT_TIMEOUT_S


class ReadRecords(Value, kw_only=True):
    """Which records: of one or all partitions, from an offset on."""

    topic: str
    partition: int | None = None
    offset: int = 0
    limit: int = DEFAULT_LIMIT


class PlantSeed(Value, kw_only=True):
    """Topics, offsets and faults in the form of a seed file."""

    seed: Mapping[str, Any] = field(default_factory=dict)


class Snapshot(Value, kw_only=True):
    """An empty or missing folder on the broker's machine."""

    folder: str


class Controls(Protocol):
    """Carries out operations by their names."""

    async def __call__(self, operation: str, arguments: Any, /) -> Plain: ...


class Operation(Value):
    """One thing that can be done.

    Attributes:
        name: the last part of its path.
        arguments: the class of its arguments.
        summary: what it does, in a sentence.
    """

    name: str
    arguments: type
    summary: str


OPERATIONS: tuple[Operation, ...] = (
    # the cluster
    Operation("reset", Nothing, "Back to the seed state; every connection is closed."),
    Operation("brokers", Nothing, "The brokers: id, address, state."),
    Operation("seed", PlantSeed, "Add topics, records, offsets and faults now; they go with the next reset."),
    Operation("snapshot", Snapshot, "Copy all data to a folder, in Kafka's format."),
    # one broker
    Operation("start", OfBroker, "Start a stopped or killed broker on its files and its port."),
    Operation("stop", OfBroker, "Stop a broker in good order."),
    Operation("restart", OfBroker, "Stop a broker in good order and start it again."),
    Operation("kill", Kill, "End a broker as kill -9 does."),
    Operation("pause", OfBroker, "Let a broker answer nothing; its connections stay open."),
    Operation("resume", OfBroker, "Let a paused broker go on."),
    Operation("fail_disk", OfDisk, "Let every access to a log directory fail."),
    Operation("fill_disk", OfDisk, "Let every write to a log directory fail for want of space."),
    Operation("heal_disk", OfDisk, "Let a log directory be well again; a failed one counts after a restart."),
    # leaders and coordinators
    Operation("move_leader", MoveLeader, "Give a partition another leader."),
    Operation("move_coordinator", MoveCoordinator, "Give a group or a transactional id another coordinator."),
    Operation("set_isr", SetIsr, "Change which replicas of a partition are in sync."),
    Operation("bump_epoch", OfPartition, "Raise a partition's leader epoch."),
    # groups and transactions
    Operation("rebalance", OfGroup, "Let a group rebalance."),
    Operation("expire_member", OfMember, "Remove members from a group as if their sessions were over."),
    Operation("fence_producer", OfTransaction, "Fence a producer as a second one of the same id does."),
    Operation("expire_transaction", OfTransaction, "Abort an open transaction as if its time were over."),
    # faults
    Operation("add_fault", FaultRule, "Obey a fault rule; returns its number."),
    Operation("faults", Nothing, "The fault rules, and how often each matched and fired."),
    Operation("remove_fault", RemoveFault, "Forget a fault rule."),
    Operation("clear_faults", Nothing, "Forget all fault rules."),
    # broker time
    Operation("clock", Nothing, "Broker time, whether it is frozen, and the pending timers by kind."),
    Operation("freeze", Freeze, "Stop broker time. Connections go on."),
    Operation("unfreeze", Nothing, "Let broker time run on from where it stands."),
    Operation("advance", Advance, "Move broker time on; returns when what fell due has been done."),
    # looking and waiting
    Operation("journal", ReadJournal, "The latest requests with their answers, oldest first."),
    Operation("clear_journal", Nothing, "Forget the requests so far."),
    Operation("wait_for_requests", WaitForRequests, "Return requests once there are so many answered ones."),
    Operation("wait_for_topic", WaitForTopic, "Return when a topic can be used."),
    Operation("wait_for_group", WaitForGroup, "Return when a group is in a state."),
    Operation("wait_for_records", WaitForRecords, "Return when so many records can be read."),
    Operation("records", ReadRecords, "Records of a topic, decoded."),
)

OPERATION_BY_NAME: Mapping[str, Operation] = {operation.name: operation for operation in OPERATIONS}
