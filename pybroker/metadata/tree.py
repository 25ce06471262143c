"""The node tree of the embedded store: ZooKeeper's rules as pure functions over memory.

A :class:`Decider` turns requested operations into changes without touching the tree; ``apply`` makes them.
Between the two the owner persists them, so what a reader sees is always on disk. Replay is ``apply`` alone.
"""

from collections.abc import Iterable, Sequence
from typing import TypeAlias

from msgspec.structs import replace

from pybroker.metadata.store import (
    ANY_VERSION,
    BadVersion,
    Check,
    Create,
    Delete,
    InvalidPath,
    MultiFailed,
    NoChildrenForEphemerals,
    NodeExists,
    NoNode,
    NotEmpty,
    Op,
    OpResult,
    SetData,
    Stat,
    StoreError,
)
from pybroker.model.values import Value

_UNPRINTABLE = ((0x00, 0x1F), (0x7F, 0x9F), (0xD800, 0xF8FF), (0xFFF0, 0x10FFFF))
"""First and last code point (inclusive) of what may not be in a path."""


class Created(Value):
    """A node came into being. ``owner`` is the session of an ephemeral node, else 0."""

    path: str
    data: bytes
    owner: int


class Updated(Value):
    """A node's data was replaced; its version grows by one."""

    path: str
    data: bytes


class Deleted(Value):
    """A node is gone."""

    path: str


Change: TypeAlias = Created | Updated | Deleted


class Transaction(Value):
    """Changes that happen together. ``time_ms`` becomes the ctime or mtime of what they touch."""

    zxid: int
    time_ms: int
    changes: tuple[Change, ...]


class Fired(Value):
    """Paths whose watches a transaction fires: those on a node's own state and those on its children."""

    data: tuple[str, ...]
    children: tuple[str, ...]


class Node:
    """One node. ``creations`` counts the children ever created; it numbers sequential ones."""

    __slots__ = (
        "children",
        "creations",
        "ctime_ms",
        "czxid",
        "data",
        "mtime_ms",
        "mzxid",
        "owner",
        "pzxid",
        "version",
    )

    def __init__(self, data: bytes, owner: int, zxid: int, time_ms: int) -> None:
        self.data = data
        self.owner = owner
        self.czxid = self.mzxid = self.pzxid = zxid
        self.ctime_ms = self.mtime_ms = time_ms
        self.version = 0
        self.creations = 0
        self.children: set[str] = set()

    def stat(self) -> Stat:
        """The node's Stat. cversion counts children that came and went, as ZooKeeper computes it."""
        return Stat(
            czxid=self.czxid,
            mzxid=self.mzxid,
            pzxid=self.pzxid,
            ctime_ms=self.ctime_ms,
            mtime_ms=self.mtime_ms,
            version=self.version,
            cversion=2 * self.creations - len(self.children),
            ephemeral_owner=self.owner,
            data_length=len(self.data),
            num_children=len(self.children),
        )


class _Head(Value):
    """What deciding needs to know of a node: its state after the changes decided so far."""

    version: int
    creations: int
    num_children: int
    owner: int


_Overlay: TypeAlias = dict[str, _Head | None]


class Tree:
    """All nodes by path. Its one writer is the embedded store."""

    def __init__(self) -> None:
        self.nodes: dict[str, Node] = {"/": Node(b"", 0, 0, 0)}
        self.last_zxid = 0
        self.ephemerals: dict[int, set[str]] = {}

    def find(self, path: str) -> Node:
        """The node at a path.

        Raises:
            NoNode: there is none.
            InvalidPath: there cannot be one.
        """
        node = self.nodes.get(path)
        if node is None:
            check_path(path)
            raise NoNode(path)
        return node

    def deciding(self) -> "Decider":
        """A view on the tree that accepts multi after multi, each on top of the ones before."""
        return Decider(self)

    def apply(self, transaction: Transaction) -> Fired:
        """Makes the changes. They were decided on this very state, so nothing can be wrong with them."""
        data_paths: list[str] = []
        child_paths: list[str] = []
        for change in transaction.changes:
            data_paths.append(change.path)
            match change:
                case Created(path, data, owner):
                    node = Node(data, owner, transaction.zxid, transaction.time_ms)
                    self.nodes[path] = node
                    if owner:
                        self.ephemerals.setdefault(owner, set()).add(path)
                    parent_path, name = split_path(path)
                    parent = self.nodes[parent_path]
                    parent.children.add(name)
                    parent.creations += 1
                    parent.pzxid = transaction.zxid
                    child_paths.append(parent_path)
                case Updated(path, data):
                    node = self.nodes[path]
                    node.data = data
                    node.version += 1
                    node.mzxid = transaction.zxid
                    node.mtime_ms = transaction.time_ms
                case Deleted(path):
                    self._remove(path, transaction.zxid)
                    child_paths.append(path)
                    child_paths.append(split_path(path)[0])
        self.last_zxid = transaction.zxid
        return Fired(tuple(data_paths), tuple(child_paths))

    def results(self, ops: Sequence[Op], transaction: Transaction) -> list[OpResult]:
        """What the caller of an applied multi gets. Stats are those after the whole multi."""
        results: list[OpResult] = []
        changes = iter(transaction.changes)
        for op in ops:
            if isinstance(op, Check):
                results.append(None)
                continue
            change = next(changes)
            match change:
                case Created(path=path):
                    results.append(path)
                case Updated(path=path):
                    node = self.nodes.get(path)
                    results.append(None if node is None else node.stat())
                case Deleted():
                    results.append(None)
        return results

    def _remove(self, path: str, zxid: int) -> None:
        node = self.nodes.pop(path)
        if node.owner:
            owned = self.ephemerals[node.owner]
            owned.discard(path)
            if not owned:
                del self.ephemerals[node.owner]
        parent_path, name = split_path(path)
        parent = self.nodes[parent_path]
        parent.children.discard(name)
        parent.pzxid = zxid


