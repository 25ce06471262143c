"""The port to the tree of small nodes that holds the cluster's metadata.

The semantics are ZooKeeper's, so that one controller, one registration and one set of watchers run over a
ZooKeeper ensemble and over the embedded store alike. Where this page is silent, ZooKeeper 3.8 decides.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from enum import Enum, auto
from typing import TypeAlias

from pybroker.model.values import Value

ANY_VERSION = -1
"""As an expected version: whatever the node's version is."""

Watcher: TypeAlias = Callable[[str], None]
"""Called once with the watched path, on the trio thread, with nothing about what changed: look again.

It must not block, raise or write to the store; it usually puts an event into somebody's queue. The same
callable set twice on one path is called once.
"""


class StoreError(Exception):
    """Any refusal or failure of the store."""


class NoNode(StoreError):
    """The node, or the parent of a node to create, is not there."""


class NodeExists(StoreError):
    """The node to create is there already."""


class BadVersion(StoreError):
    """The node's version is not the expected one: somebody else wrote it."""


class NotEmpty(StoreError):
    """A node with children cannot be deleted."""


class NoChildrenForEphemerals(StoreError):
    """An ephemeral node cannot have children."""


class InvalidPath(StoreError):
    """The path is not absolute, ends in a slash, or has an empty, relative or unprintable part."""


class SessionExpired(StoreError):
    """The session is over; its ephemeral nodes are gone. A write was not made."""


class ConnectionLost(StoreError):
    """The answer never came: the write may have happened. Read and compare before repeating it."""


class StoreFailed(StoreError):
    """The embedded store could not write its journal."""


class MultiFailed(StoreError):
    """A multi was refused as a whole because of one operation.

    Args:
        index: position of the operation that was refused.
        error: why, as the operation alone would have raised it.
    """

    def __init__(self, index: int, error: StoreError) -> None:
        super().__init__(f"operation {index}: {type(error).__name__}: {error}")
        self.index = index
        self.error = error


class Stat(Value):
    """What the store knows of a node besides its data. zxids order all changes; times are ms since 1970."""

    czxid: int
    mzxid: int
    pzxid: int
    ctime_ms: int
    mtime_ms: int
    version: int
    cversion: int
    ephemeral_owner: int
    data_length: int
    num_children: int


class Create(Value):
    """Creates a node. With ``sequential`` ten digits that count the parent's creations are appended."""

    path: str
    data: bytes = b""
    ephemeral: bool = False
    sequential: bool = False


class SetData(Value):
    """Replaces the data of a node that is at ``version``."""

    path: str
    data: bytes
    version: int = ANY_VERSION


class Delete(Value):
    """Removes a node without children that is at ``version``."""

    path: str
    version: int = ANY_VERSION


class Check(Value):
    """Changes nothing; the multi goes through only if the node is at ``version``."""

    path: str
    version: int


Op: TypeAlias = Create | SetData | Delete | Check
OpResult: TypeAlias = str | Stat | None
"""The created path, the new :class:`Stat` after SetData, None after Delete and Check."""


class SessionEvent(Enum):
    """What can befall a session. Callbacks get it on the trio thread."""

    SUSPENDED = auto()
    """No connection, but the session may still stand: hold writes, keep roles."""
    CONNECTED = auto()
    """Connected again, all watches set again. ``session_id`` tells whether the session is the same."""
    LOST = auto()
    """The session is over. The adapter opens a new one by itself and then reports CONNECTED."""


