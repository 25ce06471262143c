"""Which transactional batches may go: those of aborted transactions at once, markers after their data.

Source: ``CleanedTransactionMetadata`` of Kafka 3.9.
"""

from collections.abc import Iterable

from pybroker.model.ids import Offset, ProducerId
from pybroker.records.batch import iter_records
from pybroker.records.control import ControlRecordType, control_record_type
from pybroker.records.header import BatchHeader, Buffer
from pybroker.storage.transaction_index import AbortedTransaction


class TransactionsSeen:
    """Follows a walk over all batches of a log, in order.

    Args:
        aborted: every aborted transaction that touches the range of the walk, each once.
    """

    def __init__(self, aborted: Iterable[AbortedTransaction]) -> None:
        self._coming = sorted(aborted, key=lambda entry: -entry.first_offset)
        self._aborted: dict[ProducerId, AbortedTransaction] = {}
        self._aborted_with_data: set[ProducerId] = set()
        self._committed_with_data: set[ProducerId] = set()
        self.retained: list[AbortedTransaction] = []
        """Aborted transactions of which data was seen: readers must go on leaving them out."""

    def see(self, header: BatchHeader, batch: Buffer) -> bool:
        """Whether the batch that comes next is worthless: data of an aborted transaction, or the marker of a
        transaction that has no data left.

        Raises:
            InvalidRecords: a damaged control batch.
        """
        self._begin_until(header.last_offset)
        if header.is_control:
            return self._see_marker(header, batch)
        if not header.is_transactional:
            return False
        producer_id = header.producer_id
        if producer_id in self._aborted:
            self._aborted_with_data.add(producer_id)
            return True
        self._committed_with_data.add(producer_id)
        return False

    def _begin_until(self, offset: Offset) -> None:
        coming = self._coming
        while coming and coming[-1].first_offset <= offset:
            entry = coming.pop()
            self._aborted.setdefault(entry.producer_id, entry)

    def _see_marker(self, header: BatchHeader, batch: Buffer) -> bool:
        record = next(iter_records(batch, header), None)
        if record is None:
            # It was emptied by an earlier clean.
            return True
        producer_id = header.producer_id
        match control_record_type(record.key):
            case ControlRecordType.ABORT:
                entry = self._aborted.pop(producer_id, None)
                if entry is None or producer_id not in self._aborted_with_data:
                    return True
                self._aborted_with_data.discard(producer_id)
                self.retained.append(entry)
                return False
            case ControlRecordType.COMMIT:
                had_data = producer_id in self._committed_with_data
                self._committed_with_data.discard(producer_id)
                return not had_data
            case _:
                return False
