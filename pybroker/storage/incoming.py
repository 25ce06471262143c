"""Taking apart what a follower fetched."""

from pybroker.model.ids import Offset
from pybroker.records.control import read_end_transaction_marker
from pybroker.records.errors import InvalidRecords
from pybroker.records.header import BatchHeader
from pybroker.records.layout import LOG_OVERHEAD_BYTES
from pybroker.storage.batch_scan import batch_is_valid, header_at
from pybroker.storage.errors import CorruptRecords, UnexpectedAppendOffset


def split_batches(records: memoryview, log_end_offset: Offset) -> list[tuple[BatchHeader, memoryview]]:
    """The whole batches of a fetched buffer, checked: CRC, order, and that they go on from the log end.

    Raises:
        CorruptRecords, UnexpectedAppendOffset: see :meth:`Log.append_as_follower`.
    """
    batches: list[tuple[BatchHeader, memoryview]] = []
    position, expected = 0, log_end_offset
    while (header := header_at(records, position)) is not None:
        size = LOG_OVERHEAD_BYTES + header.batch_length
        batch = records[position : position + size]
        if len(batch) < size:
            break
        if header.base_offset < expected:
            if not batches:
                raise UnexpectedAppendOffset(header.base_offset, header.last_offset, log_end_offset)
            raise CorruptRecords(f"batch at offset {header.base_offset} follows offset {expected - 1}")
        if not batch_is_valid(header, batch):
            raise CorruptRecords(f"batch at offset {header.base_offset} has a wrong CRC")
        if header.magic == 2 and header.is_control and header.has_producer:
            _check_marker(header, batch)
        batches.append((header, batch))
        expected = header.base_offset + header.last_offset_delta + 1
        position += size
    return batches


def _check_marker(header: BatchHeader, batch: memoryview) -> None:
    try:
        read_end_transaction_marker(batch)
    except InvalidRecords as error:
        raise CorruptRecords(f"control batch at offset {header.base_offset}: {error.message}") from error
