"""Producers that write, end, crash, come back and fence each other as chance has it, in frozen broker time.

The partitions are kept here as a broker keeps them: a batch is taken only in its producer's newest epoch, and
only when the coordinator says that the partition is part of the transaction. After every step: epochs only
grow, the last stable offset never goes back nor beyond the high watermark, and who was fenced has written
nothing since. In the end, once everything has settled, each transaction is wholly there or not at all, as its
producer was told.
"""

from collections.abc import Iterable

from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import field

from pybroker.coordination.effects import TransactionMarker
from pybroker.coordination.transaction.calls import TV_0, TV_2, EndReply, Producer
from pybroker.coordination.transaction.states import TransactionState
from pybroker.model.errors import ErrorCode
from pybroker.model.ids import TopicPartition
from pybroker.model.values import State
from tests.coordination.transaction.dialogue import TXN, Dialogue

PARTITIONS = [TopicPartition("out", number) for number in range(3)]
OTHER = "other"
NONE = ErrorCode.NONE


class Attempt(State, eq=False):
    """One transaction as its producer sees it. ``told`` is what it was told of the end; None is nothing."""

    number: int
    written: set[TopicPartition] = field(default_factory=set)
    wanted: bool | None = None
    told: bool | None = None


class Entry(State):
    """A batch of an attempt, or the marker that ends one."""

    producer: Producer
    attempt: Attempt | None
    is_commit: bool = False


class Partition:
    """A log with what the broker knows of its producers."""

    def __init__(self) -> None:
        self.log: list[Entry] = []
        self.epochs: dict[int, int] = {}
        self.open: dict[int, int] = {}
        self.outcomes: dict[int, tuple[Attempt, bool]] = {}

    @property
    def last_stable_offset(self) -> int:
        return min(self.open.values(), default=len(self.log))

    def write(self, producer: Producer, attempt: Attempt) -> None:
        self.epochs[producer.producer_id] = producer.producer_epoch
        self.open.setdefault(producer.producer_id, len(self.log))
        self.log.append(Entry(producer, attempt))

    def mark(self, marker: TransactionMarker) -> None:
        known = self.epochs.get(marker.producer_id, -1)
        assert marker.producer_epoch >= known, "markers come in the newest epoch"
        self.epochs[marker.producer_id] = marker.producer_epoch
        start = self.open.pop(marker.producer_id, None)
        producer = Producer(marker.producer_id, marker.producer_epoch)
        self.log.append(Entry(producer, None, marker.is_commit))
        if start is None:
            return
        for offset in range(start, len(self.log) - 1):
            entry = self.log[offset]
            if entry.attempt is not None and entry.producer.producer_id == marker.producer_id:
                self.outcomes.setdefault(offset, (entry.attempt, marker.is_commit))


class Client:
    """A producer as clients behave, one request at a time."""

    def __init__(self, story: "Story", txn: str, *, version: int) -> None:
        self.story = story
        self.txn = txn
        self.version = version
        self.producer: Producer | None = None
        self.attempt: Attempt | None = None
        self.added: set[TopicPartition] = set()
        self.is_alive = True

    def init(self) -> None:
        """Begin, or begin again in the next epoch."""
        reply = self.story.talk.init(txn=self.txn)
        if reply is None or reply.error is not NONE:
            return
        before = self.story.newest.get(self.txn)
        assert before is None or _is_newer(before, reply.producer), "epochs only grow"
        self.story.newest[self.txn] = reply.producer
        self._go_on_as(reply.producer)

    def _go_on_as(self, producer: Producer) -> None:
        self.producer = producer
        self.attempt = None
        self.added = set()

    def write(self, tp: TopicPartition) -> None:
        if self.producer is None:
            return
        if self.attempt is not None and self.attempt.wanted is not None:
            return
        talk, partition = self.story.talk, self.story.partitions[tp]
        if self.version == TV_2 or tp not in self.added:
            if talk.add(self.producer, tp, version=self.version, txn=self.txn) is not NONE:
                return
            self.added.add(tp)
        # What the partition's leader does: it knows the transaction, or asks the coordinator.
        producer_id, epoch = self.producer
        if epoch < partition.epochs.get(producer_id, -1):
            return
        if producer_id not in partition.open:
            txn = talk.shard.transactions[self.txn]
            if txn.producer != self.producer or tp not in txn.metadata.partitions or txn.unmarked:
                return
        newest = self.story.newest[self.txn]
        assert not _is_newer(self.producer, newest), "who was fenced writes nothing"
        if self.attempt is None:
            self.attempt = self.story.new_attempt()
        self.attempt.written.add(tp)
        partition.write(self.producer, self.attempt)

    def end(self, *, commit: bool) -> None:
        if self.producer is None or self.attempt is None:
            return
        if self.attempt.wanted is None:
            self.attempt.wanted = commit
        attempt, commit = self.attempt, self.attempt.wanted
        reply = self.story.talk.end(self.producer, commit=commit, version=self.version, txn=self.txn)
        if reply is None or reply.error is not NONE:
            return
        attempt.told = commit
        self._ended(reply)

    def _ended(self, reply: EndReply) -> None:
        assert self.producer is not None
        after = self.producer
        if self.version == TV_2:
            after = reply.producer
            assert _is_newer(self.producer, after), "each transaction has an epoch of its own"
            if not _is_newer(after, self.story.newest[self.txn]):
                self.story.newest[self.txn] = after
        self._go_on_as(after)


