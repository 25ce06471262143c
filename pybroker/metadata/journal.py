"""The embedded store on disk: a journal of transactions and snapshots of the tree.

Both are lines of text: eight hex digits of CRC-32, a space, JSON. One journal line is what was fsynced
together, and the next is written only after it: so a damaged line at the very end is a write that was never
answered, and is cut off; one with another line behind it is damage, and start-up refuses it.

Files: ``journal.<first zxid>`` and ``snapshot.<last zxid>``, zxids as 16 hex digits. A snapshot appears by
rename once it is complete and synced; journals it covers are removed only then.
"""

import base64
import os
import zlib
from collections.abc import Iterable, Iterator
from io import FileIO
from pathlib import Path
from typing import Any

from msgspec import json

from pybroker.metadata.store import StoreError, StoreFailed
from pybroker.metadata.tree import Change, Created, Deleted, Node, Transaction, Tree, Updated, split_path

DIRECTORY = "__cluster_metadata-0"
"""Name of the store's directory under the first log directory. Apache Kafka refuses to start on a log
directory with names it does not know, and passes over this one, where KRaft would keep the same things."""

_CRC_DIGITS = 8


class JournalCorrupt(StoreError):
    """The files hold something that no crash can leave behind."""


class Journal:
    """The open journal file of a directory. Its methods block; none may run while another does."""

    def __init__(self, directory: Path, next_zxid: int, *, syncs: bool = True) -> None:
        self._directory = directory
        self._syncs = syncs
        existing = _files(directory, "journal")
        self._file = self._open(_zxid_of(existing[-1]) if existing else next_zxid)
        self._failed: OSError | None = None
        self.size_bytes = self._file.tell()

    def append(self, line: bytes) -> None:
        """Writes one line and syncs it, unless told not to. A write that fails (a full disk) is taken back.

        Raises:
            StoreFailed: nothing was written, or, after a failed sync, nobody knows: then every later
                append fails too.
        """
        if self._failed is not None:
            raise StoreFailed(f"the metadata journal failed earlier: {self._failed}")
        try:
            self._write_all(line)
        except OSError as error:
            self._take_back()
            raise StoreFailed(f"cannot write the metadata journal: {error}") from error
        if self._syncs:
            self._sync()
        self.size_bytes += len(line)

    def _sync(self) -> None:
        try:
            os.fsync(self._file.fileno())
        except OSError as error:
            self._failed = error
            raise StoreFailed(f"cannot sync the metadata journal: {error}") from error

    def start_over(self, next_zxid: int) -> None:
        """Goes on in a new file; the old one stays until :func:`remove_covered`."""
        fresh = self._open(next_zxid)
        self._file.close()
        self._file = fresh
        self.size_bytes = fresh.tell()

    def close(self) -> None:
        """Closes the file; all of it is synced already."""
        self._file.close()

    def _open(self, first_zxid: int) -> FileIO:
        file = (self._directory / f"journal.{first_zxid:016x}").open("ab", buffering=0)
        if self._syncs:
            _sync_directory(self._directory)
        return file

    def _write_all(self, line: bytes) -> None:
        rest = memoryview(line)
        while rest:
            rest = rest[self._file.write(rest) :]

    def _take_back(self) -> None:
        try:
            os.ftruncate(self._file.fileno(), self.size_bytes)
            self._file.seek(self.size_bytes)
        except OSError as error:
            self._failed = error


def encode_transactions(transactions: Iterable[Transaction]) -> bytes:
    """One journal line."""
    return _line(
        [
            [entry.zxid, entry.time_ms, [_change_to_json(change) for change in entry.changes]]
            for entry in transactions
        ]
    )


def load(directory: Path) -> Tree:
    """The tree as the files tell it. A torn line at the end of the last journal is cut off.

    Raises:
        JournalCorrupt: the files were damaged.
        OSError: they cannot be read.
    """
    for leftover in list(directory.iterdir()):
        if leftover.suffix == ".tmp":
            leftover.unlink()
    snapshots = _files(directory, "snapshot")
    tree = _read_snapshot(snapshots[-1]) if snapshots else Tree()
    journals = _files(directory, "journal")
    for position, journal in enumerate(journals):
        for transaction in _read_journal(journal, is_last=position == len(journals) - 1):
            if transaction.zxid <= tree.last_zxid:
                continue
            if transaction.zxid != tree.last_zxid + 1:
                raise JournalCorrupt(f"{journal}: zxid {transaction.zxid} follows {tree.last_zxid}")
            tree.apply(transaction)
    return tree


