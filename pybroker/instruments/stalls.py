"""How long single stretches on the trio thread are: the worst one, with its task's name, and the 99.9th
percentile. While one task runs nothing else does, so this is the broker's own share of every latency."""

import time

import trio

BUCKET_S = 0.0001
BUCKETS = 2000
LONG_STRETCH_S = 0.020


class StallGauge(trio.abc.Instrument):
    """Measures every step of every task. Add it with ``trio.lowlevel.add_instrument``.

    Times are seconds of the wall clock. Steps of 200 ms and more count as 200 ms in the percentile; the worst
    is exact. ``worst_cpu_s`` tells how much of the worst the thread really ran: on a machine with more to do
    than it has processors the rest was waiting for one. ``most_cpu_s`` is the worst by CPU alone.
    """

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forgets everything measured so far; the step that does this is measured from here."""
        self._started_s = time.perf_counter()
        self._cpu_s = time.thread_time()
        self._counts = [0] * (BUCKETS + 1)
        self.steps = 0
        self.long_stretches = 0
        self.worst_s = 0.0
        self.worst_cpu_s = 0.0
        self.most_cpu_s = 0.0
        self.most_cpu_task = ""
        self.worst_task = ""

    def before_task_step(self, task: trio.lowlevel.Task) -> None:  # noqa: ARG002 - trio's signature
        self._started_s = time.perf_counter()

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        took_s = time.perf_counter() - self._started_s
        # One look per step, not two (each is a system call): what trio does between steps counts as well.
        cpu_s = time.thread_time()
        used_s = cpu_s - self._cpu_s
        self._cpu_s = cpu_s
        self.steps += 1
        if used_s > self.most_cpu_s:
            self.most_cpu_s = used_s
            self.most_cpu_task = task.name
        if took_s < BUCKET_S:  # by far the most steps
            self._counts[0] += 1
            return
        self._counts[min(int(took_s / BUCKET_S), BUCKETS)] += 1
        if took_s > LONG_STRETCH_S:
            self.long_stretches += 1
        if took_s > self.worst_s:
            self.worst_s = took_s
            self.worst_cpu_s = used_s
            self.worst_task = task.name

    def percentile_s(self, fraction: float = 0.999) -> float:
        """The length that ``fraction`` of all steps do not exceed, rounded up to 0.1 ms; 0 without steps."""
        wanted = fraction * self.steps
        seen = 0
        for bucket, count in enumerate(self._counts):
            seen += count
            if count and seen >= wanted:
                return (bucket + 1) * BUCKET_S
        return 0.0
