"""One process that cleans logs, as the broker holds it."""

import os
import sys

import trio
from msgspec import field

from pybroker.model.values import State
from pybroker.storage.cleaning.job import Answer, CleanJob, decode_answer

_MODULE = "pybroker.storage.cleaning.worker"
_RECEIVE_BYTES = 65536


class CleanerProcess(State, eq=False):
    """Started with its first job. After :meth:`stop` it may be given another one."""

    _process: trio.Process | None = None
    _received: bytearray = field(default_factory=bytearray)

    @property
    def pid(self) -> int | None:
        """None while it does not run."""
        return None if self._process is None else self._process.pid

    async def send(self, job: CleanJob) -> None:
        """Gives it a job. If it is dead :meth:`receive` will tell."""
        if self._process is None:
            self._process = await trio.lowlevel.open_process(
                [sys.executable, "-m", _MODULE],
                stdin=-1,
                stdout=-1,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
            )
        assert self._process.stdin is not None
        try:
            await self._process.stdin.send_all(job.encode().encode() + b"\n")
        except trio.BrokenResourceError:
            return

    async def receive(self) -> Answer | None:
        """The next answer; None if it died instead. May be cancelled and called again."""
        assert self._process is not None
        assert self._process.stdout is not None
        while b"\n" not in self._received:
            data = await self._process.stdout.receive_some(_RECEIVE_BYTES)
            if not data:
                return None
            self._received += data
        line, _, rest = bytes(self._received).partition(b"\n")
        self._received[:] = rest
        return decode_answer(line)

    async def stop(self) -> None:
        """Ends it, whatever it is doing; returns when it is gone."""
        process, self._process = self._process, None
        if process is None:
            return
        with trio.CancelScope(shield=True):
            process.kill()
            await process.wait()
            for stream in (process.stdin, process.stdout):
                assert stream is not None
                await stream.aclose()
        self._received.clear()
