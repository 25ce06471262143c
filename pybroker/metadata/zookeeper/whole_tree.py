"""Reads and writes whole trees and blocks, for tools that run beside no broker."""

import logging
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Any, TypeAlias

from kazoo.client import KazooClient
from kazoo.handlers.threading import KazooTimeoutError

from pybroker.metadata.copying import ZOOKEEPER_OWN, Nodes, Progress, StoredNode
from pybroker.metadata.store import Check, ConnectionLost, Create, Delete, NoNode, Op, SetData
from pybroker.metadata.zookeeper.translation import FAILURES, store_error

CONNECT_TIMEOUT_S = 10.0
_IN_FLIGHT = 500
"""Requests sent before the first answer is awaited."""

Answer: TypeAlias = Any
"""kazoo's ``IAsyncResult``, which has no types."""


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
        except FAILURES as error:
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
        except FAILURES as error:
            raise store_error(error) from error


def _batched(answers: Iterator[Answer]) -> Iterator[list[Answer]]:
    while batch := list(islice(answers, _IN_FLIGHT)):
        yield batch
