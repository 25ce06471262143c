"""The words with which batches and single records are refused.

What is wrong with single records reaches the client, so the words are Kafka's. Source: ``LogValidator``.
"""

from pybroker.model.errors import ErrorCode
from pybroker.model.ids import Offset
from pybroker.records.batch import to_int64
from pybroker.records.errors import InvalidRecords
from pybroker.records.policy import ValidationPolicy

MAX_RECORD_ERRORS = 10_000


def invalid(message: str, policy: ValidationPolicy | None = None) -> InvalidRecords:
    """The refusal of records whose structure is wrong."""
    return InvalidRecords(ErrorCode.INVALID_RECORD, message + (policy.where if policy else ""))


def too_large(size_bytes: int, policy: ValidationPolicy) -> InvalidRecords:
    """The refusal of a batch that is larger than the topic allows."""
    message = f"the record batch has {size_bytes} bytes, {policy.max_message_bytes} are allowed{policy.where}"
    return InvalidRecords(ErrorCode.MESSAGE_TOO_LARGE, message)


def corrupt(policy: ValidationPolicy) -> InvalidRecords:
    """The refusal of bytes that do not have the CRC that they claim."""
    return InvalidRecords(ErrorCode.CORRUPT_MESSAGE, f"the CRC of a record batch is wrong{policy.where}")


def unknown_codec(codec: int, policy: ValidationPolicy) -> InvalidRecords:
    """The refusal of a codec number that means nothing; Kafka has no better code for it."""
    return InvalidRecords(ErrorCode.UNKNOWN_SERVER_ERROR, f"unknown compression type {codec}{policy.where}")


def is_out_of_range(timestamp: int, policy: ValidationPolicy, now_ms: int) -> bool:
    """Whether a timestamp is too far from now, by Java's arithmetic, which wraps for absurd ones."""
    age_ms = to_int64(now_ms - timestamp)
    return age_ms > policy.before_max_ms or to_int64(-age_ms) > policy.after_max_ms


class RecordErrors:
    """Collects what is wrong with single records of a batch, all of which the refusal names (KIP-467).

    No more than :data:`MAX_RECORD_ERRORS` are kept, because a small batch can hold millions of bad records.
    """

    def __init__(self, policy: ValidationPolicy, now_ms: int) -> None:
        self._policy = policy
        self._now_ms = now_ms
        self._errors: list[tuple[int, str]] = []
        self._count = 0
        self._bad_time = False

    def no_key(self, index: int) -> None:
        """A record of a compacted topic has no key."""
        self._add(index, f"Compacted topic cannot accept message without key{self._policy.where}")

    def wrong_magic(self, index: int, magic: int) -> None:
        """A message inside a wrapper has another magic than the wrapper."""
        self._add(index, f"the magic of a message is not that of its wrapper, {magic}{self._policy.where}")

    def bad_timestamp(self, index: int, offset: Offset, timestamp: int) -> None:
        """A timestamp is too far from now; the bounds are told by Java's arithmetic."""
        earliest = to_int64(self._now_ms - self._policy.before_max_ms)
        latest = to_int64(self._now_ms + self._policy.after_max_ms)
        self._bad_time = True
        self._add(
            index,
            f"Timestamp {timestamp} of message with offset {offset} is out of range. "
            f"The timestamp should be within [{earliest}, {latest}]",
        )

    def wrong_timestamp_type(self, index: int) -> None:
        """A producer claims that the broker set the timestamp."""
        self._bad_time = True
        self._add(index, "Invalid timestamp type. Producer should not set timestamp type to LogAppendTime.")

    def raise_if_any(self) -> None:
        """Refuse the batch if any record is wrong.

        Raises:
            InvalidRecords: ``INVALID_TIMESTAMP`` if any timestamp is, else ``INVALID_RECORD``.
        """
        if not self._errors:
            return
        if self._bad_time:
            message = "One or more records have been rejected due to invalid timestamp"
            raise InvalidRecords(ErrorCode.INVALID_TIMESTAMP, message, tuple(self._errors))
        shown = ", ".join(
            f"RecordError(batchIndex={index}, message='{why}')" for index, why in self._errors[:3]
        )
        message = (
            f"One or more records have been rejected due to {self._count} record errors in total, "
            f"and only showing the first three errors at most: [{shown}]"
        )
        raise InvalidRecords(ErrorCode.INVALID_RECORD, message, tuple(self._errors))

    def _add(self, index: int, why: str) -> None:
        self._count += 1
        if len(self._errors) < MAX_RECORD_ERRORS:
            self._errors.append((index, why))
