"""Brokers without disks or sockets: each has a session, a controller, an image, and remembers its orders."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import trio
from msgspec import field

from pybroker.controller.api import ControllerApi
from pybroker.controller.channels import ChannelBroken, ControlRequest, ControlResponse
from pybroker.controller.controller import Controller
from pybroker.controller.term import ControllerConfig
from pybroker.controller.topic_creation import NewTopic, Result
from pybroker.controller.topics_admin import TopicsAdmin
from pybroker.metadata.embedded import EmbeddedSession, EmbeddedStore
from pybroker.metadata.publisher import Publisher
from pybroker.metadata.registration import ensure_paths, register
from pybroker.metadata.znodes import BrokerIdZNode, PartitionStateZNode
from pybroker.model.endpoint import Endpoint
from pybroker.model.errors import ErrorCode
from pybroker.model.ids import TopicPartition
from pybroker.model.values import State
from pybroker.protocol import codec
from pybroker.protocol.messages import (
    LeaderAndIsrRequest,
    LeaderAndIsrResponse,
    StopReplicaRequest,
    StopReplicaResponse,
    UpdateMetadataRequest,
    UpdateMetadataResponse,
)
from tests.metadata.stores import ManualClock, settle

VERSIONS = {LeaderAndIsrRequest: 7, UpdateMetadataRequest: 8, StopReplicaRequest: 4}


def through_the_wire(message, version):
    """The message as it arrives at another broker."""
    return codec.decode_exactly(type(message), version, codec.encode(message, version))


class FakeBroker(State, eq=False):
    """Does what it is told, and checks who tells it."""

    cluster: "FakeCluster"
    broker_id: int
    rack: str | None = None
    session: EmbeddedSession = None  # made below
    publisher: Publisher = field(default_factory=Publisher)
    controller: Controller = None  # made below
    api: ControllerApi = None  # made below
    admin: TopicsAdmin = None  # made below
    epoch: int = -1
    controller_epoch: int = 0
    is_up: bool = True
    replicas: dict[TopicPartition, LeaderAndIsrRequest.LeaderAndIsrPartitionState] = field(
        default_factory=dict
    )
    deleted: list[TopicPartition] = field(default_factory=list)
    failed_disks: set[TopicPartition] = field(default_factory=set)
    orders: list[ControlRequest] = field(default_factory=list)
    refused: list[ControlRequest] = field(default_factory=list)
    scope: trio.CancelScope = field(default_factory=trio.CancelScope)

    @property
    def node(self) -> BrokerIdZNode:
        endpoint = Endpoint("PLAINTEXT", "localhost", 9000 + self.broker_id)
        return BrokerIdZNode(self.broker_id, (endpoint,), rack=self.rack)

    async def start(self) -> None:
        cluster = self.cluster
        self.session = cluster.store.session(timeout_ms=6_000)
        self.is_up = True
        self.scope = trio.CancelScope()
        self.publisher = Publisher()
        await self._register()
        self.controller = Controller(
            ControllerConfig(self.broker_id, unclean_leader_election_enable=lambda: cluster.unclean),
            self.session,
            cluster.connect,
            now_ms=cluster.clock.now_ms,
            reregister=self._register,
        )
        self.api = ControllerApi(self.controller)
        self.admin = TopicsAdmin(
            self.session,
            self.publisher,
            num_partitions=lambda: 1,
            replication_factor=lambda: 1,
            validate_config=lambda topic, values: None,
            random_below=lambda n: 0,
        )
        await cluster.nursery.start(self._run)

    async def kill(self) -> None:
        """kill -9, with the session expired."""
        self.is_up = False
        self.scope.cancel()
        self.session.abandon()
        await self.cluster.store.expire_session(self.session.session_id)

    async def restart_at_once(self) -> None:
        """Comes back before anybody noticed: only the epoch tells."""
        self.is_up = False
        self.scope.cancel()
        await self.session.close()
        self.controller_epoch = 0
        self.replicas.clear()
        await self.start()

    def leads(self) -> set[str]:
        return {str(p) for p, state in self.replicas.items() if state.leader == self.broker_id}

    def handle(self, request: ControlRequest) -> ControlResponse:
        if request.broker_epoch < self.epoch:
            self.refused.append(request)
            return self._refusal(request, ErrorCode.STALE_BROKER_EPOCH)
        if request.controller_epoch < self.controller_epoch:
            self.refused.append(request)
            return self._refusal(request, ErrorCode.STALE_CONTROLLER_EPOCH)
        self.controller_epoch = request.controller_epoch
        self.orders.append(request)
        match request:
            case LeaderAndIsrRequest():
                return self._lead_or_follow(request)
            case StopReplicaRequest():
                return self._stop(request)
            case _:
                self.publisher.apply_update_metadata(request)
                return UpdateMetadataResponse()

    async def _register(self) -> None:
        self.epoch = await register(self.session, self.node)

    async def _run(self, *, task_status=trio.TASK_STATUS_IGNORED) -> None:
        with self.scope:
            await self.controller.run(task_status=task_status)

    def _refusal(self, request: ControlRequest, code: ErrorCode) -> ControlResponse:
        responses = {
            LeaderAndIsrRequest: LeaderAndIsrResponse,
            StopReplicaRequest: StopReplicaResponse,
            UpdateMetadataRequest: UpdateMetadataResponse,
        }
        return responses[type(request)](error_code=code)

    def _lead_or_follow(self, request: LeaderAndIsrRequest) -> LeaderAndIsrResponse:
        response = LeaderAndIsrResponse()
        for topic in request.topic_states:
            errors = []
            for state in topic.partition_states:
                partition = TopicPartition(topic.topic_name, state.partition_index)
                code = ErrorCode.NONE
                if partition in self.failed_disks:
                    code = ErrorCode.KAFKA_STORAGE_ERROR
                elif (
                    partition not in self.replicas
                    or state.leader_epoch > self.replicas[partition].leader_epoch
                ):
                    self.replicas[partition] = state
                errors.append(
                    LeaderAndIsrResponse.LeaderAndIsrPartitionError(
                        partition_index=state.partition_index, error_code=code
                    )
                )
            response.topics.append(
                LeaderAndIsrResponse.LeaderAndIsrTopicError(topic_id=topic.topic_id, partition_errors=errors)
            )
        return through_the_wire(response, 7)

    def _stop(self, request: StopReplicaRequest) -> StopReplicaResponse:
        response = StopReplicaResponse()
        for topic in request.topic_states:
            for state in topic.partition_states:
                partition = TopicPartition(topic.topic_name, state.partition_index)
                if state.delete_partition:
                    self.replicas.pop(partition, None)
                    self.deleted.append(partition)
                response.partition_errors.append(
                    StopReplicaResponse.StopReplicaPartitionError(
                        topic_name=topic.topic_name, partition_index=state.partition_index, error_code=0
                    )
                )
        return through_the_wire(response, 4)


class FakeChannel:
    """Reaches a broker as long as it is up and the link to it is not cut."""

    def __init__(self, cluster: "FakeCluster", broker_id: int) -> None:
        self.cluster = cluster
        self.broker_id = broker_id

    async def send(self, request: ControlRequest) -> ControlResponse:
        await trio.lowlevel.checkpoint()
        broker = self.cluster.brokers[self.broker_id]
        if not broker.is_up or self.broker_id in self.cluster.cut:
            raise ChannelBroken("no answer")
        return broker.handle(through_the_wire(request, VERSIONS[type(request)]))

    async def aclose(self) -> None:
        await trio.lowlevel.checkpoint()


class FakeCluster(State, eq=False):
    """Some brokers on one embedded store."""

    store: EmbeddedStore
    nursery: trio.Nursery
    clock: ManualClock
    brokers: dict[int, FakeBroker] = field(default_factory=dict)
    cut: set[int] = field(default_factory=set)
    unclean: bool = False

    def connect(self, broker: BrokerIdZNode) -> FakeChannel:
        return FakeChannel(self, broker.broker_id)

    @property
    def controller(self) -> Controller:
        (active,) = [b.controller for b in self.brokers.values() if b.is_up and b.controller.is_active]
        return active

    @property
    def api(self) -> ControllerApi:
        return next(b.api for b in self.brokers.values() if b.controller is self.controller)

    def broker(self, broker_id: int) -> FakeBroker:
        return self.brokers[broker_id]

    async def add(self, broker_id: int, rack: str | None = None) -> FakeBroker:
        broker = FakeBroker(self, broker_id, rack)
        self.brokers[broker_id] = broker
        await broker.start()
        return broker

    async def settle(self) -> None:
        """Waits until nobody has anything left to do."""
        await settle(self.store)

    async def until(self, holds: Callable[[], bool]) -> None:
        """Waits for something that takes real time, like the next try of a channel."""
        with trio.fail_after(10):
            while not holds():
                await trio.sleep(0.005)
        await self.settle()


@asynccontextmanager
async def fake_cluster(directory, count: int = 3, racks=None) -> AsyncIterator[FakeCluster]:
    clock = ManualClock()
    store = EmbeddedStore.open(directory / "metadata", now_ms=clock.now_ms)
    async with trio.open_nursery() as nursery:
        cluster = FakeCluster(store, nursery, clock)
        setup = store.session()
        await ensure_paths(setup)
        for broker_id in range(1, count + 1):
            await cluster.add(broker_id, racks and racks[broker_id - 1])
        await cluster.settle()
        yield cluster
        nursery.cancel_scope.cancel()
    await store.close()


async def create(cluster: FakeCluster, name: str, assignments, configs=()) -> Result:
    """Creates a topic through the first broker that is up."""
    admin = next(broker.admin for broker in cluster.brokers.values() if broker.is_up)
    topic = NewTopic(name, assignments=dict(enumerate(assignments)), configs=configs)
    return (await admin.create_topics([topic], 5_000))[name]


async def state_of(cluster: FakeCluster, topic: str, partition: int = 0) -> PartitionStateZNode:
    """The state of a partition as the store has it."""
    tp = TopicPartition(topic, partition)
    session = cluster.store.session()
    node = PartitionStateZNode.decode(tp, *await session.get(PartitionStateZNode.path(tp)))
    await session.close()
    return node
