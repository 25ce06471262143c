"""Groups and offsets out of the log of ``__consumer_offsets``: the same values that decisions store."""

import logging
from collections import defaultdict
from collections.abc import Iterator

from pybroker.coordination.group.group import ClassicGroup
from pybroker.coordination.group.offsets import CommittedOffset, StoredOffset
from pybroker.coordination.group.records import (
    GroupKey,
    OffsetKey,
    UnreadableRecord,
    read_group_value,
    read_key,
    read_offset_value,
)
from pybroker.model.ids import Offset, ProducerId, TopicPartition
from pybroker.records.control import ControlRecordType, read_end_transaction_marker
from pybroker.records.header import BatchHeader, Buffer, Record

logger = logging.getLogger(__name__)

_Offsets = dict[TopicPartition, StoredOffset]


class GroupReplay:
    """Takes the records of one partition in order; :meth:`finish`, called once, makes groups of them."""

    def __init__(self) -> None:
        self._groups: dict[str, ClassicGroup] = {}
        self._offsets: defaultdict[str, _Offsets] = defaultdict(dict)
        self._transactional: dict[ProducerId, defaultdict[str, _Offsets]] = {}
        self._open: dict[str, dict[ProducerId, _Offsets]] = {}

    def control(self, header: BatchHeader, batch: Buffer) -> None:
        """The end of a transaction: its offsets count now, or never."""
        marker = read_end_transaction_marker(batch)
        if marker is None:
            return
        by_group = self._transactional.pop(header.producer_id, None)
        if by_group is None or marker.type is not ControlRecordType.COMMIT:
            return
        for group_id, offsets in by_group.items():
            for tp, stored in offsets.items():
                known = self._offsets[group_id].get(tp)
                if known is None or known.batch_offset < stored.batch_offset:
                    self._offsets[group_id][tp] = stored

    def apply(self, header: BatchHeader, record: Record, first_offset: Offset, now_ms: int) -> None:
        """One record; ``first_offset`` is that of the first record of its batch.

        Kinds that the classic coordinator does not know are passed over, records that it cannot read too,
        with a warning: one damaged record must not take all groups of the partition away.
        """
        try:
            self._apply(header, record, first_offset, now_ms)
        except UnreadableRecord as error:
            logger.warning("record at offset %d of the offsets topic is unreadable: %s", record.offset, error)

    def _apply(self, header: BatchHeader, record: Record, first_offset: Offset, now_ms: int) -> None:
        key, value = read_key(record.key), record.value
        if isinstance(key, OffsetKey):
            commit = None if value is None else read_offset_value(value)
            self._keep_offset(self._target(header, key.group_id), key.tp, commit, first_offset)
        elif isinstance(key, GroupKey):
            if value is None:
                self._groups.pop(key.group_id, None)
            else:
                self._groups[key.group_id] = read_group_value(key.group_id, value, now_ms)

    def _target(self, header: BatchHeader, group_id: str) -> _Offsets:
        if not header.is_transactional:
            return self._offsets[group_id]
        return self._transactional.setdefault(header.producer_id, defaultdict(dict))[group_id]

    def _keep_offset(
        self, target: _Offsets, tp: TopicPartition, commit: CommittedOffset | None, first_offset: Offset
    ) -> None:
        if commit is None:
            target.pop(tp, None)
        else:
            target[tp] = StoredOffset(commit, first_offset)

    def finish(self, now_ms: int) -> Iterator[ClassicGroup]:
        """All groups, one by one: those with a record, and those that only have offsets."""
        for producer_id, by_group in self._transactional.items():
            for group_id, offsets in by_group.items():
                if offsets:
                    self._open.setdefault(group_id, {})[producer_id] = offsets
        for group_id in dict.fromkeys((*self._groups, *self._offsets, *self._open)):
            group = self._groups.get(group_id)
            stored, open_ones = self._offsets.get(group_id), self._open.get(group_id)
            if group is None:
                if not stored and not open_ones:
                    continue
                group = ClassicGroup(group_id, now_ms)
            group.offsets.stored = stored or {}
            group.offsets.transactional = open_ones or {}
            yield group
