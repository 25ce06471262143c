"""Copies a cluster's znodes from one store to another, while no broker runs: ``pybroker metadata copy``.

The copy is a mirror: afterwards the target has what the source has, with the same cluster id and topic ids.
Left out are ephemeral nodes, ZooKeeper's own, and change notifications: their numbers would clash with the
counters of the target, and brokers that start read everything anyway. The log directories are not touched.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Protocol, TypeAlias

from pybroker.metadata import journal
from pybroker.metadata.directory_lock import DirectoryLock
from pybroker.metadata.store import Create, Delete, Op, SetData, StoreError
from pybroker.metadata.tree import Tree
from pybroker.metadata.znodes import (
    BrokerIdsZNode,
    BrokerSequenceZNode,
    ClusterIdZNode,
    ConfigChangeZNode,
    ControllerEpochZNode,
    ControllerZNode,
    IsrChangeNotificationZNode,
    LogDirEventNotificationZNode,
    MalformedZnode,
)
from pybroker.model.values import Value

EMBEDDED = "embedded"
ZOOKEEPER = "zookeeper"

_NOTIFICATIONS = (
    ConfigChangeZNode.parent,
    IsrChangeNotificationZNode.path,
    LogDirEventNotificationZNode.path,
    "/kafka-acl-changes",
    "/kafka-acl-extended-changes",
    "/delegation_token/token_changes",
)
ZOOKEEPER_OWN = "/zookeeper"

Progress: TypeAlias = Callable[[int, int], None]
"""Told the changes made and to be made."""


class CopyRefused(Exception):
    """The copy must not be made; the message is one line for the user."""


class StoredNode(Value):
    """What a copy looks at in a node. ``version`` counts how often its data was set."""

    data: bytes
    version: int = 0
    is_ephemeral: bool = False


Nodes: TypeAlias = Mapping[str, StoredNode]
"""A whole tree by path, without the root."""


class Place(Protocol):
    """One end of a copy; its methods block, and raise StoreError or OSError."""

    def read(self) -> Nodes:
        """Everything that is there."""

    def write(self, ops: Sequence[Op], progress: Progress) -> None:
        """Makes the changes in order."""

    def close(self) -> None:
        """Lets go of it."""


class EmbeddedPlace:
    """The embedded store of a log directory, locked as long as this is open.

    Args:
        log_dir: the only log directory of a node, or the first of several.
        create: whether it is made where it is missing.

    Raises:
        CopyRefused: there is none.
        DirectoryLocked: a broker runs on it.
        JournalCorrupt: its files were damaged.
        OSError: it cannot be read.
    """

    def __init__(self, log_dir: Path, *, create: bool) -> None:
        self._directory = log_dir / journal.DIRECTORY
        if create:
            self._directory.mkdir(parents=True, exist_ok=True)
        elif not self._directory.is_dir():
            raise CopyRefused(f"{log_dir} has no metadata store")
        self._lock = DirectoryLock(self._directory / ".lock")
        try:
            self._tree: Tree = journal.load(self._directory)
        except (OSError, StoreError):
            self._lock.release()
            raise

    def read(self) -> Nodes:
        """All but the ephemeral nodes, whose sessions are over: no broker runs."""
        return {
            path: StoredNode(node.data, node.version)
            for path, node in self._tree.nodes.items()
            if path != "/" and not node.owner
        }

    def write(self, ops: Sequence[Op], progress: Progress) -> None:
        """Makes all changes or none: they are one line of the journal."""
        decider = self._tree.deciding()
        now_ms = time.time_ns() // 1_000_000
        leftover = decider.end_of_sessions(list(self._tree.ephemerals), now_ms)
        changes = decider.multi(ops, 0, now_ms)
        transactions = [entry for entry in (leftover, changes) if entry.changes]
        if transactions:
            file = journal.Journal(self._directory, self._tree.last_zxid + 1)
            try:
                file.append(journal.encode_transactions(transactions))
            finally:
                file.close()
        for entry in transactions:
            self._tree.apply(entry)
        progress(len(ops), len(ops))

    def close(self) -> None:
        """Unlocks the directory."""
        self._lock.release()


def copy(source: Place, target: Place, progress: Progress) -> tuple[str, int]:
    """Makes the target what the source is. Returns the cluster's id and the number of changes.

    Interrupted, it can be started again. Until it is done, a target that was empty has no cluster id, so that
    a broker of the cluster refuses to start on it.

    Raises:
        CopyRefused: brokers run, the source has no cluster, or the target has another or a newer one.
        StoreError, OSError: reading or writing failed.
    """
    wanted, present = source.read(), target.read()
    check(wanted, present)
    ops = plan(wanted, present)
    target.write(ops, progress)
    cluster_id = _cluster_id(wanted)
    assert cluster_id is not None
    return cluster_id, len(ops)


def check(source: Nodes, target: Nodes) -> None:
    """Whether the one may become the other.

    Raises:
        CopyRefused: see :func:`copy`.
    """
    for side, nodes in (("source", source), ("target", target)):
        running = sorted(
            path.rpartition("/")[2]
            for path, node in nodes.items()
            if node.is_ephemeral and path.startswith(BrokerIdsZNode.path + "/")
        )
        if running:
            raise CopyRefused(f"brokers are registered in the {side}: {', '.join(running)}; stop them first")
    cluster_id = _cluster_id(source)
    if cluster_id is None:
        raise CopyRefused("the source has no cluster")
    if ControllerZNode.path in source and not source[ControllerZNode.path].is_ephemeral:
        raise CopyRefused("the source is held by a migration to KRaft")
    found = _cluster_id(target)
    if found is None:
        if not _is_part_of(target, _copied(source)):
            raise CopyRefused("the target is not empty, and holds no cluster")
    elif found != cluster_id:
        raise CopyRefused(f"the target holds cluster {found}, the source cluster {cluster_id}")
    elif _controller_epoch(target) > _controller_epoch(source):
        raise CopyRefused(
            f"the target is newer: controller epoch {_controller_epoch(target)}, "
            f"in the source {_controller_epoch(source)}"
        )


def plan(source: Nodes, target: Nodes) -> list[Op]:
    """The changes that make the target what the source is; the cluster's id comes last."""
    wanted = _copied(source)
    present = {path: node for path, node in _without_own(target).items() if not node.is_ephemeral}
    ops: list[Op] = [Delete(path) for path in sorted(present.keys() - wanted.keys(), reverse=True)]
    for path in sorted(wanted, key=lambda path: (path == ClusterIdZNode.path, path)):
        node, existing = wanted[path], present.get(path)
        if existing is None:
            ops.append(Create(path, node.data))
        elif existing.data != node.data:
            ops.append(SetData(path, node.data))
        if path == BrokerSequenceZNode.path:
            # The version of this node is the last id that was given out.
            missing = node.version - (existing.version if existing is not None else 0)
            ops += [SetData(path, node.data)] * missing
    return ops


