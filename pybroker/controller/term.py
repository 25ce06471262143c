"""What one controllership consists of. A new election makes a new term; the old one's events are dropped."""

from collections.abc import Awaitable, Callable, Iterable

from pybroker.controller.channels import Channels, ControlRequest, ControlResponse
from pybroker.controller.context import ControllerContext
from pybroker.controller.deletion import TopicDeletion
from pybroker.controller.events import EventQueue
from pybroker.controller.fencing import FencedStore
from pybroker.controller.partition_machine import PartitionMachine
from pybroker.controller.partition_store import PartitionStore
from pybroker.controller.replica_machine import ReplicaMachine
from pybroker.controller.requests import RequestBatch, Sender
from pybroker.metadata.store import Store, Watcher
from pybroker.model.ids import BrokerId, ControllerEpoch, TopicPartition
from pybroker.model.values import Value


class ControllerConfig(Value):
    """The broker's settings that its controller goes by, in Kafka's names where there is one."""

    broker_id: BrokerId
    inter_broker_listener: str = "PLAINTEXT"
    delete_topic_enable: bool = True
    unclean_leader_election_enable: Callable[[], bool] = lambda: False
    auto_leader_rebalance_enable: bool = True
    leader_imbalance_check_interval_seconds: int = 300
    leader_imbalance_per_broker_percentage: int = 10


class Term:
    """The state and the tools of the active controller, from its election to its resignation."""

    def __init__(
        self,
        config: ControllerConfig,
        store: Store,
        epoch: ControllerEpoch,
        epoch_version: int,
        channels: Channels,
        events: EventQueue,
    ) -> None:
        self.config = config
        self.store = store
        self.is_over = False
        self.channels = channels
        self.context = ControllerContext(epoch, epoch_version)
        self.fenced = FencedStore(store, epoch_version)
        self.partition_store = PartitionStore(store, self.fenced, epoch)
        self.batch = RequestBatch(self.context, Sender(config.broker_id, config.inter_broker_listener))
        self.replicas = ReplicaMachine(self.context, self.partition_store, self.batch, self.flush)
        self.partitions = PartitionMachine(
            self.context,
            store,
            self.partition_store,
            self.batch,
            self.flush,
            config.unclean_leader_election_enable,
        )
        self.deletion = TopicDeletion(
            self.context, store, self.fenced, self.partitions, self.replicas, self.batch, self.flush
        )
        self.on_response: Callable[[BrokerId, ControlRequest, ControlResponse], Awaitable[None]] | None = None
        self._events = events
        self._watchers: dict[object, Watcher] = {}

    def end(self) -> None:
        """Nothing of this term happens any more."""
        self.is_over = True
        self.channels.remove_all()

    def post(self, handler: Callable[[], Awaitable[None]], key: object | None = None) -> None:
        """Lets the event loop call a handler, unless the term is over by then.

        One with a key that waits already is not put twice. Keys of different terms are different: an old
        term's watch must not swallow the new one's.
        """

        async def call_unless_over() -> None:
            if not self.is_over:
                await handler()

        self._events.put(call_unless_over, None if key is None else (self, key))

    def watcher(self, handler: Callable[["Term"], Awaitable[None]]) -> Watcher:
        """A watcher that posts a handler; always the same one for the same handler."""
        watcher = self._watchers.get(handler)
        if watcher is None:

            def watcher(_: str) -> None:
                self.post(lambda: handler(self), handler)

            self._watchers[handler] = watcher
        return watcher

    def path_watcher(self, handler: Callable[["Term", str], Awaitable[None]]) -> Watcher:
        """A watcher that posts a handler with the last part of the path."""
        watcher = self._watchers.get(handler)
        if watcher is None:

            def watcher(path: str) -> None:
                name = path.rpartition("/")[2]
                self.post(lambda: handler(self, name), (handler, name))

            self._watchers[handler] = watcher
        return watcher

    def flush(self) -> None:
        """Sends what the batch has gathered."""
        for broker_id, request in self.batch.requests():
            self.channels.send(broker_id, request, self._answered)

    def tell(self, broker_ids: Iterable[BrokerId], partitions: Iterable[TopicPartition] = ()) -> None:
        """Sends UpdateMetadata with the live brokers and some partitions."""
        self.batch.add_metadata(list(broker_ids), partitions)
        self.flush()

    def _answered(self, broker_id: BrokerId, request: ControlRequest, response: ControlResponse) -> None:
        handler = self.on_response
        if handler is not None:
            self.post(lambda: handler(broker_id, request, response))
