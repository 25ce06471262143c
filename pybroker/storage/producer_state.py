"""What a partition remembers of its producers: last sequences, epochs and open transactions.

Decide, then apply: :meth:`ProducerState.check` raises or names the duplicate and changes nothing;
:meth:`ProducerState.apply` records a batch that is in the log. Source: ``ProducerStateManager`` and
``ProducerAppendInfo`` of Kafka 3.9.
"""

from bisect import bisect_left
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from pybroker.model.ids import LAST_PRODUCER_EPOCH, NO_PRODUCER_EPOCH, Offset, ProducerEpoch, ProducerId
from pybroker.records.control import ControlRecordType, EndTransactionMarker, read_end_transaction_marker
from pybroker.records.header import (
    CONTROL_FLAG,
    MAX_SEQUENCE,
    NO_SEQUENCE,
    TRANSACTIONAL_FLAG,
    BatchHeader,
    Buffer,
    increment_sequence,
)
from pybroker.records.policy import Origin
from pybroker.storage.errors import (
    InvalidProducerEpoch,
    InvalidTxnState,
    OutOfOrderSequence,
    TransactionCoordinatorFenced,
)

BATCHES_REMEMBERED = 5
NO_TIMESTAMP = -1
_CLIENT = Origin.CLIENT
_new = tuple.__new__


class RememberedBatch(NamedTuple):
    """One of a producer's last batches. Sequences and offsets are inclusive; the timestamp is its largest."""

    first_sequence: int
    last_sequence: int
    last_offset: Offset
    offset_delta: int
    timestamp: int

    @property
    def first_offset(self) -> Offset:
        """Offset of the first record."""
        return self.last_offset - self.offset_delta


class ProducerEntry:
    """One producer id's state. Written only by :class:`ProducerState`."""

    __slots__ = (
        "batches",
        "coordinator_epoch",
        "last_timestamp",
        "next_sequence",
        "producer_epoch",
        "producer_id",
        "txn_first_offset",
    )

    def __init__(
        self,
        producer_id: ProducerId,
        producer_epoch: ProducerEpoch = NO_PRODUCER_EPOCH,
        *,
        coordinator_epoch: int = -1,
        last_timestamp: int = NO_TIMESTAMP,
        txn_first_offset: Offset = -1,
        batches: Iterable[RememberedBatch] = (),
    ) -> None:
        self.producer_id = producer_id
        self.producer_epoch = producer_epoch
        self.coordinator_epoch = coordinator_epoch
        self.last_timestamp = last_timestamp
        self.txn_first_offset = txn_first_offset
        """First offset of the open transaction; -1 when none is open."""
        self.batches = list(batches)
        self.next_sequence = increment_sequence(self.batches[-1].last_sequence, 1) if self.batches else 0

    @property
    def last_sequence(self) -> int:
        """Sequence of the last record; -1 when no batch of this epoch is remembered."""
        return self.batches[-1].last_sequence if self.batches else NO_SEQUENCE

    @property
    def last_offset(self) -> Offset:
        """Offset of the last data record; -1 when no batch of this epoch is remembered."""
        return self.batches[-1].last_offset if self.batches else -1

    @property
    def last_offset_delta(self) -> int:
        """Last minus first offset of the last batch."""
        return self.batches[-1].offset_delta if self.batches else 0


class _Verification:
    """A transaction's first batch waits for its coordinator's word (KIP-890). The object itself is the guard:
    a marker that is written meanwhile takes it away, and with it the right to append."""

    __slots__ = ("lowest_sequence", "producer_epoch", "started_ms")

    def __init__(self, producer_epoch: ProducerEpoch, sequence: int, started_ms: int) -> None:
        self.producer_epoch = producer_epoch
        self.started_ms = started_ms
        self.lowest_sequence = sequence
        """Of batches that have come; later ones must not overtake it."""


class CompletedTransaction(NamedTuple):
    """A transaction that a marker has ended; ``last_offset`` is the marker's."""

    producer_id: ProducerId
    first_offset: Offset
    last_offset: Offset
    aborted: bool


