"""The one table from what goes wrong in the log to what a client is told."""

from collections.abc import Mapping

from pybroker.model.errors import ApiError, ErrorCode
from pybroker.storage import errors

CODE_OF: Mapping[type[errors.StorageError], ErrorCode] = {
    errors.LogDirFailed: ErrorCode.KAFKA_STORAGE_ERROR,
    errors.DiskFull: ErrorCode.KAFKA_STORAGE_ERROR,
    errors.LogDirUnusable: ErrorCode.KAFKA_STORAGE_ERROR,
    errors.CorruptFile: ErrorCode.KAFKA_STORAGE_ERROR,
    errors.OffsetOutOfRange: ErrorCode.OFFSET_OUT_OF_RANGE,
    errors.UnexpectedAppendOffset: ErrorCode.UNKNOWN_SERVER_ERROR,
    errors.CorruptRecords: ErrorCode.CORRUPT_MESSAGE,
    errors.RecordsTooLarge: ErrorCode.RECORD_LIST_TOO_LARGE,
    errors.OutOfOrderSequence: ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER,
    errors.InvalidProducerEpoch: ErrorCode.INVALID_PRODUCER_EPOCH,
    errors.InvalidTxnState: ErrorCode.INVALID_TXN_STATE,
    errors.TransactionCoordinatorFenced: ErrorCode.TRANSACTION_COORDINATOR_FENCED,
}


def api_error(error: errors.StorageError) -> ApiError:
    """What the client is told of ``error``."""
    return ApiError(CODE_OF[type(error)], str(error))


def expected_code(error: Exception) -> ErrorCode | None:
    """The code of a failure that is no bug, wherever in a handler it came up; None for everything else."""
    if isinstance(error, errors.StorageError):
        return CODE_OF[type(error)]
    return error.code if isinstance(error, ApiError) else None
