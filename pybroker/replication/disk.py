"""Which disk work leaves the trio thread: what may block for long and releases the GIL all the while."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

if TYPE_CHECKING:  # app/warming.py says what is late
    from pybroker.model.ids import Offset
    from pybroker.storage.log import Log


async def flush(log: Log, up_to: Offset | None = None) -> None:
    """Make everything before ``up_to`` durable; by default all that was appended so far.

    Raises:
        LogDirFailed: the disk failed; its log directory is offline now.
    """
    job = log.prepare_flush(up_to)
    if job is None:
        return
    try:
        await trio.to_thread.run_sync(job.run)
    except OSError as error:
        log.flush_failed(error)
    log.flush_done(job)
