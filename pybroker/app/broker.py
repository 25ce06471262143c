"""One broker: builds every service, opens the nurseries, and takes them down again.

Start order: metadata store, cluster id, log directories, dynamic configuration, logs, sockets, registration,
controller; a single node serves its port once the controller has told it of itself, one of several before,
because its controller may be elsewhere. The stop goes the other way round, and ends with flushed logs and the
clean-shutdown mark.
"""

from __future__ import annotations

import logging
import random
import uuid
from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, TypeAlias

import trio

from pybroker.app.controlling import build_controller
from pybroker.app.current_config import ConfigFollower, CurrentConfig, obey_storage_settings, server_settings
from pybroker.app.features import features_of
from pybroker.app.log_dirs import LogDirWatch
from pybroker.app.metadata import choose_broker_id, metadata_session
from pybroker.app.registering import Registrar
from pybroker.app.replication import Replication
from pybroker.app.transactions import build_transactions
from pybroker.app.warming import warm
from pybroker.coordination.old_offsets import OldOffsets
from pybroker.coordination.producer_ids import ProducerIds, allocate_block
from pybroker.coordination.runtime.groups import GroupCoordinator
from pybroker.handlers.late import Late
from pybroker.handlers.local_channel import LocalClient
from pybroker.handlers.personas import persona_of
from pybroker.handlers.registry import Services, build_registry
from pybroker.instruments.clock import Clock, TimerQueue
from pybroker.instruments.metrics import ServerMetrics
from pybroker.instruments.progress import ProgressLine
from pybroker.instruments.seams import Around
from pybroker.instruments.timer_task import run_timers
from pybroker.metadata import registration
from pybroker.metadata.config_changes import ConfigChanges
from pybroker.metadata.feature_changes import FeatureChanges
from pybroker.metadata.publisher import Publisher
from pybroker.metadata.store import Store, StoreError
from pybroker.model.errors import BrokerFailed, StartupError
from pybroker.model.ids import ZERO_TOPIC_ID, BrokerEpoch, BrokerId, TopicId, TopicPartition
from pybroker.model.topics import CONSUMER_OFFSETS
from pybroker.replication.log_dir_moves import LogDirMoves
from pybroker.replication.maintenance import Maintenance
from pybroker.replication.replicas import LeadershipChange, Replicas
from pybroker.replication.storage_errors import expected_code
from pybroker.server.dispatch import Dispatcher
from pybroker.server.listener import CannotListen, Server
from pybroker.storage.context import StorageContext
from pybroker.storage.errors import LogDirUnusable
from pybroker.storage.files import Files, system_files
from pybroker.storage.log_manager import LogManager

if TYPE_CHECKING:  # app/warming.py says what is late
    from pybroker.config.broker import BrokerConfig
    from pybroker.controller.api import ControllerApi
    from pybroker.coordination.fetch_sessions import FetchSessionCache
    from pybroker.coordination.runtime.transactions import TransactionCoordinator
    from pybroker.metadata.embedded import EmbeddedStore
    from pybroker.metadata.image import ClusterImage
    from pybroker.model.endpoint import Endpoint
    from pybroker.replication.cleaner import LogCleaner
    from pybroker.replication.fetchers import Fetchers
    from pybroker.replication.partition import Partition
    from pybroker.storage.log_loading import LoadProgress

logger = logging.getLogger(__name__)

FETCH_SESSION_EVICTION_MS = 120_000
STOP_GRACE_S = 5.0

LOAD_GRACE_S = 5.0
"""How long clients are kept from a broker that still loads its groups and transactions. Many clients give up
at the first COORDINATOR_LOAD_IN_PROGRESS, while all of them connect again; but a large log takes its time."""

SeamMaker: TypeAlias = "Callable[[BrokerId, Callable[[], FetchSessionCache]], Around]"
"""Makes the seam of a broker's dispatch, once it knows its id."""