def snapshot_lines(tree: Tree) -> Iterator[bytes]:
    """The tree as snapshot lines: a head, the nodes (parents first), the end."""
    yield _line({"snapshot": 1, "zxid": tree.last_zxid})
    count = 0
    for path in sorted(tree.nodes):
        node = tree.nodes[path]
        count += 1
        yield _line(
            [
                path,
                _data_to_json(node.data),
                node.owner,
                node.czxid,
                node.mzxid,
                node.pzxid,
                node.ctime_ms,
                node.mtime_ms,
                node.version,
                node.creations,
            ]
        )
    yield _line({"nodes": count})


def write_snapshot(directory: Path, zxid: int, lines: Iterable[bytes]) -> None:
    """Makes a snapshot durable, then removes the files it replaces. Blocks.

    Raises:
        OSError: no snapshot was made; the older files are still there.
    """
    target = directory / f"snapshot.{zxid:016x}"
    temporary = target.with_suffix(f".{zxid:016x}.tmp")
    with temporary.open("wb") as file:
        file.writelines(lines)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(target)
    _sync_directory(directory)
    remove_covered(directory, zxid)


def remove_covered(directory: Path, zxid: int) -> None:
    """Removes snapshots older than the one at ``zxid`` and journals that began before it ended.

    A journal is started over at the moment of each snapshot, so a file's first zxid tells all of it.
    """
    for kind, keep_from in (("snapshot", zxid), ("journal", zxid + 1)):
        for path in _files(directory, kind):
            if _zxid_of(path) < keep_from:
                path.unlink()


def _files(directory: Path, kind: str) -> list[Path]:
    found = (path for path in directory.iterdir() if path.name.startswith(f"{kind}."))
    return sorted(path for path in found if path.suffix != ".tmp")


def _zxid_of(path: Path) -> int:
    return int(path.suffix[1:], 16)


def _sync_directory(directory: Path) -> None:
    if os.name == "nt":
        return
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _read_journal(path: Path, *, is_last: bool) -> Iterator[Transaction]:
    content = path.read_bytes()
    position = 0
    while position < len(content):
        end = content.find(b"\n", position) + 1
        value = _parse_line(content[position:end]) if end else None
        if value is None:
            if not is_last or (end and end < len(content)):
                raise JournalCorrupt(f"{path}: the line at byte {position} is damaged")
            with path.open("r+b") as file:
                file.truncate(position)
                os.fsync(file.fileno())
            return
        for zxid, time_ms, changes in value:
            yield Transaction(zxid, time_ms, tuple(_change_from_json(change) for change in changes))
        position = end


def _read_snapshot(path: Path) -> Tree:
    tree = Tree()
    lines = path.read_bytes().splitlines(keepends=True)
    values = [_parse_line(line) for line in lines]
    if len(values) < 3 or any(value is None for value in values) or values[-1]["nodes"] != len(values) - 2:
        raise JournalCorrupt(f"{path} is damaged")
    for node_path, data, owner, czxid, mzxid, pzxid, ctime_ms, mtime_ms, version, creations in values[1:-1]:
        node = Node(_data_from_json(data), owner, czxid, ctime_ms)
        node.mzxid, node.pzxid, node.mtime_ms = mzxid, pzxid, mtime_ms
        node.version, node.creations = version, creations
        tree.nodes[node_path] = node
        if owner:
            tree.ephemerals.setdefault(owner, set()).add(node_path)
        if node_path != "/":
            parent, name = split_path(node_path)
            tree.nodes[parent].children.add(name)
    tree.last_zxid = values[0]["zxid"]
    return tree


def _line(value: object) -> bytes:
    payload = json.encode(value)
    return b"%08x %s\n" % (zlib.crc32(payload), payload)


def _parse_line(line: bytes) -> Any:
    """The JSON value, or None when the line is not whole."""
    payload = line[_CRC_DIGITS + 1 : -1]
    if line != b"%08x %s\n" % (zlib.crc32(payload), payload):
        return None
    return json.decode(payload)


def _change_to_json(change: Change) -> list[object]:
    match change:
        case Created(path, data, owner):
            return ["c", path, _data_to_json(data), owner]
        case Updated(path, data):
            return ["u", path, _data_to_json(data)]
        case Deleted(path):
            return ["d", path]


def _change_from_json(value: list[Any]) -> Change:
    match value:
        case ["c", path, data, owner]:
            return Created(path, _data_from_json(data), owner)
        case ["u", path, data]:
            return Updated(path, _data_from_json(data))
        case ["d", path]:
            return Deleted(path)
    raise JournalCorrupt(f"unknown change {value!r}")


def _data_to_json(data: bytes) -> object:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(data).decode("ascii")}


def _data_from_json(value: Any) -> bytes:
    if isinstance(value, str):
        return value.encode("utf-8")
    return base64.b64decode(value["base64"])
