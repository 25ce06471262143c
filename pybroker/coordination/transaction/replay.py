"""Transactions out of the log of ``__transaction_state``. The latest record of each id counts, so only its
bytes are kept while the log is read."""

import logging
from collections.abc import Iterator

from pybroker.coordination.transaction.records import UnreadableRecord, read_key, read_value
from pybroker.coordination.transaction.transaction import Transaction
from pybroker.model.ids import Offset
from pybroker.records.header import BatchHeader, Buffer, Record

logger = logging.getLogger(__name__)


class TransactionReplay:
    """Takes the records of one partition in order; :meth:`finish`, called once, makes transactions of
    them."""

    def __init__(self) -> None:
        self._latest: dict[bytes, bytes] = {}

    def control(self, header: BatchHeader, batch: Buffer) -> None:
        """Nobody writes this topic in transactions."""

    def apply(self, header: BatchHeader, record: Record, first_offset: Offset) -> None:  # noqa: ARG002
        """One record."""
        if record.key is None:
            logger.warning("record at offset %d of the transaction topic has no key", record.offset)
        elif record.value is None:
            self._latest.pop(record.key, None)
        else:
            self._latest[record.key] = record.value

    def finish(self) -> Iterator[Transaction]:
        """All transactions, one by one. Records that cannot be read are passed over with a warning: one that
        is damaged must not take all ids of the partition away."""
        while self._latest:
            key, value = self._latest.popitem()
            try:
                transactional_id = read_key(key)
                if transactional_id is not None:
                    yield Transaction(transactional_id, read_value(value))
            except UnreadableRecord as error:
                logger.warning("record with the key %r of the transaction topic: %s", key, error)
