"""kazoo's failures and values in the words of the port."""

from collections.abc import Sequence
from typing import Any

from kazoo import exceptions
from kazoo.handlers.threading import KazooTimeoutError
from kazoo.protocol.states import ZnodeStat

from pybroker.metadata.store import (
    BadVersion,
    ConnectionLost,
    InvalidPath,
    MultiFailed,
    NoChildrenForEphemerals,
    NodeExists,
    NoNode,
    NotEmpty,
    Op,
    SessionExpired,
    Stat,
    StoreError,
)

REFUSED = "ZooKeeper refused the credentials"

FAILURES = (exceptions.KazooException, KazooTimeoutError)
"""Everything that kazoo raises for what a server or the network did."""


class Unimplemented(StoreError):
    """The server is older than the request."""


_ERRORS: tuple[tuple[type[Exception], type[StoreError]], ...] = (
    (exceptions.NoNodeError, NoNode),
    (exceptions.NodeExistsError, NodeExists),
    (exceptions.BadVersionError, BadVersion),
    (exceptions.NotEmptyError, NotEmpty),
    (exceptions.NoChildrenForEphemeralsError, NoChildrenForEphemerals),
    (exceptions.BadArgumentsError, InvalidPath),
    (exceptions.UnimplementedError, Unimplemented),
    (exceptions.SessionExpiredError, SessionExpired),
    (exceptions.ConnectionLoss, ConnectionLost),
    (exceptions.OperationTimeoutError, ConnectionLost),
    (exceptions.ConnectionDropped, ConnectionLost),
    (KazooTimeoutError, ConnectionLost),
)
_NOT_THE_CAUSE = (exceptions.RolledBackError, exceptions.RuntimeInconsistency)
"""What stands in a refused multi for the operations before and after the one that was refused."""


def failure(done: Any, path: str) -> StoreError | None:
    """Why a request was not answered, if it was not."""
    return None if done.exception is None else store_error(done.exception, path)


def refusal(ops: Sequence[Op], results: Sequence[Any]) -> MultiFailed | None:
    """Which operation of a multi was refused, if one was."""
    for index, result in enumerate(results):
        if isinstance(result, Exception) and not isinstance(result, _NOT_THE_CAUSE):
            return MultiFailed(index, store_error(result, ops[index].path))
    return None


def store_error(error: Exception, path: str = "") -> StoreError:
    """kazoo's failure in the words of the port."""
    for theirs, ours in _ERRORS:
        if isinstance(error, theirs):
            return ours(path or str(error) or type(error).__name__)
    if isinstance(error, exceptions.AuthFailedError):
        return StoreError(REFUSED)
    reason = "no permission for" if isinstance(error, exceptions.NoAuthError) else type(error).__name__
    return StoreError(f"ZooKeeper: {reason} {path or error}".rstrip())


def stat_of(stat: ZnodeStat) -> Stat:
    """kazoo's Stat as the port's."""
    return Stat(
        czxid=stat.czxid,
        mzxid=stat.mzxid,
        pzxid=stat.pzxid,
        ctime_ms=stat.ctime,
        mtime_ms=stat.mtime,
        version=stat.version,
        cversion=stat.cversion,
        ephemeral_owner=stat.ephemeralOwner,
        data_length=stat.dataLength,
        num_children=stat.numChildren,
    )
