"""What an append that failed means to the clients of a group."""

from collections.abc import Mapping

from pybroker.model.errors import ErrorCode

_SHARED: Mapping[ErrorCode, ErrorCode] = {
    ErrorCode.UNKNOWN_TOPIC_OR_PARTITION: ErrorCode.COORDINATOR_NOT_AVAILABLE,
    ErrorCode.NOT_ENOUGH_REPLICAS: ErrorCode.COORDINATOR_NOT_AVAILABLE,
    ErrorCode.NOT_ENOUGH_REPLICAS_AFTER_APPEND: ErrorCode.COORDINATOR_NOT_AVAILABLE,
    ErrorCode.NOT_LEADER_OR_FOLLOWER: ErrorCode.NOT_COORDINATOR,
    ErrorCode.KAFKA_STORAGE_ERROR: ErrorCode.NOT_COORDINATOR,
}

GROUP_ERRORS: Mapping[ErrorCode, ErrorCode] = {
    **_SHARED,
    ErrorCode.REQUEST_TIMED_OUT: ErrorCode.REBALANCE_IN_PROGRESS,
    ErrorCode.MESSAGE_TOO_LARGE: ErrorCode.UNKNOWN_SERVER_ERROR,
    ErrorCode.RECORD_LIST_TOO_LARGE: ErrorCode.UNKNOWN_SERVER_ERROR,
    ErrorCode.INVALID_FETCH_SIZE: ErrorCode.UNKNOWN_SERVER_ERROR,
}
"""When a group's own record could not be stored; what is not listed stays as it is."""

COMMIT_ERRORS: Mapping[ErrorCode, ErrorCode] = {
    **_SHARED,
    ErrorCode.NETWORK_EXCEPTION: ErrorCode.COORDINATOR_LOAD_IN_PROGRESS,
    ErrorCode.MESSAGE_TOO_LARGE: ErrorCode.INVALID_COMMIT_OFFSET_SIZE,
    ErrorCode.RECORD_LIST_TOO_LARGE: ErrorCode.INVALID_COMMIT_OFFSET_SIZE,
    ErrorCode.INVALID_FETCH_SIZE: ErrorCode.INVALID_COMMIT_OFFSET_SIZE,
}
"""The same for committed offsets."""


CONSUMER_GROUP_ERRORS: Mapping[ErrorCode, ErrorCode] = {
    **GROUP_ERRORS,
    ErrorCode.REQUEST_TIMED_OUT: ErrorCode.COORDINATOR_NOT_AVAILABLE,
}
"""The same when the group is of the consumer protocol."""


def consumer_group_error(error: ErrorCode) -> ErrorCode:
    return CONSUMER_GROUP_ERRORS.get(error, error)


def group_error(error: ErrorCode) -> ErrorCode:
    return GROUP_ERRORS.get(error, error)


def commit_error(error: ErrorCode) -> ErrorCode:
    return COMMIT_ERRORS.get(error, error)
