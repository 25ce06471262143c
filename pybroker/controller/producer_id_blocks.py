"""Blocks of producer ids: no two brokers ever get the same one (``ZkProducerIdManager`` of Kafka 3.9)."""

from pybroker.metadata.store import BadVersion, ConnectionLost, NodeExists, NoNode, Store
from pybroker.metadata.znodes import ProducerIdBlockZNode
from pybroker.model.ids import BrokerId

BLOCK_SIZE = 1000


async def allocate_block(store: Store, broker_id: BrokerId) -> range:
    """The next free block, noted in the store as that broker's before this returns."""
    while True:
        try:
            data, stat = await store.get(ProducerIdBlockZNode.path)
            start = ProducerIdBlockZNode.decode(data).block_end + 1 if data else 0
            block = range(start, start + BLOCK_SIZE)
            node = ProducerIdBlockZNode(broker_id, block[0], block[-1])
            await store.set(ProducerIdBlockZNode.path, node.encode(), stat.version)
        except (BadVersion, ConnectionLost):
            continue  # a block whose answer never came is nobody's
        except NoNode:
            await _create(store)
            continue
        return block


async def _create(store: Store) -> None:
    try:
        await store.create(ProducerIdBlockZNode.path, b"", make_parents=True)
    except (NodeExists, ConnectionLost):
        return
