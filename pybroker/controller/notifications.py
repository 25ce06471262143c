"""Notes that brokers leave for the controller: changed ISRs (old brokers) and failed log directories."""

import logging
from collections.abc import Sequence

from pybroker.controller.context import Replica
from pybroker.controller.states import REPLICA_ENTERED_FROM, ReplicaState
from pybroker.controller.term import Term
from pybroker.metadata.store import Delete, MultiFailed, NoNode, Op
from pybroker.metadata.znodes import IsrChangeNotificationZNode, LogDirEventNotificationZNode, MalformedZnode
from pybroker.model.ids import TopicPartition

log = logging.getLogger(__name__)


async def discard_old(term: Term) -> None:
    """Deletes the notes an earlier controller left: failover reads everything anyway. Sets the watches."""
    await _delete(term, await _log_dir_notes(term))
    await _delete(term, await _isr_notes(term))


async def on_log_dir_event(term: Term) -> None:
    """A broker lost a log directory: asks it, by LeaderAndIsr, which of its replicas are offline now."""
    paths = await _log_dir_notes(term)
    broker_ids: set[int] = set()
    for path, node in zip(paths, await term.store.get_all(paths), strict=True):
        try:
            if node is not None:
                broker_ids.add(LogDirEventNotificationZNode.decode(node[0]))
        except MalformedZnode as error:
            log.error("%s is ignored: %s", path, error)
    log.info("log directories failed on brokers %s", sorted(broker_ids))
    await term.replicas.online(
        replica for replica in term.context.replicas_on(broker_ids) if _may_be_online(term, replica)
    )
    await _delete(term, paths)


async def on_isr_change(term: Term) -> None:
    """An old broker wrote an ISR itself: reads it again and tells everybody."""
    paths = await _isr_notes(term)
    partitions: dict[TopicPartition, None] = {}
    for path, node in zip(paths, await term.store.get_all(paths), strict=True):
        try:
            if node is not None:
                partitions.update(dict.fromkeys(IsrChangeNotificationZNode.decode(node[0])))
        except MalformedZnode as error:
            log.error("%s is ignored: %s", path, error)
    known = [partition for partition in partitions if term.context.replicas_of(partition)]
    term.context.leaderships.update(await term.partition_store.read(known))
    term.tell(term.context.brokers, known)
    await _delete(term, paths)


def _may_be_online(term: Term, replica: Replica) -> bool:
    return term.context.replica_state(replica) in REPLICA_ENTERED_FROM[ReplicaState.ONLINE]


async def _log_dir_notes(term: Term) -> list[str]:
    parent = LogDirEventNotificationZNode.path
    return [f"{parent}/{name}" for name in await term.store.children(parent, term.watcher(on_log_dir_event))]


async def _isr_notes(term: Term) -> list[str]:
    parent = IsrChangeNotificationZNode.path
    return [f"{parent}/{name}" for name in await term.store.children(parent, term.watcher(on_isr_change))]


async def _delete(term: Term, paths: Sequence[str]) -> None:
    deletions: list[list[Op]] = [[Delete(path)] for path in paths]
    for answer in await term.fenced.multi_all(deletions):
        if isinstance(answer, MultiFailed) and not isinstance(answer.error, NoNode):
            raise answer
