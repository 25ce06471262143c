"""Message sets of magic 0 and 1 on their way in: they become one batch of magic 2."""

from pybroker.model.errors import ErrorCode
from pybroker.records.errors import InvalidRecords
from pybroker.records.header import Buffer
from pybroker.records.policy import ValidationPolicy


def convert_message_set(records: Buffer, policy: ValidationPolicy, now_ms: int) -> memoryview:
    raise InvalidRecords(ErrorCode.UNSUPPORTED_FOR_MESSAGE_FORMAT, "old message formats")
