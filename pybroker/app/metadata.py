"""Where a broker keeps what the cluster knows: in its own store, in one that it shares, or in ZooKeeper."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import trio

from pybroker.config.broker import BrokerConfig
from pybroker.config.values import InvalidConfig
from pybroker.instruments.clock import TimerQueue
from pybroker.metadata import journal, registration
from pybroker.metadata.embedded import EmbeddedStore
from pybroker.metadata.store import Store
from pybroker.model.errors import StartupError
from pybroker.model.ids import BrokerId
from pybroker.storage.log_manager import LogManager


@asynccontextmanager
async def metadata_session(
    config: BrokerConfig,
    *,
    shared: EmbeddedStore | None,
    own_dir: str,
    now_ms: Callable[[], int],
    timers: TimerQueue,
) -> AsyncIterator[Store]:
    """A session for the length of the block, which must end it with ``close``; otherwise it is left to
    expire, as a killed broker leaves it.

    Args:
        shared: a store of this process, if there is one.
        own_dir: the log directory in which a broker without ZooKeeper keeps its store.

    Raises:
        StartupError: the store cannot be opened.
        StoreError: ZooKeeper does not answer, or refuses this broker.
    """
    if shared is not None:
        opened = _embedded(shared, config)
    elif config.uses_embedded_metadata:
        opened = _own_embedded(config, own_dir, now_ms, timers)
    else:
        opened = _zookeeper(config)
    async with opened as session:
        try:
            yield session
        finally:
            session.abandon()


@asynccontextmanager
async def _embedded(store: EmbeddedStore, config: BrokerConfig) -> AsyncIterator[Store]:
    yield store.session(config.zookeeper_session_timeout_ms)


@asynccontextmanager
async def _own_embedded(
    config: BrokerConfig, own_dir: str, now_ms: Callable[[], int], timers: TimerQueue
) -> AsyncIterator[Store]:
    try:
        store = EmbeddedStore.open(Path(own_dir) / journal.DIRECTORY, now_ms=now_ms, timers=timers)
    except OSError as error:
        raise StartupError(f"the metadata in {own_dir} cannot be opened: {error}") from error
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(store.run)
            yield store.session(config.zookeeper_session_timeout_ms)
            nursery.cancel_scope.cancel()
    finally:
        await store.close()


@asynccontextmanager
async def _zookeeper(config: BrokerConfig) -> AsyncIterator[Store]:
    # kazoo is imported only where it is used: start-up time is part of the product.
    from pybroker.metadata.zookeeper.session import ZooKeeperSession
    from pybroker.metadata.zookeeper.settings import settings_of

    try:
        settings = settings_of(config)
    except InvalidConfig as error:
        raise StartupError(str(error)) from error
    yield await ZooKeeperSession.open(settings)


async def choose_broker_id(config: BrokerConfig, logs: LogManager, session: Store) -> BrokerId:
    """``broker.id``, else the id that the log directories have, else a new one: the next of the cluster's
    sequence, or 0 for the only broker of an embedded store."""
    if config.broker_id >= 0:
        return config.broker_id
    owner = logs.owner().broker_id
    if owner is not None:
        return owner
    if config.uses_embedded_metadata:
        return 0
    return await registration.generate_broker_id(session, config.reserved_broker_max_id)
