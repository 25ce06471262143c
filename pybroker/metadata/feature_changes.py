"""Follows which features the cluster has finalized, and hands them to the publisher.

A level in /feature counts for everybody. Beyond that a feature counts as finalized while every live broker
publishes it: pybroker never writes /feature, because a broker that lacks a level found there is not let in.
"""

import logging
from collections.abc import Mapping

import trio

from pybroker.metadata.image import ClusterImage
from pybroker.metadata.publisher import Publisher
from pybroker.metadata.registration import live_brokers
from pybroker.metadata.store import ConnectionLost, NoNode, SessionEvent, SessionExpired, Store
from pybroker.metadata.znodes import BrokerIdsZNode, FeatureRange, FeatureZNode, MalformedZnode
from pybroker.model.ids import BrokerId

log = logging.getLogger(__name__)


def finalized_features(
    in_store: Mapping[str, int], by_broker: Mapping[BrokerId, Mapping[str, FeatureRange]]
) -> dict[str, int]:
    """The levels that hold: those in the store, and the highest that all live brokers share."""
    levels = dict(in_store)
    published = list(by_broker.values())
    for name in set.intersection(*(set(features) for features in published)) if published else ():
        highest = min(features[name].max_version for features in published)
        if name not in levels and highest >= max(features[name].min_version for features in published):
            levels[name] = highest
    return levels


class FeatureChanges:
    """The follower. ``start`` reads once; ``run`` then follows, until it is cancelled."""

    def __init__(self, store: Store, publisher: Publisher) -> None:
        self._store = store
        self._publisher = publisher
        self._look_again = trio.Event()

    async def start(self) -> None:
        """Reads the features once, and sets the watch."""
        in_store: Mapping[str, int] = {}
        epoch = 0
        stat = await self._store.exists(FeatureZNode.path, self._on_watch)
        if stat is not None:
            in_store, epoch = await self._read_node()
        by_broker: dict[BrokerId, Mapping[str, FeatureRange]] = {}
        ids = await self._store.exists(BrokerIdsZNode.path)
        if ids is not None:
            epoch = max(epoch, ids.pzxid)
            by_broker = {broker.broker_id: broker.features for broker, _ in await live_brokers(self._store)}
        finalized = finalized_features(in_store, by_broker)
        image = self._publisher.current
        if (finalized, by_broker) != (image.features, image.broker_features):
            self._publisher.apply_features(finalized, epoch, by_broker)

    async def run(self) -> None:
        """Looks again when /feature or the set of live brokers changed. Never returns."""
        leave_image = self._publisher.on_change(self._on_image)
        leave_session = self._store.on_session_event(self._on_session_event)
        try:
            while True:
                await self._look_again.wait()
                self._look_again = trio.Event()
                try:
                    await self.start()
                except (ConnectionLost, SessionExpired) as error:
                    log.info("waiting for the metadata store: %s", type(error).__name__)
                except MalformedZnode as error:
                    log.error("features are left as they were: %s", error)
        finally:
            leave_image()
            leave_session()

    async def _read_node(self) -> tuple[Mapping[str, int], int]:
        try:
            data, stat = await self._store.get(FeatureZNode.path)
        except NoNode:
            return {}, 0
        node = FeatureZNode.decode(data)
        return (node.max_levels if node.status == FeatureZNode.ENABLED else {}), stat.mzxid

    def _on_watch(self, path: str) -> None:  # noqa: ARG002
        self._look_again.set()

    def _on_image(self, old: ClusterImage, new: ClusterImage) -> None:
        if old.brokers is not new.brokers:
            self._look_again.set()

    def _on_session_event(self, event: SessionEvent) -> None:
        if event is SessionEvent.CONNECTED:
            self._look_again.set()
