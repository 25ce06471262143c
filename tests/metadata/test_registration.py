"""How brokers enter the cluster, and whom they make way for."""

import pytest

from pybroker.metadata import registration
from pybroker.metadata.embedded import EmbeddedStore
from pybroker.metadata.registration import RegistrationConflict
from pybroker.metadata.znodes import PERSISTENT_PATHS, BrokerIdZNode
from pybroker.model.endpoint import Endpoint
from tests.metadata.stores import ManualClock


@pytest.fixture
async def owner(tmp_path):
    owner = EmbeddedStore.open(tmp_path, now_ms=ManualClock().now_ms)
    await registration.ensure_paths(owner.session())
    yield owner
    await owner.close()


def broker(broker_id, port=9092):
    return BrokerIdZNode(broker_id, (Endpoint("PLAINTEXT", "localhost", port),))


async def test_the_paths_are_there_and_may_be_there_already(owner):
    session = owner.session()
    await registration.ensure_paths(session)
    for path in PERSISTENT_PATHS:
        assert await session.exists(path) is not None


async def test_the_first_broker_makes_the_cluster_id_and_the_others_read_it(owner):
    first = await registration.cluster_id(owner.session())
    assert len(first) == 22
    assert await registration.cluster_id(owner.session()) == first


async def test_a_wanted_cluster_id_is_for_new_clusters_only(owner):
    first = await registration.cluster_id(owner.session(), "5L6g3nShT-eMCtK--X86sw")
    assert first == "5L6g3nShT-eMCtK--X86sw"
    assert await registration.cluster_id(owner.session(), "4L6g3nShT-eMCtK--X86sw") == first


async def test_the_broker_epoch_is_the_czxid_and_grows_with_each_registration(owner):
    session = owner.session()
    epoch = await registration.register(session, broker(1))
    stat = await session.exists(BrokerIdZNode.path(1))
    assert (epoch, stat.ephemeral_owner, stat.version) == (stat.czxid, session.session_id, 1)
    assert await registration.live_brokers(session) == [(broker(1), epoch)]
    await session.close()
    assert await registration.register(owner.session(), broker(1)) > epoch


async def test_an_id_in_use_by_another_session_is_refused(owner):
    await registration.register(owner.session(), broker(1))
    with pytest.raises(RegistrationConflict, match="broker 1 is registered already"):
        await registration.register(owner.session(), broker(1))


async def test_an_address_in_use_by_another_broker_is_refused(owner):
    await registration.register(owner.session(), broker(1))
    with pytest.raises(RegistrationConflict, match="broker 1 advertises localhost:9092 already"):
        await registration.register(owner.session(), broker(2))
    await registration.register(owner.session(), broker(2, port=9093))


async def test_what_our_own_earlier_session_left_is_replaced(owner):
    earlier, later = owner.session(), owner.session()
    epoch = await registration.register(earlier, broker(1))
    again = await registration.register(later, broker(1), previous_sessions=[earlier.session_id])
    assert again > epoch
    assert await registration.register(later, broker(1)) > again


async def test_an_update_keeps_the_epoch(owner):
    session = owner.session()
    epoch = await registration.register(session, broker(1))
    await registration.update_registration(session, broker(1, port=9999))
    assert await registration.live_brokers(session) == [(broker(1, port=9999), epoch)]


async def test_generated_ids_are_above_the_reserved_ones(owner):
    session = owner.session()
    assert [await registration.generate_broker_id(session, 1000) for _ in range(2)] == [1001, 1002]