def _is_newer(before: Producer, after: Producer) -> bool:
    """Ids only grow too, as they come from one source here."""
    return (after.producer_id, after.producer_epoch) > (before.producer_id, before.producer_epoch)


class Story:
    def __init__(self) -> None:
        self.talk = Dialogue()
        self.partitions = {tp: Partition() for tp in PARTITIONS}
        self.clients: list[Client] = []
        self.attempts: list[Attempt] = []
        self.newest: dict[str, Producer] = {}
        self.seen_markers = 0
        self.stable = dict.fromkeys(PARTITIONS, 0)

    def new_attempt(self) -> Attempt:
        self.attempts.append(Attempt(len(self.attempts)))
        return self.attempts[-1]

    def step(self, action: str, number: int) -> None:
        client = self.clients[number % len(self.clients)] if self.clients else None
        match action:
            case "new":
                version = TV_2 if number % 2 else TV_0
                self.clients.append(Client(self, (TXN, OTHER)[number // 2 % 2], version=version))
                self.clients[-1].init()
            case "wait":
                self.talk.advance(number * 2000)
            case "hold":
                self.talk.holds_markers = True
            case "release":
                self.talk.release()
            case "marker fails":
                self.talk.fates.setdefault(PARTITIONS[number % 3], []).append(
                    ErrorCode.NOT_LEADER_OR_FOLLOWER
                )
            case "log fails":
                self.talk.error = ErrorCode.NOT_ENOUGH_REPLICAS
            case "log works":
                self.talk.error = NONE
            case "move":
                self.talk.move()
            case "init" if client is not None:
                client.init()
            case "write" if client is not None:
                client.write(PARTITIONS[number % 3])
            case "commit" if client is not None:
                client.end(commit=True)
            case "abort" if client is not None:
                client.end(commit=False)
        self.check()

    def check(self) -> None:
        """What markers there are reach their partitions, and then the rules must hold."""
        for tp, marker in self.talk.markers[self.seen_markers :]:
            self.partitions[tp].mark(marker)
        self.seen_markers = len(self.talk.markers)
        for tp, partition in self.partitions.items():
            assert partition.last_stable_offset <= len(partition.log)
            assert partition.last_stable_offset >= self.stable[tp], "it never goes back"
            self.stable[tp] = partition.last_stable_offset

    def settle(self) -> None:
        """Whatever failed works again, and what is open runs out of time."""
        self.talk.error = NONE
        for _ in range(5):
            self.talk.release()
            self.check()
            self.talk.advance(2 * 60_000)
            self.check()
        states = {txn.state for txn in self.talk.shard.transactions.values()}
        assert states <= {
            TransactionState.EMPTY,
            TransactionState.COMPLETE_COMMIT,
            TransactionState.COMPLETE_ABORT,
        }
        assert not any(partition.open for partition in self.partitions.values())


def outcomes(story: Story) -> dict[int, set[bool]]:
    """By attempt, how its batches ended."""
    found: dict[int, set[bool]] = {attempt.number: set() for attempt in story.attempts}
    for partition in story.partitions.values():
        for attempt, is_commit in partition.outcomes.values():
            found[attempt.number].add(is_commit)
    return found


ACTIONS: Iterable[str] = [
    *["new"] * 2,
    *["init"] * 2,
    *["write"] * 8,
    *["commit"] * 4,
    *["abort"] * 2,
    *["wait", "wait", "hold", "release", "marker fails", "log fails", "log works", "log works", "move"],
]


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from(list(ACTIONS)), st.integers(0, 120)), min_size=40, max_size=90),
    st.booleans(),
)
def test_random_dialogues(steps: list[tuple[str, int]], moves_at_every_step: bool) -> None:
    story = Story()
    for action, number in steps:
        story.step(action, number)
        if moves_at_every_step:
            story.step("move", 0)
    story.settle()
    for attempt, ended in zip(story.attempts, outcomes(story).values(), strict=True):
        assert len(ended) == 1, f"{attempt} is half there"
        if attempt.told is not None:
            assert ended == {attempt.told}, f"{attempt} was told otherwise"
        elif attempt.wanted is None:
            assert ended == {False}, f"nobody wanted {attempt} to be committed"