class Store(ABC):
    """One session with the store. All methods may raise SessionExpired, ConnectionLost and InvalidPath."""

    @property
    @abstractmethod
    def session_id(self) -> int:
        """The ``ephemeral_owner`` of what this session creates as ephemeral; changes after LOST."""

    @abstractmethod
    async def get(self, path: str, watch: Watcher | None = None) -> tuple[bytes, Stat]:
        """The data; the watch fires when it is set or the node is deleted. No node: NoNode, and no watch."""

    @abstractmethod
    async def get_all(
        self, paths: Sequence[str], watch: Watcher | None = None
    ) -> list[tuple[bytes, Stat] | None]:
        """:meth:`get` of many nodes, pipelined; None where there is no node."""

    @abstractmethod
    async def exists(self, path: str, watch: Watcher | None = None) -> Stat | None:
        """The Stat or None; the watch also fires when the node is created."""

    @abstractmethod
    async def children(self, path: str, watch: Watcher | None = None) -> list[str]:
        """Names of the children, sorted; the watch fires when one comes or goes or the node is deleted.

        Raises:
            NoNode: no such node, and no watch is set.
        """

    @abstractmethod
    async def multi_all(self, multis: Sequence[Sequence[Op]]) -> list[list[OpResult] | StoreError]:
        """Several multis in order, pipelined. Each stands alone: one that is refused leaves a MultiFailed
        in its place, one whose answer never came a ConnectionLost, and the next are still tried."""

    @abstractmethod
    def on_session_event(self, callback: Callable[[SessionEvent], None]) -> Callable[[], None]:
        """Calls back at every session event from now on. Returns the function that ends this."""

    @abstractmethod
    async def close(self) -> None:
        """Ends the session: its ephemeral nodes are gone when this returns. Closing twice does nothing."""

    @abstractmethod
    def abandon(self) -> None:
        """What a killed broker leaves: nothing answers any more, and the ephemeral nodes stand until the
        session expires. Nothing after :meth:`close`."""

    async def multi(self, ops: Sequence[Op]) -> list[OpResult]:
        """All operations or none.

        Raises:
            MultiFailed: one was refused; nothing was changed.
        """
        (result,) = await self.multi_all([ops])
        if isinstance(result, StoreError):
            raise result
        return result

    async def create(
        self,
        path: str,
        data: bytes = b"",
        *,
        ephemeral: bool = False,
        sequential: bool = False,
        make_parents: bool = False,
    ) -> str:
        """Creates one node and returns its path, with ``make_parents`` also what is missing above it.

        Raises:
            NodeExists, NoNode, NoChildrenForEphemerals: see there.
        """
        operation = Create(path, data, ephemeral=ephemeral, sequential=sequential)
        try:
            result = await self._single(operation)
        except NoNode:
            if not make_parents:
                raise
            await self.ensure(path.rpartition("/")[0])
            result = await self._single(operation)
        assert isinstance(result, str)
        return result

    async def ensure(self, *paths: str) -> None:
        """Creates empty persistent nodes and all above them, where they are missing: all in one go.

        Raises:
            NoNode: the root of the tree is gone, which is a chroot that somebody has deleted.
            StoreError: it was refused.
        """
        wanted = sorted({above for path in paths for above in _lineage(path)})  # parents come first
        while True:
            nodes = await self.get_all(wanted)
            missing = [path for path, node in zip(wanted, nodes, strict=True) if node is None]
            if not missing:
                return
            results = await self.multi_all([[Create(path)] for path in missing])
            for path, result in zip(missing, results, strict=True):
                _check_made(path, result)

    async def note(self, sequence_prefix: str, data: bytes) -> None:
        """Leaves a sequential node for whoever watches its parent, until the store has said that it is there.
        When an answer never came there may be two."""
        while True:
            try:
                await self.create(sequence_prefix, data, sequential=True)
            except ConnectionLost:
                continue
            return

    async def set(self, path: str, data: bytes, version: int = ANY_VERSION) -> Stat:
        """Replaces a node's data.

        Raises:
            NoNode, BadVersion: see there.
        """
        result = await self._single(SetData(path, data, version))
        assert isinstance(result, Stat)
        return result

    async def delete(self, path: str, version: int = ANY_VERSION) -> None:
        """Removes one node.

        Raises:
            NoNode, BadVersion, NotEmpty: see there.
        """
        await self._single(Delete(path, version))

    async def _single(self, operation: Op) -> OpResult:
        try:
            (result,) = await self.multi([operation])
        except MultiFailed as failed:
            raise failed.error from None
        return result


def _lineage(path: str) -> list[str]:
    """A path and all above it but the root."""
    parts = path.split("/")
    return ["/".join(parts[:end]) for end in range(2, len(parts) + 1)]


def _check_made(path: str, result: list[OpResult] | StoreError) -> None:
    """Whether the creation of a node was done, or can be tried again where it is still missing.

    Raises:
        StoreError: it was refused.
    """
    match result:
        case ConnectionLost() | MultiFailed(error=NodeExists()):
            return
        case MultiFailed(error=NoNode()) if path.count("/") > 1:
            return
        case MultiFailed():
            raise result.error
        case StoreError():
            raise result
