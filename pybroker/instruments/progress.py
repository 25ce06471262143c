"""Progress of long work: a bar on a terminal, a log line now and then anywhere else."""

import logging
import shutil
import sys
import time
from collections.abc import Callable
from typing import TextIO

logger = logging.getLogger(__name__)

LOG_INTERVAL_S = 5.0
DRAW_INTERVAL_S = 0.1
_MAX_BAR = 40


class ProgressLine:
    """Shows how far work has come. Nothing is shown of work that is over before the first interval.

    Args:
        label: what is being done, as ``recovering``.
        unit: what is counted, as ``partitions``.
        stream: where the bar goes if it is a terminal.
        now_s: a monotonic clock.
    """

    def __init__(
        self,
        label: str,
        unit: str,
        *,
        stream: TextIO | None = None,
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._label = label
        self._unit = unit
        self._stream = sys.stderr if stream is None else stream
        self._is_terminal = self._stream.isatty()
        self._interval_s = DRAW_INTERVAL_S if self._is_terminal else LOG_INTERVAL_S
        self._now_s = now_s
        self._shown_s = now_s()
        self._drawn = 0

    def update(self, done: int, total: int, detail: str = "") -> None:
        """``done`` of ``total`` are done; ``detail`` says of what just now, as a path."""
        if self._now_s() - self._shown_s < self._interval_s:
            return
        self._shown_s = self._now_s()
        label = f"{self._label} {detail}".rstrip()
        if self._is_terminal:
            self._draw(label, done, total)
        else:
            logger.info("%s: %d of %d %s", label, done, total, self._unit)

    def finish(self) -> None:
        """Takes the bar away."""
        if self._drawn:
            self._stream.write(f"\r{' ' * self._drawn}\r")
            self._stream.flush()
            self._drawn = 0

    def _draw(self, label: str, done: int, total: int) -> None:
        width = shutil.get_terminal_size().columns - 1
        counts = f" {done}/{total} {self._unit}"
        bar_width = max(min(_MAX_BAR, width - len(counts) - 30), 0)
        filled = bar_width * done // max(total, 1)
        bar = f" [{'#' * filled}{'.' * (bar_width - filled)}]" if bar_width else ""
        room = width - len(bar) - len(counts)
        # The end of a path says more than its beginning.
        text = (label if len(label) <= room else f"…{label[len(label) - room + 1 :]}") + bar + counts
        self._stream.write(f"\r{text[:width].ljust(self._drawn)}")
        self._stream.flush()
        self._drawn = min(len(text), width)
