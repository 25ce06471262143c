"""Configurations in the store reach the image: all at start, then those that a note names."""

import pytest
import trio
import trio.testing

from pybroker.metadata.config_changes import PURGE_AFTER_MS, ConfigChanges
from pybroker.metadata.config_store import note_change, write_config
from pybroker.metadata.embedded import EmbeddedStore
from pybroker.metadata.publisher import Publisher
from pybroker.metadata.registration import ensure_paths
from pybroker.metadata.znodes import ConfigChangeZNode, ConfigEntityZNode, ConfigType, ControllerZNode
from pybroker.model.errors import ApiError, ErrorCode
from pybroker.protocol.messages import UpdateMetadataRequest
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


class LateAnswers:
    """Holds back what a session has read, until :meth:`give` gives the latest first."""

    def __init__(self, session, monkeypatch):
        self._get_all = session.get_all
        self._waiting = []
        monkeypatch.setattr(session, "get_all", self._read)

    async def _read(self, paths, watch=None):
        found = await self._get_all(paths, watch)
        given = trio.Event()
        self._waiting.append(given)
        await given.wait()
        return found

    async def give(self):
        await trio.testing.wait_all_tasks_blocked()
        while self._waiting:
            self._waiting.pop().set()
            await trio.testing.wait_all_tasks_blocked()


def tell_of_t(publisher, leader):
    """The controller tells of a topic ``t``; a leader of -2 deletes it."""
    partition = UpdateMetadataRequest.UpdateMetadataPartitionState(partition_index=0, leader=leader)
    told = UpdateMetadataRequest.UpdateMetadataTopicState(topic_name="t", partition_states=[partition])
    publisher.apply_update_metadata(UpdateMetadataRequest(topic_states=[told]))


async def test_the_latest_that_was_read_is_published_last(session, clock, nursery, monkeypatch):
    publisher = Publisher()
    tell_of_t(publisher, leader=1)
    changes = ConfigChanges(session, publisher, clock.now_ms)
    await write_config(session, ConfigType.TOPIC, "t", {"a": "1"})
    answers = LateAnswers(session, monkeypatch)
    nursery.start_soon(changes.refresh_topics, ["t"])
    await trio.testing.wait_all_tasks_blocked()
    await session.set(ConfigEntityZNode.path(ConfigType.TOPIC, "t"), ConfigEntityZNode.encode({"a": "2"}))
    nursery.start_soon(changes.refresh_topics, ["t"])
    await answers.give()
    assert publisher.current.config(ConfigType.TOPIC, "t") == {"a": "2"}


async def test_what_was_read_of_a_topic_that_is_deleted_is_not_a_later_ones(
    session, clock, nursery, monkeypatch
):
    publisher = Publisher()
    tell_of_t(publisher, leader=1)
    changes = ConfigChanges(session, publisher, clock.now_ms)
    await write_config(session, ConfigType.TOPIC, "t", {"a": "1"})
    answers = LateAnswers(session, monkeypatch)
    nursery.start_soon(changes.refresh_topics, ["t"])
    await trio.testing.wait_all_tasks_blocked()
    tell_of_t(publisher, leader=-2)
    await answers.give()
    assert publisher.current.configs == {}


async def test_nothing_is_written_without_a_controller_or_under_a_kraft_one(session):
    await session.set(ControllerZNode.path, ControllerZNode(1, 0, kraft_epoch=3).encode())
    with pytest.raises(ApiError) as kraft:
        await write_config(session, ConfigType.TOPIC, "t", {})
    await session.delete(ControllerZNode.path)
    with pytest.raises(ApiError) as none:
        await write_config(session, ConfigType.TOPIC, "t", {})
    assert kraft.value.code is none.value.code is ErrorCode.STALE_CONTROLLER_EPOCH