def open_place(location: str, *, create: bool = False) -> Place:
    """``embedded:LOG_DIR`` or ``zookeeper:HOST:PORT[,HOST:PORT…][/CHROOT]``.

    Raises:
        CopyRefused: it is neither.
        StoreError, OSError: it cannot be opened.
    """
    kind, _, address = location.partition(":")
    if address and kind == EMBEDDED:
        return EmbeddedPlace(Path(address), create=create)
    if address and kind == ZOOKEEPER:
        from pybroker.metadata.zookeeper.whole_tree import ZooKeeperTree

        return ZooKeeperTree(address)
    raise CopyRefused(f"{location!r} is neither {EMBEDDED}:LOG_DIR nor {ZOOKEEPER}:HOST:PORT[/CHROOT]")


def _copied(nodes: Nodes) -> dict[str, StoredNode]:
    return {
        path: node
        for path, node in _without_own(nodes).items()
        if not node.is_ephemeral and path.rpartition("/")[0] not in _NOTIFICATIONS
    }


def _without_own(nodes: Nodes) -> dict[str, StoredNode]:
    return {path: node for path, node in nodes.items() if not f"{path}/".startswith(f"{ZOOKEEPER_OWN}/")}


def _is_part_of(target: Nodes, wanted: Nodes) -> bool:
    """Whether the target is what an interrupted copy of the same source has left."""
    return all(
        path in wanted and node.data == wanted[path].data for path, node in _without_own(target).items()
    )


def _cluster_id(nodes: Nodes) -> str | None:
    node = nodes.get(ClusterIdZNode.path)
    try:
        return None if node is None else ClusterIdZNode.decode(node.data).cluster_id
    except MalformedZnode as error:
        raise CopyRefused(str(error)) from error


def _controller_epoch(nodes: Nodes) -> int:
    node = nodes.get(ControllerEpochZNode.path)
    try:
        return 0 if node is None else ControllerEpochZNode.decode(node.data)
    except MalformedZnode as error:
        raise CopyRefused(str(error)) from error
