"""Configurations in the store reach the image: all at start, then those that a note names."""

import pytest

from pybroker.metadata.config_changes import PURGE_AFTER_MS, ConfigChanges
from pybroker.metadata.config_store import note_change, write_config
from pybroker.metadata.embedded import EmbeddedStore
from pybroker.metadata.publisher import Publisher
from pybroker.metadata.registration import ensure_paths
from pybroker.metadata.znodes import ConfigChangeZNode, ConfigEntityZNode, ConfigType, ControllerZNode
from pybroker.model.errors import ApiError, ErrorCode
from tests.metadata.stores import ManualClock, settle


@pytest.fixture
def clock():
    return ManualClock()


@pytest.fixture
async def session(tmp_path, clock):
    owner = EmbeddedStore.open(tmp_path, now_ms=clock.now_ms)
    session = owner.session()
    await ensure_paths(session)
    await session.create(ControllerZNode.path, ControllerZNode(1, 0).encode(), ephemeral=True)
    yield session
    await owner.close()


async def test_everything_is_read_at_start(session, clock):
    await write_config(session, ConfigType.TOPIC, "t", {"a": "1"})
    await write_config(session, ConfigType.USER, "alice/clients/app", {"b": "2"})
    await write_config(session, ConfigType.BROKER, "<default>", {"c": "3"})
    publisher = Publisher()
    await ConfigChanges(session, publisher, clock.now_ms).start()
    assert publisher.current.configs == {
        (ConfigType.TOPIC, "t"): {"a": "1"},
        (ConfigType.USER, "alice"): {},
        (ConfigType.USER, "alice/clients/app"): {"b": "2"},
        (ConfigType.BROKER, "<default>"): {"c": "3"},
    }


async def test_changes_are_followed_and_malformed_ones_passed_over(session, clock, nursery):
    publisher = Publisher()
    changes = ConfigChanges(session, publisher, clock.now_ms)
    await changes.start()
    nursery.start_soon(changes.run)
    told = []
    publisher.on_config_change(lambda *change: told.append(change))
    await write_config(session, ConfigType.TOPIC, "t", {"a": "1"})
    await settle(session._owner)
    await session.create(ConfigChangeZNode.sequence_prefix, b"garbage", sequential=True)
    await session.create(ConfigEntityZNode.path(ConfigType.TOPIC, "bad"), b"[]")
    await note_change(session, ConfigType.TOPIC, "bad")
    await write_config(session, ConfigType.TOPIC, "t", {"a": "2"})
    await settle(session._owner)
    assert told == [(ConfigType.TOPIC, "t", {"a": "1"}), (ConfigType.TOPIC, "t", {"a": "2"})]
    nursery.cancel_scope.cancel()


async def test_old_notes_are_purged(session, clock, nursery):
    publisher = Publisher()
    changes = ConfigChanges(session, publisher, clock.now_ms)
    await changes.start()
    nursery.start_soon(changes.run)
    await note_change(session, ConfigType.TOPIC, "t")
    await settle(session._owner)
    clock.advance(PURGE_AFTER_MS + 1)
    await note_change(session, ConfigType.TOPIC, "t")
    await settle(session._owner)
    assert await session.children(ConfigChangeZNode.parent) == ["config_change_0000000001"]
    nursery.cancel_scope.cancel()


async def test_a_new_topic_is_read_when_its_broker_asks(session, clock):
    publisher = Publisher()
    changes = ConfigChanges(session, publisher, clock.now_ms)
    await changes.start()
    await session.create("/config/topics/t", ConfigEntityZNode.encode({"a": "1"}))
    await changes.ensure_topics(["t", "without"])
    assert publisher.current.configs == {
        (ConfigType.TOPIC, "t"): {"a": "1"},
        (ConfigType.TOPIC, "without"): {},
    }
    before = publisher.current
    await changes.ensure_topics(["t", "without"])
    assert publisher.current is before


async def test_nothing_is_written_without_a_controller_or_under_a_kraft_one(session):
    await session.set(ControllerZNode.path, ControllerZNode(1, 0, kraft_epoch=3).encode())
    with pytest.raises(ApiError) as kraft:
        await write_config(session, ConfigType.TOPIC, "t", {})
    await session.delete(ControllerZNode.path)
    with pytest.raises(ApiError) as none:
        await write_config(session, ConfigType.TOPIC, "t", {})
    assert kraft.value.code is none.value.code is ErrorCode.STALE_CONTROLLER_EPOCH
