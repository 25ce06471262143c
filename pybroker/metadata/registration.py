"""How a broker enters the cluster: the paths everybody relies on, the cluster's id, its own node."""

import logging
from collections.abc import Sequence

from pybroker.metadata.store import (
    ConnectionLost,
    Create,
    MultiFailed,
    NodeExists,
    NoNode,
    SetData,
    Stat,
    Store,
    StoreError,
)
from pybroker.metadata.znodes import (
    PERSISTENT_PATHS,
    BrokerIdsZNode,
    BrokerIdZNode,
    BrokerSequenceZNode,
    ClusterIdZNode,
    new_cluster_id,
)
from pybroker.model.ids import BrokerEpoch, BrokerId

log = logging.getLogger(__name__)


class RegistrationConflict(StoreError):
    """Another broker has our id or our address."""


async def ensure_paths(store: Store) -> None:
    """Creates the persistent paths that are missing."""
    await store.ensure(*PERSISTENT_PATHS)


async def cluster_id(store: Store, wanted: str = "") -> str:
    """The cluster's id; the first broker that asks makes it, as ``wanted`` or a random one."""
    proposed = ClusterIdZNode(wanted or new_cluster_id())
    while True:
        try:
            return ClusterIdZNode.decode((await store.get(ClusterIdZNode.path))[0]).cluster_id
        except NoNode:
            pass
        try:
            await store.create(ClusterIdZNode.path, proposed.encode(), make_parents=True)
        except (NodeExists, ConnectionLost):
            continue
        return proposed.cluster_id


async def generate_broker_id(store: Store, reserved_max_id: int) -> BrokerId:
    """An id that no broker has had, above ``reserved_max_id`` (``reserved.broker.max.id``).

    An answer that never came costs an id.
    """
    while True:
        try:
            return (await store.set(BrokerSequenceZNode.path, b"")).version + reserved_max_id
        except ConnectionLost:
            continue


async def register(
    store: Store, broker: BrokerIdZNode, *, previous_sessions: Sequence[int] = ()
) -> BrokerEpoch:
    """Registers the broker as long as the session lasts.

    Args:
        store: the broker's own session.
        broker: what to say of it.
        previous_sessions: ids of earlier sessions of this very process: a node one of them left is replaced.

    Returns:
        The broker epoch: the czxid of the node.

    Raises:
        RegistrationConflict: a live broker has the id or one of the addresses.
    """
    await _refuse_taken_addresses(store, broker)
    own_sessions = {store.session_id, *previous_sessions}
    path = BrokerIdZNode.path(broker.broker_id)
    may_be_done = False
    while True:
        try:
            results = await store.multi([Create(path, ephemeral=True), SetData(path, broker.encode(), 0)])
        except MultiFailed as refused:
            if not isinstance(refused.error, NodeExists):
                raise
        except ConnectionLost:
            may_be_done = True
        else:
            stat = results[1]
            assert isinstance(stat, Stat)
            return _registered(broker, stat)
        try:
            data, existing = await store.get(path)
            if existing.ephemeral_owner not in own_sessions:
                raise RegistrationConflict(
                    f"broker {broker.broker_id} is registered already, "
                    f"by session {existing.ephemeral_owner:#x}"
                )
            if may_be_done and (existing.ephemeral_owner, data) == (store.session_id, broker.encode()):
                return _registered(broker, existing)
            await store.delete(path, existing.version)
        except (NoNode, ConnectionLost):
            continue


async def update_registration(store: Store, broker: BrokerIdZNode) -> None:
    """Says something new of a broker that is registered; its epoch stays."""
    await store.set(BrokerIdZNode.path(broker.broker_id), broker.encode())


async def live_brokers(store: Store) -> list[tuple[BrokerIdZNode, BrokerEpoch]]:
    """All registered brokers with their epochs, by id."""
    ids = sorted(int(name) for name in await store.children(BrokerIdsZNode.path))
    nodes = await store.get_all([BrokerIdZNode.path(broker_id) for broker_id in ids])
    return [
        (BrokerIdZNode.decode(broker_id, node[0]), node[1].czxid)
        for broker_id, node in zip(ids, nodes, strict=True)
        if node is not None
    ]


def _registered(broker: BrokerIdZNode, stat: Stat) -> BrokerEpoch:
    log.info("registered broker %d with epoch %d", broker.broker_id, stat.czxid)
    return stat.czxid


async def _refuse_taken_addresses(store: Store, broker: BrokerIdZNode) -> None:
    ours = {(endpoint.host, endpoint.port) for endpoint in broker.endpoints if endpoint.port != 0}
    for other, _ in await live_brokers(store):
        if other.broker_id == broker.broker_id:
            continue
        taken = ours & {(endpoint.host, endpoint.port) for endpoint in other.endpoints}
        if taken:
            host, port = min(taken)
            raise RegistrationConflict(f"broker {other.broker_id} advertises {host}:{port} already")