class ProducerState:
    """The producers of one partition. ``end_offset`` is the offset up to which the log is reflected."""

    __slots__ = ("_entries", "_ongoing", "_partition", "_unreplicated", "_verifications", "end_offset")

    def __init__(self, partition: object, end_offset: Offset = 0) -> None:
        self._partition = partition
        self._entries: dict[ProducerId, ProducerEntry] = {}
        self._ongoing: list[tuple[Offset, ProducerId]] = []
        self._unreplicated: list[tuple[Offset, Offset]] = []
        self._verifications: dict[ProducerId, _Verification] = {}
        self.end_offset = end_offset

    # -- reading

    def active(self) -> Mapping[ProducerId, ProducerEntry]:
        """All producers that are remembered."""
        return self._entries

    def get(self, producer_id: ProducerId) -> ProducerEntry | None:
        """One producer's state."""
        return self._entries.get(producer_id)

    @property
    def first_unstable_offset(self) -> Offset | None:
        """First offset of the earliest transaction that is open, or whose marker is not replicated yet."""
        if self._ongoing:
            if self._unreplicated and self._unreplicated[0][0] < self._ongoing[0][0]:
                return self._unreplicated[0][0]
            return self._ongoing[0][0]
        return self._unreplicated[0][0] if self._unreplicated else None

    def last_stable_after(self, completed: CompletedTransaction) -> Offset:
        """The last stable offset once this transaction is over, replication aside."""
        for first_offset, producer_id in self._ongoing:
            if producer_id != completed.producer_id:
                return first_offset
        return completed.last_offset + 1

    def is_known_until(self, end_offset: Offset) -> bool:
        """Whether nothing has to be replayed to know the producers up to ``end_offset``."""
        return self.end_offset == end_offset and not self._entries and not self._unreplicated

    # -- verifying

    def start_verification(
        self, producer_id: ProducerId, producer_epoch: ProducerEpoch, sequence: int, now_ms: int
    ) -> object | None:
        """A guard for :meth:`check_verified`, None if the producer's transaction is open already. Sequence -1
        is that of a coordinator."""
        if self._is_open(producer_id, producer_epoch):
            return None
        known = self._verifications.get(producer_id)
        if known is None:
            known = self._verifications[producer_id] = _Verification(producer_epoch, sequence, now_ms)
        elif producer_epoch > known.producer_epoch:
            known.producer_epoch, known.lowest_sequence = producer_epoch, sequence
        elif producer_epoch == known.producer_epoch:
            known.lowest_sequence = min(known.lowest_sequence, sequence)
        return known

    def check_verified(self, header: BatchHeader, origin: Origin, guard: object | None) -> None:
        """Whether the coordinator knows of the transaction that a batch belongs to.

        Raises:
            InvalidTxnState: it was not asked, or the transaction has ended since.
            OutOfOrderSequence: an earlier batch has come already, and waits to be sent again.
        """
        if self._is_open(header.producer_id, header.producer_epoch):
            return
        known = self._verifications.get(header.producer_id)
        if known is None or known is not guard:
            raise InvalidTxnState("Record was not part of an ongoing transaction")
        if origin is Origin.CLIENT and header.base_sequence > known.lowest_sequence:
            raise OutOfOrderSequence(
                f"out of order sequence number of producer {header.producer_id} in {self._partition}: "
                f"{header.base_sequence} (incoming), {known.lowest_sequence} (earliest seen)"
            )

    def _is_open(self, producer_id: ProducerId, producer_epoch: ProducerEpoch) -> bool:
        """Whether a batch of this epoch goes on with what is open. A transaction of an older epoch waits for
        its marker: the next one must not begin before that, or the marker would end it too."""
        entry = self._entries.get(producer_id)
        return entry is not None and entry.txn_first_offset >= 0 and entry.producer_epoch == producer_epoch

    # -- deciding

    def check(self, header: BatchHeader, origin: Origin, first_offset: Offset) -> RememberedBatch | None:
        """Whether a data batch may be appended; the remembered batch if it is a duplicate of one.

        Raises:
            InvalidProducerEpoch: a newer epoch has written, or there is no such epoch.
            OutOfOrderSequence: it does not follow the producer's last batch.
            InvalidTxnState: it is not transactional though a transaction is open.
        """
        entry = self._entries.get(header.producer_id)
        if entry is None:
            if header.producer_epoch < NO_PRODUCER_EPOCH:
                raise InvalidProducerEpoch(
                    f"epoch of producer {header.producer_id} at offset {first_offset} in {self._partition} "
                    f"is {header.producer_epoch}"
                )
            return None
        sequence = header.base_sequence
        if origin is _CLIENT:
            if header.producer_epoch == entry.producer_epoch:
                if sequence != entry.next_sequence:
                    duplicate = self._duplicate(entry, header)
                    if duplicate is not None:
                        return duplicate
                    self._check_sequence(entry, header, first_offset)
            else:
                self._check_epoch(entry, header.producer_epoch, first_offset)
                self._check_sequence(entry, header, first_offset)
        else:
            self._check_epoch(entry, header.producer_epoch, first_offset)
        if entry.txn_first_offset >= 0 and not header.attributes & TRANSACTIONAL_FLAG:
            raise InvalidTxnState(
                f"expected a transactional write of producer {entry.producer_id} at offset {first_offset} "
                f"in {self._partition}"
            )
        return None

    @staticmethod
    def _duplicate(entry: ProducerEntry, header: BatchHeader) -> RememberedBatch | None:
        first, last = header.base_sequence, header.last_sequence
        for batch in entry.batches:
            if batch.first_sequence == first and batch.last_sequence == last:
                return batch
        return None

    def _check_epoch(self, entry: ProducerEntry, epoch: ProducerEpoch, offset: Offset) -> None:
        if epoch < entry.producer_epoch:
            raise InvalidProducerEpoch(
                f"epoch of producer {entry.producer_id} at offset {offset} in {self._partition} is {epoch}, "
                f"smaller than the last seen epoch {entry.producer_epoch}"
            )

    def _check_sequence(self, entry: ProducerEntry, header: BatchHeader, offset: Offset) -> None:
        sequence = header.base_sequence
        where = f"of producer {entry.producer_id} at offset {offset} in {self._partition}"
        if entry.producer_epoch == NO_PRODUCER_EPOCH:
            return
        if header.producer_epoch != entry.producer_epoch:
            if sequence != 0:
                raise OutOfOrderSequence(
                    f"invalid sequence number for new epoch {where}: {header.producer_epoch} (request), "
                    f"{sequence} (sequence number), {entry.producer_epoch} (current epoch)"
                )
            return
        last = entry.last_sequence
        if sequence != last + 1 and not (sequence == 0 and last == MAX_SEQUENCE):
            raise OutOfOrderSequence(
                f"out of order sequence number {where}: {sequence} (incoming), {last} (current end)"
            )

    def check_marker(self, header: BatchHeader, marker: EndTransactionMarker, offset: Offset) -> None:
        """Whether a transaction marker may be appended.

        Raises:
            InvalidProducerEpoch: a newer epoch has written.
            TransactionCoordinatorFenced: a newer coordinator has written a marker.
        """
        entry = self._entries.get(header.producer_id)
        if entry is None:
            return
        self._check_epoch(entry, header.producer_epoch, offset)
        if entry.coordinator_epoch > marker.coordinator_epoch:
            raise TransactionCoordinatorFenced(
                f"coordinator epoch {marker.coordinator_epoch} for producer {header.producer_id} at offset "
                f"{offset} in {self._partition} is older than {entry.coordinator_epoch}"
            )

    def check_bumped_marker(
        self, producer_id: ProducerId, producer_epoch: ProducerEpoch, offset: Offset
    ) -> None:
        """Whether the marker of a transaction whose end has raised the epoch may be appended (KIP-1228): a
        marker in the epoch of the records themselves is late. One that is sent again after its transaction
        has ended may.

        Raises:
            InvalidProducerEpoch: it may not.
        """
        entry = self._entries.get(producer_id)
        if entry is None or producer_epoch > entry.producer_epoch:
            return
        is_repeated = entry.txn_first_offset < 0 or producer_epoch == LAST_PRODUCER_EPOCH
        if producer_epoch < entry.producer_epoch or not is_repeated:
            raise InvalidProducerEpoch(
                f"epoch of a marker of producer {producer_id} at offset {offset} in {self._partition} is "
                f"{producer_epoch}, not greater than the last seen epoch {entry.producer_epoch}"
            )

    # -- applying

    def apply(self, header: BatchHeader, first_offset: Offset, last_offset: Offset) -> None:
        """Records a data batch of a producer that is in the log now."""
        producer_id = header.producer_id
        entry = self._entries.get(producer_id)
        if entry is None:
            entry = self._entries[producer_id] = ProducerEntry(producer_id)
        batches = entry.batches
        if entry.producer_epoch != header.producer_epoch:
            entry.producer_epoch = header.producer_epoch
            batches.clear()
        delta = last_offset - first_offset
        sequence, timestamp = header.base_sequence, header.max_timestamp
        # A coordinator's batches carry no sequence: Kafka remembers -1 for them.
        last_sequence = (sequence + delta) & MAX_SEQUENCE if sequence >= 0 else NO_SEQUENCE
        if len(batches) >= BATCHES_REMEMBERED:
            del batches[0]
        batches.append(_new(RememberedBatch, (sequence, last_sequence, last_offset, delta, timestamp)))
        entry.next_sequence = (last_sequence + 1) & MAX_SEQUENCE
        entry.last_timestamp = timestamp
        if header.attributes & TRANSACTIONAL_FLAG and entry.txn_first_offset < 0:
            entry.txn_first_offset = first_offset
            self._verifications.pop(producer_id, None)
            self._ongoing.append((first_offset, producer_id))

    def apply_marker(
        self, header: BatchHeader, marker: EndTransactionMarker, offset: Offset
    ) -> CompletedTransaction | None:
        """Records a marker; returns the transaction it ends, None if that wrote nothing here."""
        producer_id = header.producer_id
        entry = self._entries.get(producer_id)
        if entry is None:
            entry = self._entries[producer_id] = ProducerEntry(producer_id)
        completed = None
        if entry.txn_first_offset >= 0:
            completed = CompletedTransaction(
                producer_id, entry.txn_first_offset, offset, marker.type is ControlRecordType.ABORT
            )
            entry.txn_first_offset = -1
        if entry.producer_epoch != header.producer_epoch:
            entry.producer_epoch = header.producer_epoch
            entry.batches.clear()
            entry.next_sequence = 0
        self._verifications.pop(producer_id, None)
        entry.coordinator_epoch = marker.coordinator_epoch
        entry.last_timestamp = header.max_timestamp
        return completed

    def complete(self, completed: CompletedTransaction) -> None:
        """Moves a transaction from the open ones to those whose marker waits for replication."""
        slot = bisect_left(self._ongoing, (completed.first_offset, completed.producer_id))
        del self._ongoing[slot]
        unreplicated = (completed.first_offset, completed.last_offset)
        self._unreplicated.insert(bisect_left(self._unreplicated, unreplicated), unreplicated)

    def forget_replicated(self, offset: Offset) -> None:
        """The high watermark or the log start has reached ``offset``: markers before it are settled."""
        if self._unreplicated:
            self._unreplicated = [txn for txn in self._unreplicated if txn[1] >= offset]

    def load(self, entries: Iterable[ProducerEntry], end_offset: Offset, expired_before_ms: int) -> None:
        """Replaces everything by a snapshot's producers, without those that expired."""
        self.clear(end_offset)
        for entry in entries:
            if entry.txn_first_offset < 0 and entry.last_timestamp <= expired_before_ms:
                continue
            self._entries[entry.producer_id] = entry
            if entry.txn_first_offset >= 0:
                self._ongoing.append((entry.txn_first_offset, entry.producer_id))
        self._ongoing.sort()

    def remove_expired(self, expired_before_ms: int) -> None:
        """Forgets producers without an open transaction whose last write is not after that time."""
        expired = [
            entry.producer_id
            for entry in self._entries.values()
            if entry.txn_first_offset < 0 and entry.last_timestamp <= expired_before_ms
        ]
        for producer_id in expired:
            del self._entries[producer_id]
        for producer_id, waiting in list(self._verifications.items()):
            if waiting.started_ms <= expired_before_ms:
                del self._verifications[producer_id]

    def clear(self, end_offset: Offset) -> None:
        """Forgets everybody."""
        self._entries.clear()
        self._ongoing.clear()
        self._unreplicated.clear()
        self._verifications.clear()
        self.end_offset = end_offset


def replay_batch(state: ProducerState, header: BatchHeader, batch: Buffer) -> CompletedTransaction | None:
    """Applies a batch that is in the log already; the transaction it ends, not yet completed in ``state``.

    Raises:
        InvalidRecords: a control batch that is damaged.
    """
    if header.attributes & CONTROL_FLAG:
        marker = read_end_transaction_marker(batch)
        return None if marker is None else state.apply_marker(header, marker, header.base_offset)
    state.apply(header, header.base_offset, header.base_offset + header.last_offset_delta)
    return None
