"""Deletes topics: brokers first, then the store. A replica that is away parks its topic until it returns.

Source: Kafka 3.9 ``TopicDeletionManager``.
"""

import logging
from collections.abc import Callable, Iterable

from pybroker.controller.context import ControllerContext, Replica
from pybroker.controller.fencing import FencedStore
from pybroker.controller.partition_machine import PartitionMachine
from pybroker.controller.replica_machine import ReplicaMachine
from pybroker.controller.requests import RequestBatch
from pybroker.controller.states import ReplicaState
from pybroker.metadata.store import Delete, MultiFailed, NoNode, Store, StoreError
from pybroker.metadata.znodes import (
    ConfigEntityZNode,
    ConfigType,
    DeleteTopicsTopicZNode,
    TopicZNode,
)

log = logging.getLogger(__name__)

_NODES_PER_MULTI = 200


class TopicDeletion:
    """Drives topics that are queued for deletion; the event loop calls it."""

    def __init__(
        self,
        context: ControllerContext,
        store: Store,
        fenced: FencedStore,
        partitions: PartitionMachine,
        replicas: ReplicaMachine,
        batch: RequestBatch,
        flush: Callable[[], None],
    ) -> None:
        self._context = context
        self._store = store
        self._fenced = fenced
        self._partitions = partitions
        self._replicas = replicas
        self._batch = batch
        self._flush = flush

    async def enqueue(self, topics: Iterable[str]) -> None:
        """Begins to delete topics.

        Raises:
            ControllerMoved: somebody else is the controller.
        """
        self._context.to_delete.update(topics)
        await self.resume()

    def park(self, topics: Iterable[str], reason: str) -> None:
        """Topics that cannot be deleted now, because of offline replicas or a running reassignment."""
        parked = self._context.to_delete.intersection(topics)
        self._context.deletion_ineligible |= parked
        if parked:
            log.info("deletion of %s waits: %s", ", ".join(sorted(parked)), reason)

    async def unpark(self, topics: Iterable[str]) -> None:
        """What held some topics up may be over."""
        back = self._context.to_delete.intersection(topics)
        if back:
            self._context.deletion_ineligible -= back
            await self.resume()

    async def replicas_deleted(self, replicas: Iterable[Replica]) -> None:
        """Brokers say that they deleted replicas."""
        self._replicas.deletion_successful(
            r for r in replicas if r.partition.topic in self._context.to_delete
        )
        await self.resume()

    async def replicas_failed(self, replicas: Iterable[Replica]) -> None:
        """Brokers could not delete replicas, or are gone."""
        failed = [replica for replica in replicas if replica.partition.topic in self._context.to_delete]
        if failed:
            self._replicas.deletion_ineligible(failed)
            self.park({replica.partition.topic for replica in failed}, "replicas could not be deleted")
            await self.resume()

    async def resume(self) -> None:
        """Goes on with every queued topic as far as it can."""
        context = self._context
        retry: list[Replica] = []
        ready: list[str] = []
        for topic in sorted(context.to_delete):
            states = {context.replica_state(replica) for replica in context.replicas_of_topic(topic)}
            if states <= {ReplicaState.DELETION_SUCCESSFUL}:
                await self._complete(topic)
                continue
            if ReplicaState.DELETION_STARTED in states:
                continue
            retry.extend(context.replicas_in(topic, ReplicaState.DELETION_INELIGIBLE))
            if topic not in context.deletion_ineligible:
                ready.append(topic)
        if retry:
            await self._replicas.offline(retry)
        if ready:
            await self._begin(ready)

    async def _begin(self, topics: list[str]) -> None:
        context = self._context
        log.info("deleting %s", ", ".join(topics))
        fresh = [topic for topic in topics if topic not in context.deletion_started]
        fresh_partitions = [partition for topic in fresh for partition in context.partitions_of(topic)]
        self._partitions.offline(fresh_partitions)
        self._partitions.non_existent(fresh_partitions)
        context.deletion_started.update(fresh)
        self._batch.add_metadata(
            context.brokers, [partition for topic in topics for partition in context.partitions_of(topic)]
        )
        self._flush()
        await self._delete_replicas(topics)

    async def _delete_replicas(self, topics: list[str]) -> None:
        context = self._context
        dead: list[Replica] = []
        to_delete: list[Replica] = []
        for replica in (replica for topic in topics for replica in context.replicas_of_topic(topic)):
            if not context.is_online(replica.broker_id, replica.partition):
                dead.append(replica)
            elif context.replica_state(replica) is not ReplicaState.DELETION_SUCCESSFUL:
                to_delete.append(replica)
        self._replicas.deletion_ineligible(
            replica for replica in dead if context.replica_state(replica) is ReplicaState.OFFLINE
        )
        await self._replicas.offline(to_delete)
        self._replicas.deletion_started(to_delete)
        if dead:
            self.park({replica.partition.topic for replica in dead}, "replicas are offline")

    async def _complete(self, topic: str) -> None:
        context = self._context
        self._replicas.non_existent(context.replicas_in(topic, ReplicaState.DELETION_SUCCESSFUL))
        paths = [
            *await self._tree(TopicZNode.path(topic)),
            ConfigEntityZNode.path(ConfigType.TOPIC, topic),
            DeleteTopicsTopicZNode.path(topic),
        ]
        for start in range(0, len(paths), _NODES_PER_MULTI):
            await self._delete_nodes(paths[start : start + _NODES_PER_MULTI])
        context.remove_topic(topic)
        log.info("deleted topic %s", topic)

    async def _tree(self, path: str) -> list[str]:
        """A node and all below it, children before parents."""
        try:
            names = await self._store.children(path)
        except NoNode:
            return []
        below = [deeper for name in names for deeper in await self._tree(f"{path}/{name}")]
        return [*below, path]

    async def _delete_nodes(self, paths: list[str]) -> None:
        """Deletes nodes together; when some are gone already, one by one."""
        try:
            await self._fenced.multi([Delete(path) for path in paths])
        except MultiFailed as refused:
            if not isinstance(refused.error, NoNode):
                raise
        else:
            return
        for answer in await self._fenced.multi_all([[Delete(path)] for path in paths]):
            if isinstance(answer, StoreError) and not _is_gone(answer):
                raise answer


def _is_gone(answer: StoreError) -> bool:
    return isinstance(answer, MultiFailed) and isinstance(answer.error, NoNode)
