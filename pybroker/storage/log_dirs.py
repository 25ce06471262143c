"""The log directories of a broker: locks, owners, checkpoints, and which of them are online."""

import logging
import os
from collections.abc import Mapping, Sequence

from pybroker.model.ids import Offset, TopicPartition
from pybroker.model.values import State
from pybroker.storage import checkpoints
from pybroker.storage.context import StorageContext
from pybroker.storage.dir_lock import DirectoryLock
from pybroker.storage.errors import CorruptFile, LogDirUnusable
from pybroker.storage.files import NO_SPACE
from pybroker.storage.meta_properties import (
    MetaProperties,
    common_owner,
    read_meta_properties,
    write_meta_properties,
)

logger = logging.getLogger(__name__)


class LogDir(State, eq=False):
    """One log directory. ``error`` says why it is offline."""

    path: str
    lock: DirectoryLock | None = None
    was_clean: bool = True
    is_loaded: bool = False
    """Whether every partition in it was opened. Until then its checkpoints must not be rewritten."""
    error: OSError | str | None = None

    @property
    def is_online(self) -> bool:
        """Whether its disk is believed to work."""
        return self.error is None


class LogDirs:
    """Several directories, each of which may fail alone."""

    def __init__(self, log_dirs: Sequence[str], context: StorageContext) -> None:
        """Nothing is touched yet. A disk failure that a log reports takes its directory offline."""
        self._context = context
        self._files = context.files
        self.dirs = {path: LogDir(path) for path in (os.path.abspath(path) for path in log_dirs)}
        self._notify = context.on_failure
        context.on_failure = self._take_offline

    def online_dirs(self) -> list[str]:
        """Paths of the log directories that work."""
        return [path for path, log_dir in self.dirs.items() if log_dir.is_online]

    def failures(self) -> dict[str, OSError | str]:
        """Why the others do not."""
        return {path: log_dir.error for path, log_dir in self.dirs.items() if log_dir.error is not None}

    def lock(self) -> None:
        """Makes the directories and locks them. Unusable ones go offline; all of them unusable is an error.

        Raises:
            LogDirUnusable: a directory is locked by another broker, or none can be used.
        """
        for log_dir in self.dirs.values():
            try:
                self._files.mkdir(log_dir.path)
            except OSError as error:
                log_dir.error = error
                continue
            log_dir.lock = DirectoryLock(log_dir.path)
        failed = {path: log_dir.error for path, log_dir in self.dirs.items() if not log_dir.is_online}
        if len(failed) == len(self.dirs):
            reasons = ", ".join(f"{path}: {reason}" for path, reason in failed.items())
            raise LogDirUnusable(f"no log directory can be used ({reasons})")
        for path, reason in failed.items():
            logger.error("log directory %s cannot be made: %s", path, reason)

    def owner(self) -> MetaProperties:
        """The broker and cluster that the directories say they belong to.

        Raises:
            LogDirUnusable: a file is damaged or the directories disagree.
        """
        return common_owner({path: read_meta_properties(self._files, path) for path in self.online_dirs()})

    def claim(self, broker_id: int, cluster_id: str) -> None:
        """Writes ``meta.properties`` everywhere.

        Raises:
            LogDirUnusable: a directory belongs to another broker or cluster.
        """
        found = self.owner()
        if found.broker_id not in (None, broker_id):
            raise LogDirUnusable(
                f"the log directories belong to broker {found.broker_id}, but broker.id is {broker_id}"
            )
        if found.cluster_id not in (None, cluster_id):
            raise LogDirUnusable(
                f"the log directories belong to cluster {found.cluster_id}, but cluster.id is {cluster_id}"
            )
        for path in self.online_dirs():
            write_meta_properties(self._files, path, broker_id, cluster_id)

    def unlock(self) -> None:
        """Releases the locks."""
        for log_dir in self.dirs.values():
            if log_dir.lock is not None:
                log_dir.lock.release()
                log_dir.lock = None

    def _read_checkpoint(self, log_dir: LogDir, name: str) -> dict[TopicPartition, Offset]:
        try:
            return checkpoints.read_offsets(self._files, log_dir.path, name)
        except CorruptFile as error:
            logger.warning("%s; going on as if it were empty", error)
            return {}

    def _write_checkpoint(self, path: str, name: str, offsets: Mapping[TopicPartition, Offset]) -> None:
        try:
            checkpoints.write_offsets(self._files, path, name, offsets)
        except OSError as error:
            self._take_offline(path, error)

    def _dir_of(self, path: str) -> str:
        return next((log_dir for log_dir in self.dirs if path.startswith(log_dir + os.sep)), path)

    def _forget_logs(self, path: str) -> None:
        """A directory has just gone offline."""

    def _take_offline(self, path: str, error: OSError) -> None:
        """The others go on; whoever registered is told once.

        A full disk is no failure, except while loading: a log that could not be opened must not look absent.
        """
        log_dir = self.dirs.get(path)
        if log_dir is None or not log_dir.is_online:
            return
        if error.errno in NO_SPACE and log_dir.is_loaded:
            logger.error("no space left in %s: %s", path, error)
            return
        log_dir.error = error
        logger.error("log directory %s is offline: %s", path, error)
        self._forget_logs(path)
        self._notify(path, error)
