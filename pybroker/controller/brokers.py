"""What the controller does when brokers come, go, or come back as another incarnation."""

import logging
from collections.abc import Iterable, Mapping, Sequence

from pybroker.controller import reassignment
from pybroker.controller.context import Replica
from pybroker.controller.term import Term
from pybroker.metadata.store import NoNode
from pybroker.metadata.znodes import BrokerIdsZNode, BrokerIdZNode, MalformedZnode
from pybroker.model.ids import BrokerEpoch, BrokerId

log = logging.getLogger(__name__)


async def load(term: Term) -> None:
    """Reads all live brokers at failover and begins to talk to them."""
    for broker, epoch in await _read(term):
        term.context.set_broker(broker, epoch)
        term.channels.add(broker)


async def on_change(term: Term) -> None:
    """/brokers/ids changed: finds out who is new, dead, or bounced (same id, greater epoch)."""
    context = term.context
    current = {broker.broker_id: (broker, epoch) for broker, epoch in await _read(term)}
    fresh = [broker_id for broker_id in current if broker_id not in context.brokers]
    dead = [broker_id for broker_id in context.brokers if broker_id not in current]
    bounced = [
        broker_id
        for broker_id, (_, epoch) in current.items()
        if broker_id in context.brokers and epoch > context.broker_epochs[broker_id]
    ]
    if fresh or dead or bounced:
        log.info("brokers: new %s, dead %s, bounced %s, live %s", fresh, dead, bounced, sorted(current))
    for broker_id in (*bounced, *dead):
        term.channels.remove(broker_id)
    for broker_id in (*fresh, *bounced):
        term.channels.add(current[broker_id][0])
    for broker_id in fresh:
        context.set_broker(*current[broker_id])
    if fresh:
        await _on_startup(term, fresh)
    for broker_id in bounced:
        context.remove_broker(broker_id)
    if bounced:
        await _on_failure(term, bounced)
        for broker_id in bounced:
            context.set_broker(*current[broker_id])
        await _on_startup(term, bounced)
    for broker_id in dead:
        context.remove_broker(broker_id)
    if dead:
        await _on_failure(term, dead)


async def on_data_change(term: Term, name: str) -> None:
    """A broker said something new of itself, for example other listeners."""
    broker_id = int(name)
    known = term.context.brokers.get(broker_id)
    path = BrokerIdZNode.path(broker_id)
    try:
        data, _ = await term.store.get(path, term.path_watcher(on_data_change))
        broker = BrokerIdZNode.decode(broker_id, data)
    except NoNode:
        return
    except MalformedZnode as error:
        log.error("broker %d is ignored: %s", broker_id, error)
        return
    if known is not None and known.endpoints != broker.endpoints:
        term.context.brokers[broker_id] = broker
        term.tell(term.context.brokers)


async def replicas_went_offline(term: Term, replicas: Sequence[Replica]) -> None:
    """Replicas whose broker or disk is gone: new leaders for what they led, and out of the ISR.

    Raises:
        ControllerMoved: somebody else is the controller.
    """
    context = term.context
    in_deletion = [replica for replica in replicas if replica.partition.topic in context.to_delete]
    others = [replica for replica in replicas if replica.partition.topic not in context.to_delete]
    term.partitions.offline(context.partitions_with_offline_leader())
    outcomes = await term.partitions.elect_where_missing()
    await term.replicas.offline(others)
    if in_deletion:
        await term.deletion.replicas_failed(in_deletion)
    if not others and all(outcome.state is None for outcome in outcomes.values()):
        term.tell(context.brokers)


async def _read(term: Term) -> list[tuple[BrokerIdZNode, BrokerEpoch]]:
    watch = term.path_watcher(on_data_change)
    ids = sorted(
        int(name) for name in await term.store.children(BrokerIdsZNode.path, term.watcher(on_change))
    )
    found: list[tuple[BrokerIdZNode, BrokerEpoch]] = []
    nodes = await term.store.get_all([BrokerIdZNode.path(broker_id) for broker_id in ids], watch)
    for broker_id, node in zip(ids, nodes, strict=True):
        if node is None:
            continue
        try:
            broker = BrokerIdZNode.decode(broker_id, node[0])
        except MalformedZnode as error:
            log.error("broker %d is ignored: %s", broker_id, error)
            continue
        if broker_id in term.context.brokers or _supports(broker, term.context.finalized_features):
            found.append((broker, node[1].czxid))
        else:
            log.error("broker %d is ignored: it does not support the finalized features", broker_id)
    return found


def _supports(broker: BrokerIdZNode, finalized: Mapping[str, int]) -> bool:
    """Whether a broker can work at every finalized level (KIP-584)."""
    supported = broker.features
    return all(
        name in supported and supported[name].min_version <= level <= supported[name].max_version
        for name, level in finalized.items()
    )


async def _on_startup(term: Term, fresh: Sequence[BrokerId]) -> None:
    context = term.context
    for broker_id in fresh:
        context.offline_dirs.pop(broker_id, None)
    term.tell(context.brokers.keys() - set(fresh))
    term.tell(fresh, context.partitions_with_leader())
    replicas = context.replicas_on(fresh)
    await term.replicas.online(replicas)
    await term.partitions.elect_where_missing()
    await reassignment.resume_on(term, fresh)
    await term.deletion.unpark({replica.partition.topic for replica in replicas})


async def _on_failure(term: Term, dead: Iterable[BrokerId]) -> None:
    context = term.context
    for broker_id in dead:
        context.offline_dirs.pop(broker_id, None)
        context.shutting_down.discard(broker_id)
    await replicas_went_offline(term, context.replicas_on(dead))
