"""The words with which batches and single records are refused."""

from pybroker.model.errors import ErrorCode
from pybroker.records.batch import to_int64
from pybroker.records.errors import InvalidRecords
from pybroker.records.policy import ValidationPolicy


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


def no_key(policy: ValidationPolicy) -> str:
    """Why a record without key cannot go to a compacted topic."""
    return f"a record of a compacted topic must have a key{policy.where}"


def bad_timestamp(timestamp: int, policy: ValidationPolicy, now_ms: int) -> str:
    """Why a record's timestamp is refused; both bounds are inclusive."""
    earliest, latest = now_ms - policy.before_max_ms, now_ms + policy.after_max_ms
    return f"timestamp {timestamp} is not within [{earliest}, {latest}]"


def is_out_of_range(timestamp: int, policy: ValidationPolicy, now_ms: int) -> bool:
    """Whether a timestamp is too far from now, by Java's arithmetic, which wraps for absurd ones."""
    age_ms = to_int64(now_ms - timestamp)
    return age_ms > policy.before_max_ms or to_int64(-age_ms) > policy.after_max_ms


def wrong_timestamp_type() -> str:
    """Why a record from a batch that claims LogAppendTime is refused."""
    return "a producer must not set the timestamp type LogAppendTime"


def refuse(errors: list[tuple[int, str]], bad_time: bool) -> InvalidRecords:
    """The refusal of a batch for some of its records, all of which it names (KIP-467)."""
    if bad_time:
        message = "one or more records have been rejected due to invalid timestamp"
        return InvalidRecords(ErrorCode.INVALID_TIMESTAMP, message, tuple(errors))
    shown = "; ".join(f"record {index}: {why}" for index, why in errors[:3])
    message = f"{len(errors)} records have been rejected, the first ones: {shown}"
    return InvalidRecords(ErrorCode.INVALID_RECORD, message, tuple(errors))
