"""A session that is lost between a broker's registration and its first election."""

import trio

from pybroker.controller.controller import Controller
from pybroker.controller.term import ControllerConfig
from pybroker.metadata.embedded import EmbeddedStore
from pybroker.metadata.registration import ensure_paths, live_brokers, register
from pybroker.metadata.znodes import BrokerIdZNode
from pybroker.model.endpoint import Endpoint
from tests.metadata.stores import ManualClock


class NobodyListens:
    """A channel to a broker that never answers."""

    async def send(self, request):
        await trio.sleep_forever()

    async def aclose(self):
        return


async def test_the_broker_is_registered_with_the_new_one_before_it_elects(tmp_path):
    clock = ManualClock()
    owner = EmbeddedStore.open(tmp_path, now_ms=clock.now_ms)
    session = owner.session()
    node = BrokerIdZNode(1, (Endpoint("PLAINTEXT", "localhost", 9092),))
    await ensure_paths(session)
    controller = Controller(
        ControllerConfig(1),
        session,
        lambda broker: NobodyListens(),
        now_ms=clock.now_ms,
        reregister=lambda: register(session, node),
    )
    before = await register(session, node)
    await owner.expire_session(session.session_id)
    async with trio.open_nursery() as nursery:
        await nursery.start(controller.run)
        ((found, epoch),) = await live_brokers(session)
        assert (found, epoch > before, controller.is_active) == (node, True, True)
        nursery.cancel_scope.cancel()
    await owner.close()
