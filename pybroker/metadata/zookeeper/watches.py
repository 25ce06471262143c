"""Who waits for word of which node, and what the node looked like when they asked.

ZooKeeper forgets a watch when it fires, kazoo forgets all of them when the connection is lost. What was seen
tells, after a reconnect, whether a change was missed.
"""

from typing import Any, TypeAlias

from pybroker.metadata.store import StoreError, Watcher
from pybroker.metadata.zookeeper.link import Read, ReadKind, WatchKind

Seen: TypeAlias = int | None
"""The zxid of the last change of a node's data, or of its children; None when there was no node."""

_Key: TypeAlias = tuple[WatchKind, str]


def seen_state(question: Read, value: Any) -> Seen:
    """What an answer says of the node. ``value`` is None when there is none."""
    if value is None:
        return None
    match question.kind:
        case ReadKind.GET:
            return int(value[1].mzxid)
        case ReadKind.EXISTS:
            return int(value.mzxid)
        case ReadKind.CHILDREN:
            return int(value[1].pzxid)


class Watches:
    """The watches of one session. Those that fire are called together, each once per path."""

    def __init__(self) -> None:
        self._watchers: dict[_Key, dict[Watcher, None]] = {}
        self._seen: dict[_Key, Seen] = {}
        self._due: dict[tuple[str, Watcher], None] = {}

    def add(self, question: Read, value: Any, error: StoreError | None, watcher: Watcher) -> None:
        """Takes a watch that was asked for with a read, if the answer means that ZooKeeper has it too."""
        if error is not None:
            return
        kind = WatchKind.CHILDREN if question.kind is ReadKind.CHILDREN else WatchKind.DATA
        key = kind, question.path
        self._watchers.setdefault(key, {})[watcher] = None
        self._seen[key] = seen_state(question, value)

    def all(self) -> list[_Key]:
        """What is watched."""
        return list(self._watchers)

    def seen(self, kind: WatchKind, path: str) -> Seen:
        """What the node looked like when it was last read with a watch."""
        return self._seen.get((kind, path))

    def fire(self, kind: WatchKind, path: str) -> None:
        """The watches of a node are due, and forgotten."""
        self._seen.pop((kind, path), None)
        for watcher in self._watchers.pop((kind, path), ()):
            self._due[path, watcher] = None

    def call_due(self) -> None:
        """Calls those that are due."""
        due, self._due = self._due, {}
        for path, watcher in due:
            watcher(path)

    def forget(self) -> None:
        """The session is over."""
        self._watchers.clear()
        self._seen.clear()
        self._due.clear()
