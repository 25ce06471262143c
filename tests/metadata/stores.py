"""What the contract suite needs of a store: sessions on one tree, ended cleanly or not."""

import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Protocol

import trio.testing
from kazoo.client import KazooClient
from msgspec.structs import replace

from interop.support.zookeeper import ZooKeeperServer
from pybroker.metadata.embedded import EmbeddedSession, EmbeddedStore
from pybroker.metadata.store import Store
from pybroker.metadata.zookeeper.session import ZooKeeperSession
from pybroker.metadata.zookeeper.settings import ZooKeeperSettings


class StoreUnderTest(Protocol):
    """One tree with many sessions."""

    async def session(self) -> Store:
        """A new session."""

    async def expire(self, session: Store) -> None:
        """Lets the store end the session, as if its owner had been away too long."""


class EmbeddedUnderTest:
    """The embedded store in a folder of the test."""

    def __init__(self, owner: EmbeddedStore) -> None:
        self.owner = owner

    async def session(self) -> EmbeddedSession:
        return self.owner.session()

    async def expire(self, session: Store) -> None:
        await self.owner.expire_session(session.session_id)


class ManualClock:
    """Broker time that stands still, with the part of the timer queue that the store uses."""

    def __init__(self, now_ms: int = 1_700_000_000_000) -> None:
        self.now = now_ms
        self.timers: list[tuple[int, Callable[[], None]]] = []

    def now_ms(self) -> int:
        return self.now

    def schedule(self, kind: str, when_ms: int, callback: Callable[[], None]) -> None:
        self.timers.append((when_ms, callback))

    def advance(self, by_ms: int) -> None:
        self.now += by_ms
        due = [entry for entry in self.timers if entry[0] <= self.now]
        self.timers = [entry for entry in self.timers if entry[0] > self.now]
        for _, callback in due:
            callback()


async def settle(store: EmbeddedStore) -> None:
    """Waits until nobody has anything left to do; a commit that is on its way to the disk counts as work."""
    quiet_rounds = 0
    while quiet_rounds < 2:
        await trio.testing.wait_all_tasks_blocked(0.005)
        quiet_rounds = 0 if store._commit_lock.locked() else quiet_rounds + 1


@asynccontextmanager
async def embedded_under_test(directory: Path) -> AsyncIterator[StoreUnderTest]:
    owner = EmbeddedStore.open(directory / "metadata", now_ms=ManualClock().now_ms)
    try:
        yield EmbeddedUnderTest(owner)
    finally:
        await owner.close()


class ZooKeeperUnderTest:
    """A real ZooKeeper, or what stands before it, and a chroot of the test."""

    def __init__(self, settings: ZooKeeperSettings) -> None:
        self.settings = settings
        self.sessions: list[ZooKeeperSession] = []

    async def session(self) -> ZooKeeperSession:
        session = await ZooKeeperSession.open(self.settings)
        self.sessions.append(session)
        return session

    async def expire(self, session: Store) -> None:
        assert isinstance(session, ZooKeeperSession)
        client = session._link._client
        # kazoo gives them away only while it is connected.
        client_id = client._session_id, client._session_passwd
        await trio.to_thread.run_sync(_close_session, self.settings.hosts, client_id)


def _close_session(hosts: str, client_id: tuple[int, bytes]) -> None:
    """Whoever has a session's id and password may end it."""
    client = KazooClient(hosts, client_id=client_id)
    client.start()
    client.stop()
    client.close()


def chroot_settings(server: ZooKeeperServer, **changes: object) -> ZooKeeperSettings:
    """A chroot that nobody has used, with time-outs for tests."""
    settings = ZooKeeperSettings(
        hosts=server.address,
        chroot=f"/test-{uuid.uuid4().hex[:12]}",
        session_timeout_ms=4_000,
        connection_timeout_ms=10_000,
    )
    return replace(settings, **changes)


@asynccontextmanager
async def zookeeper_under_test(settings: ZooKeeperSettings) -> AsyncIterator[ZooKeeperUnderTest]:
    under_test = ZooKeeperUnderTest(settings)
    try:
        yield under_test
    finally:
        for session in under_test.sessions:
            session.abandon()
