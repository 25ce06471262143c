"""The cleaner's process: reads one job a line on its standard input, answers with lines of JSON.

It is this module, run as a program, so that nothing is imported from the program that embeds the broker. It
ends when its standard input does, even in the middle of a job: a cleaner must not outlive its broker, because
the next one would write the same files.
"""

import os
import queue
import signal
import sys
import threading
import time
from collections.abc import Callable

from pybroker.storage.cleaning.cleaner import run_job
from pybroker.storage.cleaning.job import CleanJob, encode_answer
from pybroker.storage.files import system_files

NICENESS = 10


class Throttler:
    """Waits so that no more bytes pass in a second than allowed, on average since it was made."""

    def __init__(
        self,
        max_bytes_per_second: float,
        now: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._rate = max_bytes_per_second
        self._now = now
        self._sleep = sleep
        self._start = now()
        self._bytes = 0

    def __call__(self, count: int) -> None:
        """``count`` more bytes were read or written."""
        self._bytes += count
        early = self._start + self._bytes / self._rate - self._now()
        if early > 0:
            self._sleep(early)


def main() -> None:
    """Answers jobs for ever."""
    if hasattr(os, "nice"):
        os.nice(NICENESS)
    # A Ctrl-C in a terminal reaches all; it is the broker that decides.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    lines: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(lines,), daemon=True).start()
    files = system_files()
    while True:
        job = CleanJob.decode(lines.get())
        for answer in run_job(job, files, Throttler(job.limits.max_bytes_per_second)):
            print(encode_answer(answer), flush=True)


def _listen(lines: "queue.SimpleQueue[bytes]") -> None:
    for line in sys.stdin.buffer:
        lines.put(line)
    os._exit(0)


if __name__ == "__main__":
    main()
