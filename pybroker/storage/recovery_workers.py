"""Recovery in processes of its own: a busy Python thread inside the broker would stall everything else.

A worker reads one task a line on its standard input and answers each with one line of JSON. It is this
module, run as a program, so nothing is imported from the program that embeds the broker. It is not niced, as
the cleaner is: a broker that recovers serves nobody yet, and somebody waits for its start.
"""

import contextlib
import json
import os
import queue
import subprocess
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import IO, TypeAlias

from msgspec import convert, to_builtins

from pybroker.model.ids import Offset, TopicPartition
from pybroker.model.values import Value
from pybroker.storage.files import system_files
from pybroker.storage.log_config import LogConfig
from pybroker.storage.recovery import RecoveryReport, recover_partition

Outcome: TypeAlias = RecoveryReport | OSError | None
"""What became of a task; None when its worker died, so that it has to be done again."""


class RecoveryTask(Value):
    """One partition's directory that must be recovered; as :func:`recover_partition` takes it."""

    directory: str
    topic_partition: TopicPartition
    config: LogConfig
    log_start_offset: Offset
    recovery_point: Offset
    now_ms: int
    producer_id_expiration_ms: int
    size_in_bytes: int
    """Bytes to check, more or less."""

    def encode(self) -> str:
        """One line."""
        return json.dumps(to_builtins(self))

    @classmethod
    def decode(cls, line: str) -> "RecoveryTask":
        """The inverse of :meth:`encode`."""
        return convert(json.loads(line), cls)

    def run(self) -> RecoveryReport:
        """Recovers, here and now.

        Raises:
            OSError: the disk failed.
        """
        return recover_partition(
            self.directory,
            self.topic_partition,
            self.config,
            system_files(),
            now_ms=self.now_ms,
            log_start_offset=self.log_start_offset,
            recovery_point=self.recovery_point,
            producer_id_expiration_ms=self.producer_id_expiration_ms,
        )


def run_tasks(
    tasks: Sequence[RecoveryTask], workers: int, done: Callable[[RecoveryTask, Outcome], None]
) -> None:
    """Runs all tasks in ``workers`` processes, the largest first; blocking, may be called in a thread.

    Args:
        done: told of each task, in the caller's thread.
    """
    waiting: queue.SimpleQueue[RecoveryTask] = queue.SimpleQueue()
    for task in sorted(tasks, key=lambda task: -task.size_in_bytes):
        waiting.put(task)
    finished: queue.SimpleQueue[tuple[RecoveryTask, Outcome]] = queue.SimpleQueue()
    count = min(workers, len(tasks))
    with ThreadPoolExecutor(max(1, count), thread_name_prefix="recovery") as pool:
        drivers = [pool.submit(_drive, waiting, finished) for _ in range(count)]
        for _ in tasks:
            done(*finished.get())
        for driver in drivers:
            driver.result()


def _drive(
    waiting: "queue.SimpleQueue[RecoveryTask]",
    finished: "queue.SimpleQueue[tuple[RecoveryTask, Outcome]]",
) -> None:
    """One worker's life, from the broker's side."""
    worker = subprocess.Popen(
        [sys.executable, "-m", __name__],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
    )
    with worker:
        assert worker.stdin is not None
        assert worker.stdout is not None
        with contextlib.suppress(queue.Empty):
            while True:
                task = waiting.get_nowait()
                finished.put((task, _ask(worker.stdin, worker.stdout, task)))
        worker.stdin.close()


def _ask(requests: IO[str], answers: IO[str], task: RecoveryTask) -> Outcome:
    try:
        requests.write(task.encode() + "\n")
        requests.flush()
        line = answers.readline()
    except BrokenPipeError:
        line = ""
    if not line:
        return None
    answer = json.loads(line)
    return OSError(answer["errno"], answer["error"]) if "errno" in answer else RecoveryReport(**answer)


def main() -> None:
    """The worker."""
    for line in sys.stdin:
        task = RecoveryTask.decode(line)
        try:
            answer = to_builtins(task.run())
        except OSError as error:
            answer = {"errno": error.errno, "error": error.strerror}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
