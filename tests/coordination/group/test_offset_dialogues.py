"""Commits with and without transactions, and what takes offsets away, as chance has it: whenever nothing is
under way, the log tells the same story as the memory.

Nothing is deleted while something is under way: the log then keeps what the memory forgets, as in Kafka.
"""

from hypothesis import given, settings
from hypothesis import strategies as st

from pybroker.coordination.effects import Append, Effects, Outcome, Writer
from pybroker.coordination.group.offsets import CommittedOffset, StoredOffset
from pybroker.coordination.group.rules import GroupRules
from pybroker.coordination.group.shard import GroupShard
from pybroker.model.errors import ErrorCode
from pybroker.model.ids import ProducerId, TopicPartition
from pybroker.records.batch import iter_records
from pybroker.records.builder import RecordBatchBuilder
from pybroker.records.control import ControlRecordType, EndTransactionMarker, build_end_transaction_marker
from pybroker.records.header import read_batch_header
from tests.coordination.group.dialogue import GROUP, Dialogue

PARTITIONS = tuple(TopicPartition("orders", index) for index in range(3))
PRODUCERS = 2
RETENTION_MS = 5000

Offsets = dict[TopicPartition, StoredOffset]


def offsets_of(shard: GroupShard) -> tuple[Offsets, dict[ProducerId, Offsets]]:
    """What is stored, and what open transactions have."""
    group = shard.groups.get(GROUP)
    if group is None:
        return {}, {}
    return group.offsets.stored, {key: one for key, one in group.offsets.transactional.items() if one}


class Story(Dialogue):
    """A group without members, and the batches of its log."""

    def __init__(self) -> None:
        super().__init__()
        self.rules = GroupRules(offsets_retention_ms=RETENTION_MS)
        self.shard = self.new_shard()
        self.batches: list[bytes] = []
        self.end = 0
        self.open: set[ProducerId] = set()

    def _append(self, item: Append) -> None:
        if self.holds and self.error is ErrorCode.NONE:
            self.held.append(item)
            return
        outcome = Outcome(self.error, self.end)
        if self.error is ErrorCode.NONE and item.records:
            writer, builder = item.writer, RecordBatchBuilder(base_offset=self.end)
            if writer is not None:
                builder.producer_id, builder.producer_epoch = writer.producer_id, writer.producer_epoch
                builder.base_sequence, builder.is_transactional = 0, True
            builder.extend(item.records, item.timestamp_ms)
            self.write(builder.build())
        if item.then is not None:
            effects = Effects(self.now_ms)
            item.then.settle(outcome, effects)
            self.carry_out(effects)

    def write(self, batch: bytes) -> None:
        self.batches.append(batch)
        self.end = read_batch_header(batch).next_offset

    def end_transaction(self, producer_id: ProducerId, *, is_commit: bool) -> None:
        self.open.discard(producer_id)
        kind = ControlRecordType.COMMIT if is_commit else ControlRecordType.ABORT
        self.write(
            build_end_transaction_marker(
                EndTransactionMarker(kind, 0),
                producer_id=producer_id,
                producer_epoch=0,
                timestamp_ms=self.now_ms,
                base_offset=self.end,
            )
        )
        self.shard.complete_transaction(producer_id, is_commit=is_commit)

    def replayed(self) -> GroupShard:
        shard = self.new_shard()
        replay = shard.start_replay()
        for batch in self.batches:
            header = read_batch_header(batch)
            if header.is_control:
                replay.control(header, batch)
                continue
            for record in iter_records(batch, header):
                replay.apply(header, record, header.base_offset)
        for effects in shard.loaded(replay, self.now_ms):
            assert not effects.items, "nobody is in the group"
        return shard

    @property
    def is_quiet(self) -> bool:
        """Whether nothing is under way, so that offsets may be deleted."""
        return not (self.holds or self.held or self.open or self.error)

    def step(self, action: str, number: int) -> None:
        partitions = [tp for at, tp in enumerate(PARTITIONS) if (number % 8 or 1) >> at & 1]
        commits = {tp: CommittedOffset(next(self.ids), -1, "", self.now_ms) for tp in partitions}
        producer_id, effects = number % PRODUCERS, Effects(self.now_ms)
        match action:
            case "commit":
                self.commit(offsets=commits)
            case "commit in transaction":
                self.open.add(producer_id)
                self.commit(offsets=commits, writer=Writer(producer_id, 0))
            case "end" if producer_id in self.open and not self.held:
                self.end_transaction(producer_id, is_commit=number % 3 > 0)
            case "hold":
                self.holds = True
            case "release":
                self.release()
            case "log fails":
                self.error = ErrorCode.NOT_ENOUGH_REPLICAS
            case "log works":
                self.error = ErrorCode.NONE
            case "wait":
                self.advance(number * 100)
            case "expire" if not (self.holds or self.error):
                self.expire()
            case "delete offsets" if self.is_quiet:
                self.shard.delete_offsets(GROUP, partitions, effects)
            case "delete group" if self.is_quiet:
                self.shard.delete_group(GROUP, effects)
            case "delete topic" if self.is_quiet:
                self.shard.forget_partitions(GROUP, partitions, effects)
            case "move" if not self.held:
                self.shard = self.replayed()
        self.carry_out(effects)
        self.check()

    def check(self) -> None:
        if self.held:
            return
        stored, transactional = offsets_of(self.shard)
        assert (stored, transactional) == offsets_of(self.replayed())
        assert set(transactional) <= self.open
        group = self.shard.groups.get(GROUP)
        assert group is None or not (group.offsets.pending or group.offsets.staging)


ACTIONS = [
    *["commit"] * 4,
    *["commit in transaction"] * 3,
    *["end"] * 3,
    *["hold", "release", "log fails", "log works", "log works", "wait", "expire", "move"],
    *["delete offsets", "delete group", "delete topic"],
]


@settings(deadline=None)
@given(st.lists(st.tuples(st.sampled_from(ACTIONS), st.integers(0, 99)), max_size=40))
def test_random_offsets(steps: list[tuple[str, int]]) -> None:
    story = Story()
    for action, number in steps:
        story.step(action, number)
    story.error = ErrorCode.NONE
    story.release()
    story.check()
    assert set(story.answers) == set(range(len(story.answers))), "every commit is answered"
