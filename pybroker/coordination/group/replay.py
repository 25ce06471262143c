"""Groups and offsets out of the log of ``__consumer_offsets``: the same values that decisions store.

Most commits are overtaken by later ones. So while the log is read only the latest bytes of each key are kept,
and only what is left in the end is decoded.
"""

import logging
from collections.abc import Iterator
from itertools import islice
from zlib import crc32

from pybroker.coordination.group.consumer.changes import KINDS, read_change
from pybroker.coordination.group.consumer.group import ConsumerGroup
from pybroker.coordination.group.group import ClassicGroup
from pybroker.coordination.group.offsets import stored_offset
from pybroker.coordination.group.records import (
    GROUP_KEY,
    OFFSET_KEY,
    OFFSET_KEYS,
    GroupKey,
    OffsetKey,
    newest_offset_key,
    read_group_value,
    read_key,
    read_offset_value,
)
from pybroker.coordination.group.wire import UnreadableRecord, kind_of
from pybroker.model.ids import NO_PRODUCER_ID, Offset, ProducerId
from pybroker.records.control import ControlRecordType, read_end_transaction_marker
from pybroker.records.header import BatchHeader, Buffer, Record

logger = logging.getLogger(__name__)

BUCKETS = 256

OFFSET_BYTES = 8

_Kept = bytes
"""The offset of a record's batch, and its value. In one piece, because the garbage collector does not look at
bytes, nor at dicts of them: a million of anything else takes it 100 ms and more, again and again."""


class _Latest:
    """The latest value of each key. In buckets, because one dict of a million keys takes 90 ms to grow; by a
    checksum, so that each run finds the same order."""

    def __init__(self) -> None:
        self._buckets: list[dict[bytes, _Kept]] = [{} for _ in range(BUCKETS)]

    def of(self, key: bytes) -> dict[bytes, _Kept]:
        """The bucket of a key."""
        return self._buckets[crc32(key) % BUCKETS]

    def drain(self) -> Iterator[tuple[bytes, bytes, Offset]]:
        """Everything, once: (key, value, batch offset)."""
        while self._buckets:
            for key, kept in self._buckets.pop().items():
                yield key, *_unpacked(kept)


def _packed(value: bytes, batch_offset: Offset) -> _Kept:
    return batch_offset.to_bytes(OFFSET_BYTES, "big") + value


def _unpacked(kept: _Kept) -> tuple[bytes, Offset]:
    return kept[OFFSET_BYTES:], int.from_bytes(kept[:OFFSET_BYTES], "big")


class GroupReplay:
    """Takes the records of one partition in order; :meth:`finish`, called once, makes groups of them."""

    def __init__(self) -> None:
        self._group_records = _Latest()
        self._offset_records = _Latest()
        self._transactional: dict[ProducerId, dict[bytes, _Kept]] = {}
        self._changes = _Latest()
        self._groups: dict[str, ClassicGroup | ConsumerGroup] = {}

    def control(self, header: BatchHeader, batch: Buffer) -> None:
        """The end of a transaction: its offsets count now, or never."""
        marker = read_end_transaction_marker(batch)
        if marker is None:
            return
        ended = self._transactional.pop(header.producer_id, None)
        if ended is None or marker.type is not ControlRecordType.COMMIT:
            return
        for key, kept in ended.items():
            bucket = self._offset_records.of(key)
            known = bucket.get(key)
            if known is None or known[:OFFSET_BYTES] < kept[:OFFSET_BYTES]:
                bucket[key] = kept

    def apply(self, header: BatchHeader, record: Record, first_offset: Offset) -> None:
        """One record; ``first_offset`` is that of the first record of its batch.

        Kinds that this coordinator does not know are passed over.
        """
        _, _, key, value, _ = record
        try:
            kind = kind_of(key)
        except UnreadableRecord as error:
            logger.warning("record at offset %d of the offsets topic is unreadable: %s", record.offset, error)
            return
        assert key is not None
        if kind in OFFSET_KEYS:
            if kind != OFFSET_KEY:
                key = newest_offset_key(key)
            if header.is_transactional:
                target = self._transactional.setdefault(header.producer_id, {})
            else:
                target = self._offset_records.of(key)
        elif kind == GROUP_KEY:
            target = self._group_records.of(key)
        elif kind in KINDS:
            target = self._changes.of(key)
        else:
            return
        if value is None:
            target.pop(key, None)
        else:
            target[key] = _packed(value, first_offset)

    def finish(self, now_ms: int) -> Iterator[ClassicGroup | ConsumerGroup | None]:
        """All groups, one by one: those with a record, and those that only have offsets. In small steps:
        None is a step that completes no group.

        Records that cannot be read are passed over with a warning: one that is damaged must not take all
        groups of the partition away.
        """
        for key, value, _ in self._changes.drain():
            self._take_change(key, value)
            yield None
        for key, value, _ in self._group_records.drain():
            self._take_group(key, value, now_ms)
            yield None
        for key, value, batch_offset in self._offset_records.drain():
            self._take_offset(key, value, batch_offset, NO_PRODUCER_ID, now_ms)
            yield None
        for producer_id, kept in self._transactional.items():
            for key, one in kept.items():
                self._take_offset(key, *_unpacked(one), producer_id, now_ms)
                yield None
        while self._groups:
            yield self._groups.popitem()[1]

    def _take_group(self, key: bytes, value: bytes, now_ms: int) -> None:
        try:
            known = read_key(key)
            assert isinstance(known, GroupKey)
            group = read_group_value(known.group_id, value, now_ms)
            other = self._groups.get(known.group_id)
            # Both at once only if the end of one was never written: then that one has no members.
            if not isinstance(other, ConsumerGroup) or not other.members:
                self._groups[known.group_id] = group
        except UnreadableRecord as error:
            _warn(key, error)

    def _take_change(self, key: bytes, value: bytes) -> None:
        try:
            group_id, change = read_change(key, value)
        except UnreadableRecord as error:
            _warn(key, error)
            return
        group = self._groups.get(group_id)
        if group is None:
            group = self._groups[group_id] = ConsumerGroup(group_id)
        assert isinstance(group, ConsumerGroup), "they are taken before the classic groups"
        group.apply(change)

    def _take_offset(
        self, key: bytes, value: bytes, batch_offset: Offset, producer_id: ProducerId, now_ms: int
    ) -> None:
        try:
            known = read_key(key)
            assert isinstance(known, OffsetKey)
            stored = stored_offset(read_offset_value(value), batch_offset)
        except UnreadableRecord as error:
            _warn(key, error)
            return
        group = self._groups.get(known.group_id)
        if group is None:
            group = self._groups[known.group_id] = ClassicGroup(known.group_id, now_ms)
        if producer_id == NO_PRODUCER_ID:
            group.offsets.stored[known.tp] = stored
        else:
            group.offsets.transactional.setdefault(producer_id, {})[known.tp] = stored


def _warn(key: bytes, error: UnreadableRecord) -> None:
    logger.warning("record with the key %r of the offsets topic is unreadable: %s", key, error)


def steps(
    items: Iterator[ClassicGroup | ConsumerGroup | None], size: int
) -> Iterator[list[ClassicGroup | ConsumerGroup]]:
    """The groups among so many steps of :meth:`GroupReplay.finish` at a time."""
    while some := list(islice(items, size)):
        yield [group for group in some if group is not None]
