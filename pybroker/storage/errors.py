"""What can go wrong in the log. The caller maps these to Kafka's error codes in one table."""

from pybroker.model.ids import Offset


class StorageError(Exception):
    """Base of every expected failure of this room."""


class LogDirFailed(StorageError):
    """The disk under a log directory failed: the directory is offline from now on (KAFKA_STORAGE_ERROR)."""

    def __init__(self, log_dir: str, error: OSError | str) -> None:
        super().__init__(f"log directory {log_dir} failed: {error}")
        self.log_dir = log_dir
        self.error = error


class DiskFull(StorageError):
    """No space for this append: nothing was kept of it, and later appends may succeed
    (KAFKA_STORAGE_ERROR)."""


class LogDirUnusable(StorageError):
    """A log directory cannot be used at start-up: locked, unwritable, or another broker's. One clear line."""


class OffsetOutOfRange(StorageError):
    """The offset is outside [log start offset, log end offset] (OFFSET_OUT_OF_RANGE)."""

    def __init__(self, offset: Offset, log_start_offset: Offset, log_end_offset: Offset) -> None:
        super().__init__(f"offset {offset} is not between {log_start_offset} and {log_end_offset}")
        self.offset = offset
        self.log_start_offset = log_start_offset
        self.log_end_offset = log_end_offset


class UnexpectedAppendOffset(StorageError):
    """A follower was given records that begin before its log end offset."""

    def __init__(self, first_offset: Offset, last_offset: Offset, log_end_offset: Offset) -> None:
        super().__init__(f"records {first_offset} to {last_offset} begin before the log end {log_end_offset}")
        self.first_offset = first_offset
        self.last_offset = last_offset


class CorruptRecords(StorageError):
    """Record batches that do not parse, fail their CRC, or go backwards (CORRUPT_MESSAGE)."""


class RecordsTooLarge(StorageError):
    """The records do not fit into a segment (RECORD_LIST_TOO_LARGE)."""


class OutOfOrderSequence(StorageError):
    """A producer's batch does not continue its sequence (OUT_OF_ORDER_SEQUENCE_NUMBER)."""


class InvalidProducerEpoch(StorageError):
    """A newer instance of the producer has written already (INVALID_PRODUCER_EPOCH)."""


class InvalidTxnState(StorageError):
    """A non-transactional batch inside a producer's open transaction (INVALID_TXN_STATE)."""


class TransactionCoordinatorFenced(StorageError):
    """A marker from a coordinator that a newer one has replaced (TRANSACTION_COORDINATOR_FENCED)."""


class CorruptFile(StorageError):
    """A checkpoint, snapshot or metadata file cannot be read; the message names the file and the reason."""
