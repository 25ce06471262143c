"""A broker whose loop stands still lets its session go, and takes it up again when the loop turns."""

import threading

import trio
from kazoo.client import KazooClient
from msgspec.structs import replace

from pybroker.metadata.store import SessionEvent
from pybroker.metadata.zookeeper.loop_guard import LoopGuard
from tests.metadata.zookeeper.test_interruptions import Events

PATIENCE_S = 20


class Calls:
    """What the guard has asked for, on its own thread and on the loop."""

    def __init__(self):
        self.names = []
        self.let_go = threading.Event()
        self.taken_back = trio.Event()
        self.turned = trio.Event()
        self._token = trio.lowlevel.current_trio_token()

    def guard(self, timeout_ms):
        return LoopGuard(timeout_ms, lambda: self.turned.set(), self._let_go, self._take_back)

    def _let_go(self):
        self.names.append("let go")
        self.let_go.set()

    def _take_back(self):
        self.names.append("take back")
        self._token.run_sync_soon(self.taken_back.set)


async def test_a_loop_that_stands_still_is_noticed_and_one_that_turns_again_too():
    calls = Calls()
    guard = calls.guard(timeout_ms=200)
    with trio.fail_after(PATIENCE_S):
        await calls.turned.wait()
        assert calls.names == []
        assert calls.let_go.wait(PATIENCE_S), "this call is what holds the loop"
        await calls.taken_back.wait()
    assert calls.names == ["let go", "take back"]
    guard.stop()


async def test_a_loop_that_is_idle_is_not_taken_for_a_dead_one():
    calls = Calls()
    guard = calls.guard(timeout_ms=2_000)
    with trio.fail_after(PATIENCE_S):
        for _ in range(6):
            calls.turned = trio.Event()
            await calls.turned.wait()
    assert calls.names == []
    guard.stop()


async def test_the_session_of_a_broker_that_hangs_expires_and_a_new_one_follows(direct, zookeeper):
    direct.settings = replace(direct.settings, session_timeout_ms=1_000)
    session = await direct.session()
    events = Events(session)
    before = session.session_id
    await session.create("/e", ephemeral=True)
    wait_until_gone(zookeeper.address, f"{direct.settings.chroot}/e")
    await events.wait_for(SessionEvent.CONNECTED)
    assert events.told[-2:] == [SessionEvent.LOST, SessionEvent.CONNECTED]
    assert session.session_id != before
    await session.create("/e", ephemeral=True)


def wait_until_gone(address, path):
    """Holds the loop: everything here blocks."""
    client = KazooClient(address)
    client.start()
    try:
        gone = threading.Event()
        if client.exists(path, lambda _: gone.set()) is not None:
            assert gone.wait(PATIENCE_S), "a hanging broker still looks alive"
    finally:
        client.stop()
        client.close()
