"""Which disk work leaves the trio thread: what may block for long and releases the GIL all the while."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from pybroker.storage.errors import LogDirFailed

if TYPE_CHECKING:  # app/warming.py says what is late
    from pybroker.storage.context import StorageContext
    from pybroker.storage.log import Log


async def flush(log: Log, storage: StorageContext) -> None:
    """Make everything appended so far durable.

    Raises:
        LogDirFailed: the disk failed; its log directory is offline now.
    """
    job = log.prepare_flush()
    if job is None:
        return
    try:
        await trio.to_thread.run_sync(job.run)
    except OSError as error:
        storage.on_failure(log.log_dir, error)
        raise LogDirFailed(log.log_dir, error) from error
    log.flush_done(job)
