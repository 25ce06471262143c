"""What follows for a broker when one of its log directories fails."""

import logging
from collections.abc import Callable

import trio

from pybroker.metadata.store import Store, StoreError
from pybroker.metadata.znodes import LogDirEventNotificationZNode
from pybroker.model.errors import BrokerFailed
from pybroker.model.ids import BrokerId
from pybroker.replication.replicas import Replicas
from pybroker.storage.log_manager import LogManager

logger = logging.getLogger(__name__)


class LogDirWatch:
    """Takes the partitions of a failed directory offline, tells the controller, and gives the broker up when
    it cannot go on.

    Args:
        holds_metadata: whether the first directory has the broker's own metadata store in it.
        fail: ends the broker, with the reason.
    """

    def __init__(self, logs: LogManager, *, holds_metadata: bool, fail: Callable[[str], None]) -> None:
        self._logs = logs
        self._holds_metadata = holds_metadata
        self._fail = fail
        self._token: trio.lowlevel.TrioToken | None = None

    @property
    def metadata_dir(self) -> str:
        """The log directory that holds the embedded store of a broker that has its own."""
        return next(iter(self._logs.dirs))

    def check(self) -> None:
        """Raises:
        BrokerFailed: no log directory is left, or the one with the metadata is lost.
        """
        online = self._logs.online_dirs()
        failed = "; ".join(f"{path}: {error}" for path, error in self._logs.failures().items())
        if not online:
            raise BrokerFailed(f"all log directories have failed ({failed})")
        if self._holds_metadata and self.metadata_dir not in online:
            raise BrokerFailed(f"the log directory with the metadata has failed ({failed})")

    def begin(
        self, broker_id: BrokerId, session: Store, replicas: Replicas, start: Callable[..., None]
    ) -> None:
        """Failures have consequences from now on; before, :meth:`check` finds them. ``start`` runs something
        beside, as long as the broker runs."""
        self._broker_id = broker_id
        self._session = session
        self._replicas = replicas
        self._start = start
        self._token = trio.lowlevel.current_trio_token()

    def end(self) -> None:
        """The broker stops: failures have no consequences any more."""
        self._token = None

    def on_failure(self, log_dir: str, _error: OSError) -> None:
        """Called amid a write, maybe in a thread: what follows from the failure has to wait for its turn."""
        if self._token is not None:
            self._token.run_sync_soon(self._failed, log_dir)

    def _failed(self, log_dir: str) -> None:
        if self._token is None:
            return
        partitions = self._replicas.log_dir_failed(log_dir)
        logger.error("%d partitions in %s are offline", len(partitions), log_dir)
        try:
            self.check()
        except BrokerFailed as failed:
            self._fail(str(failed))
            return
        self._start(self._tell_controller)

    async def _tell_controller(self) -> None:
        """Lets it ask which replicas are offline now."""
        note = LogDirEventNotificationZNode.encode(self._broker_id)
        try:
            await self._session.note(LogDirEventNotificationZNode.sequence_prefix, note)
        except StoreError as error:
            logger.error("the controller cannot be told of a failed log directory: %s", error)
