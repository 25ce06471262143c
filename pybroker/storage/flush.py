"""Making a log durable. What to sync is decided on the log's thread; the syncing itself may run in
another."""

from collections.abc import Sequence

from pybroker.model.ids import Offset
from pybroker.model.values import Value
from pybroker.storage import checkpoints
from pybroker.storage.files import Files
from pybroker.storage.leader_epochs import EpochEntry
from pybroker.storage.recovery import sync_file


class FlushJob(Value):
    """Everything before ``offset`` is durable once :meth:`run` has returned."""

    files: Files
    directory: str
    paths: Sequence[str]
    epochs: Sequence[EpochEntry] | None
    """To be written to the checkpoint, unless it is up to date."""
    offset: Offset
    cuts: int
    """How often the log had been cut when the job was made."""

    def run(self) -> None:
        """Syncs, blocking. Files that were renamed or deleted meanwhile are no longer of interest.

        Raises:
            OSError: the disk failed; nothing is known to be durable.
        """
        for path in self.paths:
            sync_file(self.files, path)
        try:
            if self.epochs is not None:
                checkpoints.write_leader_epochs(self.files, self.directory, self.epochs)
            self.files.fsync_dir(self.directory)
        except FileNotFoundError:
            return
