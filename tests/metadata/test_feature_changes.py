"""A feature holds when the store says so, or while every live broker publishes it."""

import pytest

from pybroker.metadata.embedded import EmbeddedStore
from pybroker.metadata.feature_changes import FeatureChanges, finalized_features
from pybroker.metadata.publisher import Publisher
from pybroker.metadata.registration import ensure_paths, register
from pybroker.metadata.znodes import BrokerIdZNode, FeatureRange, FeatureZNode
from pybroker.model.endpoint import Endpoint
from tests.metadata.stores import ManualClock, settle
from tests.metadata.test_publisher import update

F1 = {"f": FeatureRange(0, 1)}
F3 = {"f": FeatureRange(1, 3), "g": FeatureRange(0, 1)}


@pytest.mark.parametrize(
    ("in_store", "by_broker", "expected"),
    [
        ({}, {}, {}),
        ({}, {1: F3}, {"f": 3, "g": 1}),
        ({}, {1: F3, 2: F1}, {"f": 1}),
        ({}, {1: F3, 2: {}}, {}),
        ({"f": 2}, {1: F3}, {"f": 2, "g": 1}),
        ({}, {1: {"f": FeatureRange(2, 3)}, 2: F1}, {}),
        ({"old": 1}, {1: {}}, {"old": 1}),
    ],
)
def test_levels(in_store, by_broker, expected):
    assert finalized_features(in_store, by_broker) == expected


async def test_the_image_follows_brokers_and_the_node(tmp_path, nursery):
    owner = EmbeddedStore.open(tmp_path, now_ms=ManualClock().now_ms)
    session = owner.session()
    await ensure_paths(session)
    publisher = Publisher()
    changes = FeatureChanges(session, publisher)
    await register(session, BrokerIdZNode(1, (Endpoint("P", "a", 1),), features=F3))
    await changes.start()
    nursery.start_soon(changes.run)
    await settle(owner)
    assert publisher.current.features == {"f": 3, "g": 1}
    first_epoch = publisher.current.features_epoch

    other = owner.session()
    await register(other, BrokerIdZNode(2, (Endpoint("P", "b", 1),), features=F1))
    publisher.apply_update_metadata(update(brokers=(1, 2)))
    await settle(owner)
    assert publisher.current.features == {"f": 1}
    assert publisher.current.broker_features == {1: F3, 2: F1}

    await other.close()
    publisher.apply_update_metadata(update(brokers=(1,)))
    await settle(owner)
    assert publisher.current.features == {"f": 3, "g": 1}
    assert publisher.current.features_epoch > first_epoch

    await session.create(FeatureZNode.path, FeatureZNode(1, {"f": 2}).encode())
    await settle(owner)
    assert publisher.current.features == {"f": 2, "g": 1}
    nursery.cancel_scope.cancel()
    await owner.close()