class Broker:
    """One broker, from its configuration to its end.

    :meth:`run` is its task. :meth:`stop` ends it in good order; cancelling ``run`` instead is a power cut:
    nothing is flushed, no mark is left, and its registration stands until its session expires.

    Args:
        config: what it was told.
        clock: broker time; the wall clock by default.
        timers: what waits for broker time. Whoever gives one has it run; by default it has its own.
        store: an embedded store shared with other brokers of this process; by default it has its own.
        files: the filesystem under the logs; the operating system's by default.
        seam: makes what stands around every handler; by default nothing does.
        stays: whether it lasts as long as its process. What it hosts is then kept from the garbage collector,
            which would never find a broker that is gone, since its parts refer to one another.
    """

    def __init__(
        self,
        config: BrokerConfig,
        *,
        clock: Clock | None = None,
        timers: TimerQueue | None = None,
        store: EmbeddedStore | None = None,
        files: Files | None = None,
        seam: SeamMaker | None = None,
        stays: bool = True,
    ) -> None:
        self.clock = clock or Clock()
        self._runs_timers = timers is None
        self.timers = timers if timers is not None else TimerQueue()
        self._seam = seam
        self._stays = stays
        self.metrics = ServerMetrics()
        self.publisher = Publisher()
        self.broker_id: BrokerId = config.broker_id
        self._shared_store = store
        self._configs = CurrentConfig(config, self.publisher)
        self._registrar = Registrar(lambda: self.config, self.publisher, self.clock)
        self._storage = StorageContext(
            now_ms=self.clock.now_ms,
            files=files or system_files(),
            on_failure=lambda log_dir, error: self._log_dirs.on_failure(log_dir, error),
            producer_id_expiration_ms=config.producer_id_expiration_ms,
        )
        self._logs = LogManager(config.log_dirs, self._storage, config_of=self._configs.log)
        holds_metadata = store is None and config.uses_embedded_metadata
        self._log_dirs = LogDirWatch(self._logs, holds_metadata=holds_metadata, fail=self._fail)
        self._checkpointed_high_watermarks: dict[TopicPartition, int] = {}
        self._server: Server | None = None
        self._failure: str | None = None
        self.session: Store | None = None
        self._stopping = trio.Event()
        self._stopped = trio.Event()

    @property
    def config(self) -> BrokerConfig:
        """What it was told, and over it what was set at run time."""
        return self._configs.broker

    @property
    def broker_epoch(self) -> BrokerEpoch:
        """Of its latest registration; -1 before the first."""
        return self._registrar.broker_epoch

    @property
    def image(self) -> ClusterImage:
        """The cluster as this broker knows it now."""
        return self.publisher.current

    @property
    def fetchers(self) -> Fetchers:
        """Who copies what is led elsewhere."""
        return self._replication.fetchers

    @property
    def endpoints(self) -> tuple[Endpoint, ...]:
        """Where it listens, with the ports that were bound."""
        return self._server.endpoints if self._server is not None else ()

    @property
    def groups(self) -> GroupCoordinator:
        """The groups that it coordinates; there once it serves."""
        return self._groups

    @property
    def transactions(self) -> TransactionCoordinator:
        """The transactional ids that it coordinates; there once it serves."""
        return self._transactions

    @property
    def controller_api(self) -> ControllerApi:
        """The controller, if this broker is it; there once it serves."""
        return self._controller_api

    @property
    def is_maintaining(self) -> bool:
        """Whether a job of the maintenance (retention, cleaning, flushing…) runs at this moment."""
        return bool(self._maintenance.at_work)

    def local_client(self) -> LocalClient:
        """For who wants to ask this broker's handlers without a connection, while it serves."""
        return LocalClient(self._routes, lambda: self.image, "local", self.config.listeners.inter_broker)

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Starts, reports started when clients are served, and serves until :meth:`stop`.

        Raises:
            StartupError: a port, a directory or the metadata cannot be used.
            BrokerFailed: no log directory is left, or the one with the metadata is lost.
        """
        failure: StartupError | None = None
        try:
            self._logs.lock()
            try:
                await self._run_with_logs(task_status)
            finally:
                self._logs.release()
        except* BrokerFailed as group:
            failure = BrokerFailed(first_message(group))
        except* _CANNOT_START as group:
            failure = failure or StartupError(first_message(group))
        finally:
            self._stopped.set()
        if failure is not None:
            raise failure

    async def coordinators_loaded(self) -> None:
        """Waits until the groups and transactions of all partitions led by now are known."""
        await self._groups.loaded()
        await self._transactions.loaded()

    async def stop(self) -> None:
        """Lets requests in flight finish, closes the logs and marks the stop as clean."""
        self._stopping.set()
        await self._stopped.wait()

    def _fail(self, reason: str) -> None:
        self._failure = reason
        self._stopping.set()

    # -- life ----------------------------------------------------------------------------------------

    async def _run_with_logs(self, task_status: trio.TaskStatus[None]) -> None:
        self._log_dirs.check()
        async with metadata_session(
            self.config,
            shared=self._shared_store,
            own_dir=self._log_dirs.metadata_dir,
            now_ms=self.clock.now_ms,
            timers=self.timers,
        ) as session:
            self.session = session
            async with trio.open_nursery() as nursery:
                if self._runs_timers:
                    nursery.start_soon(run_timers, self.clock, self.timers)
                services = await self._prepare(session)
                await self._go_online(nursery, session, services)
                task_status.started()
                await self._stopping.wait()
                await self._go_offline()
                if self._failure is not None:
                    raise BrokerFailed(self._failure)
                nursery.cancel_scope.cancel()
            await session.close()

    async def _prepare(self, session: Store) -> Services:
        """Everything that needs neither a port nor the controller."""
        await registration.ensure_paths(session)
        cluster_id = await registration.cluster_id(session, self.config.pybroker_cluster_id)
        self.publisher.apply_cluster_id(cluster_id)
        self.broker_id = await choose_broker_id(self.config, self._logs, session)
        self._logs.claim(self.broker_id, cluster_id)
        configs = ConfigChanges(session, self.publisher, self.clock.now_ms)
        await configs.start()
        self._configs.obey(self.broker_id)
        obey_storage_settings(self._storage, self.config)
        await self._load_logs()
        self._checkpointed_high_watermarks = self._logs.read_high_watermarks()
        return self._build_services(session, configs)

    async def _load_logs(self) -> None:
        recovering, loading = (ProgressLine(label, "partitions") for label in ("recovering", "loading"))

        def report(progress: LoadProgress) -> None:
            line = recovering if progress.recovering else loading
            line.update(progress.partitions_done, progress.partitions_total, progress.log_dir)

        await trio.to_thread.run_sync(
            lambda: self._logs.recover_in_workers(
                report, workers=self.config.num_recovery_threads_per_data_dir
            )
        )
        for _ in self._logs.load_steps(report):
            await trio.lowlevel.checkpoint()
        recovering.finish()
        loading.finish()
        self._log_dirs.check()

    def _build_services(self, session: Store, configs: ConfigChanges) -> Services:
        config = self.config
        self._replication = Replication(
            self.broker_id,
            lambda: self.config,
            self.publisher,
            lambda: self.broker_epoch,
            self.clock,
            self.timers,
            lambda: self._routes,
        )
        replicas = Replicas(
            self.broker_id,
            self._open_partition,
            lambda partition: self._logs.delete_async(partition.tp),
            lambda: self.broker_epoch,
            self._on_leadership,
            self._replication.fetchers,
            stays=self._stays,
        )
        self._moves = LogDirMoves(
            lambda: self.config, self.clock, self.timers, self._storage, self._logs, replicas
        )
        self._groups = GroupCoordinator(
            config,
            self.clock.now_ms,
            self.timers,
            partition_count=self._offsets_partitions,
            unique_text=lambda: str(uuid.uuid4()),
            image=lambda: self.image,
        )
        control = build_controller(
            self.broker_id,
            lambda: self.config,
            session,
            self.publisher,
            configs,
            self.clock,
            self.timers,
            lambda: self._routes,
            reregister=lambda: self._register_again(session),
        )
        producer_ids = ProducerIds(
            lambda: allocate_block(self._replication.controller, self.broker_id, self.broker_epoch)
        )
        transactions = build_transactions(
            self.broker_id,
            lambda: self.config,
            lambda: self.image,
            replicas,
            self._groups,
            producer_ids,
            self._replication.transaction_peers,
            self.clock.now_ms,
            self.timers,
        )
        self._transactions = transactions.coordinator
        return Services(
            broker_id=self.broker_id,
            config=config,
            current_config=lambda: self.config,
            now_ms=self.clock.now_ms,
            publisher=self.publisher,
            configs=configs,
            logs=self._logs,
            replicas=replicas,
            moves=self._moves,
            groups=self._groups,
            offsets_partitions=self._offsets_partitions,
            transactions=transactions.coordinator,
            verifier=transactions.verifier,
            markers=transactions.markers,
            features=lambda: features_of(config, self.image),
            persona=persona_of(config.pybroker_persona, config.pybroker_api_versions),
            old_offsets=OldOffsets(session),
            controller=control.controller,
            controller_api=control.api,
            topics=control.topics,
            configs_admin=control.configs,
            auto_creation=control.auto_creation,
            fetch_sessions=Late(lambda: _fetch_sessions(config)),
            producer_ids=producer_ids,
            leader_throttle=self._replication.leader_throttle,
        )

    async def _go_online(self, nursery: trio.Nursery, session: Store, services: Services) -> None:
        """Binds, registers, elects, and serves as soon as the controller has told us of ourselves."""
        routes = build_registry(services)
        self._routes = {route.key: route for route in routes}
        self.replicas = services.replicas
        self._controller_api = services.controller_api
        dispatcher = Dispatcher(
            services.persona.served(routes),
            lambda: self.publisher.current,
            self.metrics,
            expected_error=expected_code,
            around=self._seam(self.broker_id, services.fetch_sessions.made)
            if self._seam is not None
            else None,
        )
        server = Server(self.config.listeners.bound, dispatcher, server_settings(self.config), self.metrics)
        server.open()
        self._server = server
        self._log_dirs.begin(self.broker_id, session, services.replicas, nursery.start_soon)
        follower = ConfigFollower(
            self._configs,
            self.broker_id,
            self._storage,
            server,
            services.replicas,
            self.publisher,
            services.controller_api,
            nursery.start_soon,
        )
        self.publisher.on_config_change(follower.on_change)
        try:
            await self._register(session)
            nursery.start_soon(services.configs.run)
            nursery.start_soon(self._replication.run, services.replicas)
            features = FeatureChanges(session, self.publisher)
            await features.start()
            nursery.start_soon(features.run)
            await nursery.start(services.groups.run)
            await nursery.start(services.transactions.run)
            await nursery.start(services.controller.run)
            if services.controller.is_active:
                await self._registrar.until_known(self.broker_id)
                await services.controller.told(self.broker_id)
                with trio.move_on_after(LOAD_GRACE_S):
                    await self.coordinators_loaded()
        except BaseException:
            server.close()
            raise
        maintenance = Maintenance(
            self.config, self.clock, self.timers, self._storage, self._logs, services.replicas, self._cleaner
        )
        self._maintenance = maintenance
        nursery.start_soon(maintenance.run)
        nursery.start_soon(self._moves.run)
        await nursery.start(server.run)
        # Another broker that is the controller can tell us of ourselves only over this port.
        await self._registrar.until_known(self.broker_id)
        nursery.start_soon(warm, self._routes)

    async def _register(self, session: Store) -> None:
        assert self._server is not None
        await self._registrar.register(session, self.broker_id, self._server.ports)

    async def _register_again(self, session: Store) -> None:
        """The session was lost. Whoever has our id now is a broker that must not be there: one of us goes."""
        try:
            await self._register(session)
        except registration.RegistrationConflict as conflict:
            self._fail(str(conflict))

    async def _go_offline(self) -> None:
        assert self._server is not None
        await self._replication.hand_over()
        self._log_dirs.end()
        self._groups.stop()
        self._transactions.stop()
        self.replicas.stop()
        await self._server.stop(STOP_GRACE_S)
        await self._cleaner().stop()
        await self._moves.stop()
        self._logs.checkpoint_high_watermarks(self._maintenance.high_watermarks())
        await trio.to_thread.run_sync(lambda: self._logs.close(broker_epoch=self.broker_epoch))

    # -- what the services ask for ---------------------------------------------------------------------

    def _open_partition(self, tp: TopicPartition, topic_id: TopicId, is_new: bool) -> Partition:
        from pybroker.replication.partition import open_partition

        settings = self._configs.partition(tp)
        known_id = topic_id if topic_id != ZERO_TOPIC_ID else None
        log = self._logs.create(tp, known_id, settings.log, is_new=is_new)
        checkpointed = self._checkpointed_high_watermarks.pop(tp, 0)
        surroundings = self._replication.surroundings()
        return open_partition(tp, topic_id, self.broker_id, log, settings, checkpointed, surroundings)

    def _on_leadership(self, change: LeadershipChange) -> None:
        logger.debug("%s: %s", change.partition.tp, "leading" if change.is_leader else "no longer leading")
        self._groups.on_leadership(change)
        self._transactions.on_leadership(change)
        self._moves.resume(change.partition)

    @cache  # noqa: B019  (a broker is for once)
    def _cleaner(self) -> LogCleaner:
        from pybroker.replication.cleaner import LogCleaner

        return LogCleaner(lambda: self.config, self._storage, self._logs, self.replicas)

    def _offsets_partitions(self) -> int:
        """How many partitions the offsets topic has, or will have once it is created."""
        topic = self.image.topics.get(CONSUMER_OFFSETS)
        return self.config.offsets_topic_num_partitions if topic is None else len(topic.partitions)


def _fetch_sessions(config: BrokerConfig) -> FetchSessionCache:
    from pybroker.coordination.fetch_sessions import FetchSessionCache

    slots = config.max_incremental_fetch_session_cache_slots
    return FetchSessionCache(slots, FETCH_SESSION_EVICTION_MS, random.randint)


_CANNOT_START = (LogDirUnusable, CannotListen, StoreError, StartupError)


def first_message(group: BaseExceptionGroup[Exception]) -> str:
    """What the first of the failures says."""
    first: BaseException = group
    while isinstance(first, BaseExceptionGroup):
        first = first.exceptions[0]
    return str(first)
