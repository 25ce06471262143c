"""ZooKeeper, through kazoo: the only module that imports it.

:class:`ZooKeeperTree` reads and writes whole trees and blocks; it is for tools that run beside no broker.
"""

import logging
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Any, TypeAlias

from kazoo import exceptions
from kazoo.client import KazooClient
from kazoo.handlers.threading import KazooTimeoutError
from kazoo.protocol.states import ZnodeStat

from pybroker.metadata.copying import ZOOKEEPER_OWN, Nodes, Progress, StoredNode
from pybroker.metadata.store import (
    BadVersion,
    Check,
    ConnectionLost,
    Create,
    Delete,
    NoChildrenForEphemerals,
    NodeExists,
    NoNode,
    NotEmpty,
    Op,
    SessionExpired,
    SetData,
    Stat,
    StoreError,
)

CONNECT_TIMEOUT_S = 10.0
_IN_FLIGHT = 500
"""Requests sent before the first answer is awaited."""

_ERRORS: tuple[tuple[type[Exception], type[StoreError]], ...] = (
    (exceptions.NoNodeError, NoNode),
    (exceptions.NodeExistsError, NodeExists),
    (exceptions.BadVersionError, BadVersion),
    (exceptions.NotEmptyError, NotEmpty),
    (exceptions.NoChildrenForEphemeralsError, NoChildrenForEphemerals),
    (exceptions.SessionExpiredError, SessionExpired),
    (exceptions.ConnectionLoss, ConnectionLost),
    (exceptions.OperationTimeoutError, ConnectionLost),
    (exceptions.ConnectionDropped, ConnectionLost),
    (KazooTimeoutError, ConnectionLost),
)
_FAILURES = (exceptions.KazooException, KazooTimeoutError)

Answer: TypeAlias = Any
"""kazoo's ``IAsyncResult``, which has no types."""


def store_error(error: Exception) -> StoreError:
    """kazoo's failure in the words of the port."""
    for theirs, ours in _ERRORS:
        if isinstance(error, theirs):
            return ours(str(error) or type(error).__name__)
    return StoreError(f"ZooKeeper: {type(error).__name__} {error}".rstrip())


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


class ZooKeeperTree:
    """A whole tree under ``HOST:PORT[,HOST:PORT…][/CHROOT]``; connected from construction to :meth:`close`.

    Raises:
        ConnectionLost: nobody answers there.
    """

    def __init__(self, connect: str) -> None:
        # What kazoo logs while it tries is for who runs a broker; a tool says in one line that it failed.
        quiet = logging.getLogger(f"{__name__}.kazoo")
        quiet.setLevel(logging.CRITICAL)
        self._client = KazooClient(connect, timeout=CONNECT_TIMEOUT_S, logger=quiet)
        try:
            self._client.start(timeout=CONNECT_TIMEOUT_S)
        except KazooTimeoutError as error:
            self.close()
            raise ConnectionLost(f"no ZooKeeper answers at {connect}") from error

    def read(self) -> Nodes:
        """Every node below the chroot but ZooKeeper's own; nothing when there is no chroot."""
        nodes: dict[str, StoredNode] = {}
        level = self._children(["/"])
        while level:
            for path, found in zip(level, self._all(self._client.get_async, level), strict=True):
                if found is not None:
                    data, stat = found
                    nodes[path] = StoredNode(data or b"", stat.version, stat.ephemeralOwner != 0)
            level = self._children([path for path in level if path in nodes])
        return nodes

    def write(self, ops: Sequence[Op], progress: Progress) -> None:
        """Makes the changes in order, many on the way at once; not as one."""
        try:
            self._client.ensure_path("/")
        except _FAILURES as error:
            raise store_error(error) from error
        done = 0
        for answers in _batched(self._send(op) for op in ops):
            for answer in answers:
                self._await(answer)
            done += len(answers)
            progress(done, len(ops))

    def close(self) -> None:
        """Ends the session."""
        self._client.stop()
        self._client.close()

    def _send(self, op: Op) -> Answer:
        match op:
            case Create(path, data):
                return self._client.create_async(path, data, ephemeral=op.ephemeral, sequence=op.sequential)
            case SetData(path, data, version):
                return self._client.set_async(path, data, version)
            case Delete(path, version):
                return self._client.delete_async(path, version)
            case Check():
                raise TypeError("a check belongs into a multi")

    def _children(self, parents: Sequence[str]) -> list[str]:
        found = self._all(self._client.get_children_async, parents)
        return [
            path
            for parent, names in zip(parents, found, strict=True)
            for name in names or ()
            if (path := f"{parent.rstrip('/')}/{name}") != ZOOKEEPER_OWN
        ]

    def _all(self, request: Callable[[str], Answer], paths: Sequence[str]) -> list[Any]:
        """The answers by path; None where there is no node."""
        found: list[Any] = []
        for answers in _batched(request(path) for path in paths):
            for answer in answers:
                try:
                    found.append(self._await(answer))
                except NoNode:
                    found.append(None)
        return found

    def _await(self, answer: Answer) -> Any:
        try:
            return answer.get(timeout=CONNECT_TIMEOUT_S)
        except _FAILURES as error:
            raise store_error(error) from error


def _batched(answers: Iterator[Answer]) -> Iterator[list[Answer]]:
    while batch := list(islice(answers, _IN_FLIGHT)):
        yield batch
