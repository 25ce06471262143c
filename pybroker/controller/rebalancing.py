"""When automatic preferred elections run: 5 seconds after the election, then at the configured interval."""

from collections.abc import Callable

from pybroker.controller import preferred
from pybroker.controller.term import ControllerConfig, Term
from pybroker.instruments.clock import Timer, TimerQueue

FIRST_AFTER_MS = 5_000


class RebalanceTimer:
    """One timer at a time, by broker time."""

    def __init__(
        self, config: ControllerConfig, timers: TimerQueue | None, now_ms: Callable[[], int]
    ) -> None:
        self._config = config
        self._timers = timers
        self._now_ms = now_ms
        self._timer: Timer | None = None

    def begin(self, term: Term) -> None:
        """The controller took office."""
        if self._config.auto_leader_rebalance_enable:
            self._schedule(term, FIRST_AFTER_MS)

    def end(self) -> None:
        """The controller left office."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _schedule(self, term: Term, after_ms: int) -> None:
        if self._timers is not None:
            due_ms = self._now_ms() + after_ms
            self._timer = self._timers.schedule("leader rebalance", due_ms, lambda: self._fire(term))

    def _fire(self, term: Term) -> None:
        term.post(lambda: preferred.rebalance(term), preferred.rebalance)
        self._schedule(term, self._config.leader_imbalance_check_interval_seconds * 1000)
