"""Follows the configurations in the store and hands them to the publisher.

Writers put the new values under /config and a note under /config/changes. At start everything is read once;
from then on each note says which entity to read again. A note is word of a change, never the change itself.
"""

import logging
from collections.abc import Callable, Iterable

import trio

from pybroker.metadata.publisher import Publisher
from pybroker.metadata.store import ConnectionLost, NoNode, SessionEvent, SessionExpired, Store
from pybroker.metadata.znodes import (
    ConfigChangeZNode,
    ConfigEntityZNode,
    ConfigType,
    ConfigTypeZNode,
    MalformedZnode,
)

log = logging.getLogger(__name__)

PURGE_AFTER_MS = 15 * 60 * 1000
_SEQUENCE_DIGITS = 10


class ConfigChanges:
    """The follower. ``start`` reads all there is; ``run`` then follows, until it is cancelled."""

    def __init__(self, store: Store, publisher: Publisher, now_ms: Callable[[], int]) -> None:
        self._store = store
        self._publisher = publisher
        self._now_ms = now_ms
        self._last_sequence = -1
        self._look_again = trio.Event()
        self._one_read = trio.Lock()

    async def start(self) -> None:
        """Reads every configuration once; call it before the broker serves anything."""
        notes = await self._notes()
        if notes:
            self._last_sequence = _sequence(notes[-1])
        entities: list[tuple[ConfigType, str]] = []
        for config_type in ConfigType:
            for entity in await self._children(ConfigTypeZNode.path(config_type)):
                entities.append((config_type, entity))
                if config_type is ConfigType.USER:
                    clients = await self._children(ConfigEntityZNode.path(config_type, f"{entity}/clients"))
                    entities.extend((config_type, f"{entity}/clients/{client}") for client in clients)
        await self.read(entities)
        self._look_again.set()

    async def run(self) -> None:
        """Follows the notes. Never returns."""
        end = self._store.on_session_event(self._on_session_event)
        try:
            while True:
                await self._look_again.wait()
                self._look_again = trio.Event()
                try:
                    await self._process_notes()
                except (ConnectionLost, SessionExpired) as error:
                    log.info("waiting for the metadata store: %s", type(error).__name__)
        finally:
            end()

    async def ensure_topics(self, topics: Iterable[str]) -> None:
        """Reads the configuration of topics that the image has none of, not even an empty one.

        No note tells of a new topic: whoever gets its first LeaderAndIsr asks here.
        """
        known = self._publisher.current.configs
        await self.read(
            [(ConfigType.TOPIC, name) for name in topics if (ConfigType.TOPIC, name) not in known]
        )

    async def refresh_topics(self, topics: Iterable[str]) -> None:
        """Reads the configuration of topics of the image again. Those that are deleted meanwhile are passed
        over: a later topic of that name has its own.

        Raises:
            StoreError: nothing was read.
        """
        await self.read([(ConfigType.TOPIC, name) for name in topics], are_known_topics=True)

    async def read(self, entities: list[tuple[ConfigType, str]], *, are_known_topics: bool = False) -> None:
        """Reads configurations and publishes what has changed; an entity without a node has none."""
        if not entities:
            return
        async with self._one_read:  # of two that are answered together the older could be published last
            await self._read_and_publish(entities, are_known_topics)

    async def _read_and_publish(self, entities: list[tuple[ConfigType, str]], are_known_topics: bool) -> None:
        paths = [ConfigEntityZNode.path(config_type, entity) for config_type, entity in entities]
        nodes = await self._store.get_all(paths)
        changes: list[tuple[ConfigType, str, dict[str, str]]] = []
        for (config_type, entity), path, node in zip(entities, paths, nodes, strict=True):
            if are_known_topics and entity not in self._publisher.current.topics:
                continue
            try:
                values = {} if node is None else ConfigEntityZNode.decode(path, node[0])
            except MalformedZnode as error:
                log.error("a configuration is ignored: %s", error)
                continue
            if self._publisher.current.configs.get((config_type, entity)) != values:
                changes.append((config_type, entity, values))
        self._publisher.apply_configs(changes)

    async def _process_notes(self) -> None:
        notes = await self._notes()
        fresh = [note for note in notes if _sequence(note) > self._last_sequence]
        nodes = await self._store.get_all([f"{ConfigChangeZNode.parent}/{note}" for note in fresh])
        entities: dict[tuple[ConfigType, str], None] = {}
        for node in nodes:
            if node is None:
                continue
            try:
                change = ConfigChangeZNode.decode(node[0])
            except MalformedZnode as error:
                log.error("a configuration change is ignored: %s", error)
                continue
            entities[change.config_type, change.entity] = None
        await self.read(list(entities))
        if fresh:
            self._last_sequence = _sequence(fresh[-1])
            await self._purge(notes)

    async def _purge(self, notes: list[str]) -> None:
        paths = [f"{ConfigChangeZNode.parent}/{note}" for note in notes]
        for path, node in zip(paths, await self._store.get_all(paths), strict=True):
            if node is not None and node[1].ctime_ms < self._now_ms() - PURGE_AFTER_MS:
                try:
                    await self._store.delete(path)
                except NoNode:
                    continue

    async def _notes(self) -> list[str]:
        notes = await self._store.children(ConfigChangeZNode.parent, self._on_note)
        return sorted(notes, key=_sequence)

    async def _children(self, path: str) -> list[str]:
        try:
            return await self._store.children(path)
        except NoNode:
            return []

    def _on_note(self, path: str) -> None:  # noqa: ARG002
        self._look_again.set()

    def _on_session_event(self, event: SessionEvent) -> None:
        if event is SessionEvent.CONNECTED:
            self._look_again.set()


def _sequence(note: str) -> int:
    return int(note[-_SEQUENCE_DIGITS:])