class Decider:
    """Decides multis that are persisted together, so that each sees the ones before it."""

    def __init__(self, tree: Tree) -> None:
        self._tree = tree
        self._overlay: _Overlay = {}
        self._zxid = tree.last_zxid

    def multi(self, ops: Sequence[Op], session_id: int, now_ms: int) -> Transaction:
        """The changes of one multi.

        Raises:
            MultiFailed: an operation is refused; the view stays as it was.
        """
        overlay: _Overlay = {}
        changes: list[Change] = []
        for index, op in enumerate(ops):
            try:
                change = self._operation(op, session_id, overlay)
            except StoreError as error:
                raise MultiFailed(index, error) from None
            if change is not None:
                changes.append(change)
        return self._accept(changes, overlay, now_ms)

    def end_of_sessions(self, session_ids: Iterable[int], now_ms: int) -> Transaction:
        """The removal of all ephemeral nodes of some sessions."""
        overlay: _Overlay = {}
        owners = set(session_ids)
        paths = {path for owner in owners for path in self._tree.ephemerals.get(owner, ())}
        for path, head in self._overlay.items():
            if head is not None and head.owner in owners:
                paths.add(path)
        changes = [
            self._delete(path, ANY_VERSION, overlay)
            for path in sorted(paths)
            if self._head(path, overlay) is not None
        ]
        return self._accept(changes, overlay, now_ms)

    def _accept(self, changes: Sequence[Change], overlay: _Overlay, now_ms: int) -> Transaction:
        self._overlay.update(overlay)
        if changes:
            self._zxid += 1
        return Transaction(self._zxid, now_ms, tuple(changes))

    def _operation(self, op: Op, session_id: int, overlay: _Overlay) -> Change | None:
        match op:
            case Create():
                return self._create(op, session_id, overlay)
            case SetData(path, data, version):
                head = self._expect(path, version, overlay)
                overlay[path] = replace(head, version=head.version + 1)
                return Updated(path, data)
            case Delete(path, version):
                return self._delete(path, version, overlay)
            case Check(path, version):
                self._expect(path, version, overlay)
        return None

    def _create(self, op: Create, session_id: int, overlay: _Overlay) -> Created:
        path = op.path
        if op.sequential:
            # A bare slash before the digits is legal ("/queue/0000000000"), so only the result is checked.
            parent_path = path.rpartition("/")[0] or "/"
        else:
            check_path(path)
            if path == "/":
                raise NodeExists(path)
            parent_path = split_path(path)[0]
        parent = self._head(parent_path, overlay)
        if parent is None:
            check_path(parent_path)
            raise NoNode(path)
        if op.sequential:
            path = f"{path}{parent.creations:010d}"
            check_path(path)
        if self._head(path, overlay) is not None:
            raise NodeExists(path)
        if parent.owner:
            raise NoChildrenForEphemerals(path)
        overlay[parent_path] = replace(
            parent, creations=parent.creations + 1, num_children=parent.num_children + 1
        )
        owner = session_id if op.ephemeral else 0
        overlay[path] = _Head(version=0, creations=0, num_children=0, owner=owner)
        return Created(path, op.data, owner)

    def _delete(self, path: str, version: int, overlay: _Overlay) -> Deleted:
        head = self._expect(path, version, overlay)
        if path == "/":
            raise InvalidPath("the root cannot be deleted")
        if head.num_children:
            raise NotEmpty(path)
        overlay[path] = None
        parent_path = split_path(path)[0]
        parent = self._head(parent_path, overlay)
        assert parent is not None
        overlay[parent_path] = replace(parent, num_children=parent.num_children - 1)
        return Deleted(path)

    def _expect(self, path: str, version: int, overlay: _Overlay) -> _Head:
        head = self._head(path, overlay)
        if head is None:
            check_path(path)
            raise NoNode(path)
        if version not in (ANY_VERSION, head.version):
            raise BadVersion(f"{path} is at version {head.version}, not {version}")
        return head

    def _head(self, path: str, overlay: _Overlay) -> _Head | None:
        for changed in (overlay, self._overlay):
            if path in changed:
                return changed[path]
        node = self._tree.nodes.get(path)
        if node is None:
            return None
        return _Head(node.version, node.creations, len(node.children), node.owner)


def split_path(path: str) -> tuple[str, str]:
    """The parent's path and the node's name."""
    parent, _, name = path.rpartition("/")
    return parent or "/", name


def check_path(path: str) -> None:
    """ZooKeeper's rules for paths.

    Raises:
        InvalidPath: the path breaks one of them.
    """
    if path == "/":
        return
    if not path.startswith("/") or path.endswith("/"):
        raise InvalidPath(f"{path!r} must begin with a slash and not end in one")
    if any(part in ("", ".", "..") for part in path[1:].split("/")):
        raise InvalidPath(f"{path!r} has an empty or relative part")
    if not (path.isascii() and path.isprintable()) and any(map(_is_unprintable, path)):
        raise InvalidPath(f"{path!r} has a character that is not allowed")


def _is_unprintable(character: str) -> bool:
    return any(first <= ord(character) <= last for first, last in _UNPRINTABLE)
