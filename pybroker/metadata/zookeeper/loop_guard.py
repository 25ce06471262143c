"""Notices when the trio loop stands still while the connection's own thread would keep the session alive.

kazoo answers ZooKeeper's heartbeats from a thread. A broker whose loop is stuck serves nobody and must not
look alive: after half a session timeout without a turn of the loop its session is let go.
"""

import threading
from collections.abc import Callable

import trio

_TICKS_PER_TIMEOUT = 10
_TICKS_WITHOUT_A_TURN = _TICKS_PER_TIMEOUT // 2


class LoopGuard:
    """A thread that asks the loop for a turn at every tick, from construction to :meth:`stop`.

    Ticks are counted, not seconds: when the whole process was stopped, the time away counts as one.

    Args:
        timeout_ms: the session's; a tenth of it is one tick.
        on_turn: called on the trio thread at every tick.
        let_go: called on the guard's thread, once each time that the loop stands still.
        take_back: called on the guard's thread when the loop turns again.
    """

    def __init__(
        self,
        timeout_ms: int,
        on_turn: Callable[[], None],
        let_go: Callable[[], None],
        take_back: Callable[[], None],
    ) -> None:
        self._tick_s = timeout_ms / 1000 / _TICKS_PER_TIMEOUT
        self._on_turn = on_turn
        self._let_go = let_go
        self._take_back = take_back
        self._token = trio.lowlevel.current_trio_token()
        self._has_turned = False
        self._stopped = threading.Event()
        threading.Thread(target=self._run, name="zookeeper-loop-guard", daemon=True).start()

    def stop(self) -> None:
        """Ends the thread."""
        self._stopped.set()

    def _run(self) -> None:
        missed = 0
        try:
            while not self._stopped.is_set():
                self._has_turned = False
                self._token.run_sync_soon(self._turn, idempotent=True)
                self._stopped.wait(self._tick_s)
                before = missed
                missed = 0 if self._has_turned else missed + 1
                if missed == _TICKS_WITHOUT_A_TURN:
                    self._let_go()
                elif missed == 0 and before >= _TICKS_WITHOUT_A_TURN:
                    self._take_back()
        except trio.RunFinishedError:
            self._let_go()

    def _turn(self) -> None:
        self._has_turned = True
        if not self._stopped.is_set():
            self._on_turn()
