"""The composition root: builds every service of a broker, opens the nurseries, and takes them down again.

Start order: metadata store, cluster id, log directories, dynamic configuration, logs, sockets, registration,
controller; the port is served once the controller has told this broker of itself. The stop goes the other way
round, and ends with flushed logs and the clean-shutdown mark.
"""

import gc
import logging
import random
import signal
import socket
import time
import uuid
from collections.abc import Iterable, Mapping
from importlib import import_module
from pathlib import Path

import trio
from attrs import fields

from pybroker import __version__
from pybroker.config.alter import usable_updates
from pybroker.config.broker import BrokerConfig
from pybroker.config.topic import TopicConfig, topic_defaults, validate_topic_configs
from pybroker.config.values import InvalidConfig
from pybroker.controller.api import ControllerApi
from pybroker.controller.auto_creation import AutoTopicCreation
from pybroker.controller.configs_admin import ConfigsAdmin
from pybroker.controller.controller import Controller
from pybroker.controller.producer_id_blocks import allocate_block
from pybroker.controller.term import ControllerConfig
from pybroker.controller.topics_admin import TopicsAdmin
from pybroker.coordination.fetch_sessions import FetchSessionCache
from pybroker.coordination.old_offsets import OldOffsets
from pybroker.coordination.producer_ids import ProducerIds
from pybroker.coordination.runtime.groups import GroupCoordinator
from pybroker.handlers.late import LateHandler
from pybroker.handlers.local_channel import LocalChannel
from pybroker.handlers.registry import Services, build_registry
from pybroker.handlers.routes import Route
from pybroker.instruments.clock import Clock, TimerQueue
from pybroker.instruments.metrics import ServerMetrics
from pybroker.instruments.progress import ProgressLine
from pybroker.instruments.stalls import StallGauge
from pybroker.instruments.timer_task import run_timers
from pybroker.metadata import journal, registration
from pybroker.metadata.config_changes import ConfigChanges
from pybroker.metadata.embedded import EmbeddedStore
from pybroker.metadata.image import ClusterImage
from pybroker.metadata.publisher import Publisher
from pybroker.metadata.store import Store, StoreError
from pybroker.metadata.znodes import (
    DEFAULT_ENTITY,
    BrokerIdZNode,
    ConfigType,
    LogDirEventNotificationZNode,
)
from pybroker.model.endpoint import Endpoint
from pybroker.model.errors import ApiError, BrokerFailed, StartupError
from pybroker.model.ids import ZERO_TOPIC_ID, BrokerEpoch, BrokerId, TopicId, TopicPartition
from pybroker.model.topics import CONSUMER_OFFSETS
from pybroker.protocol.apis import api_by_key
from pybroker.protocol.codec import decoder, parts_encoder
from pybroker.replication.cleaner import LogCleaner
from pybroker.replication.maintenance import Maintenance
from pybroker.replication.partition import Partition, open_partition
from pybroker.replication.replicas import LeadershipChange, Replicas
from pybroker.replication.storage_errors import expected_code
from pybroker.replication.topic_settings import log_config, partition_settings
from pybroker.server.dispatch import Dispatcher
from pybroker.server.limits import ServerSettings
from pybroker.server.listener import CannotListen, Server
from pybroker.storage.context import StorageContext
from pybroker.storage.errors import LogDirUnusable
from pybroker.storage.files import Files, system_files
from pybroker.storage.handles import raise_descriptor_limit
from pybroker.storage.log_config import LogConfig
from pybroker.storage.log_manager import LoadProgress, LogManager

logger = logging.getLogger(__name__)

FETCH_SESSION_EVICTION_MS = 120_000
STOP_GRACE_S = 5.0


def serve(config: BrokerConfig) -> int:
    """Run one broker until SIGTERM or SIGINT. Returns the exit code.

    Nothing is collected until the broker is ready, and what exists then is never looked at again: a start
    makes a hundred thousand objects that stay, and hardly any garbage.

    Raises:
        StartupError: it cannot start; the message is one line for the user.
    """
    raise_descriptor_limit()
    gc.disable()
    gauge = StallGauge()
    failure: StartupError | None = None
    try:
        trio.run(_serve_until_signalled, config, gauge, instruments=[gauge])
    except* StartupError as group:
        failure = StartupError(_first_message(group))
    if failure is not None:
        raise failure
    logger.info("stopped")
    return 0


async def _serve_until_signalled(config: BrokerConfig, gauge: StallGauge) -> None:
    broker = Broker(config)
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async with trio.open_nursery() as nursery:
            await _start(nursery, broker)
            gauge.reset()
            async for number in signals:
                logger.info(
                    "stopping: %s; since it was ready %s", signal.Signals(number).name, _stalls(gauge)
                )
                break
            await broker.stop()
            nursery.cancel_scope.cancel()


def _stalls(gauge: StallGauge) -> str:
    return (
        f"the longest stretch on the loop was {gauge.worst_s * 1000:.1f} ms "
        f"({gauge.worst_cpu_s * 1000:.1f} ms of CPU) in {gauge.worst_task or 'no task'}, "
        f"the most CPU in one {gauge.most_cpu_s * 1000:.1f} ms in {gauge.most_cpu_task}, "
        f"and 99.9 % of {gauge.steps} were within {gauge.percentile_s() * 1000:.1f} ms"
    )


async def _start(nursery: trio.Nursery, broker: "Broker") -> None:
    started = time.perf_counter()
    await nursery.start(broker.run)
    gc.freeze()
    gc.enable()
    addresses = ", ".join(str(endpoint) for endpoint in broker.endpoints)
    logger.info(
        "pybroker %s: broker %d of cluster %s serves %s (ready after %.0f ms)",
        __version__,
        broker.broker_id,
        broker.image.cluster_id,
        addresses,
        (time.perf_counter() - started) * 1000,
    )


class Broker:
    """One broker, from its configuration to its end.

    :meth:`run` is its task. :meth:`stop` ends it in good order; cancelling ``run`` instead is a power cut:
    nothing is flushed, no mark is left, and its registration stands until its session expires.

    Args:
        config: what it was told.
        clock: broker time; the wall clock by default.
        store: an embedded store shared with other brokers of this process; by default it has its own.
        files: the filesystem under the logs; the operating system's by default.
    """

    def __init__(
        self,
        config: BrokerConfig,
        *,
        clock: Clock | None = None,
        store: EmbeddedStore | None = None,
        files: Files | None = None,
    ) -> None:
        self.config = config
        self.clock = clock or Clock()
        self.timers = TimerQueue()
        self.metrics = ServerMetrics()
        self.publisher = Publisher()
        self.broker_id: BrokerId = config.broker_id
        self.broker_epoch: BrokerEpoch = -1
        self._shared_store = store
        self._storage = StorageContext(
            now_ms=self.clock.now_ms,
            files=files or system_files(),
            on_failure=self._on_log_dir_failure,
            producer_id_expiration_ms=config.producer_id_expiration_ms,
        )
        self._logs = LogManager(config.log_dirs, self._storage, config_of=self._log_config_of)
        self._checkpointed_high_watermarks: dict[TopicPartition, int] = {}
        self._server: Server | None = None
        self._session: Store | None = None
        self._failure: str | None = None
        self._stopping = trio.Event()
        self._stopped = trio.Event()

    @property
    def image(self) -> ClusterImage:
        """The cluster as this broker knows it now."""
        return self.publisher.current

    @property
    def endpoints(self) -> tuple[Endpoint, ...]:
        """Where it listens, with the ports that were bound."""
        return self._server.endpoints if self._server is not None else ()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Starts, reports started when clients are served, and serves until :meth:`stop`.

        Raises:
            StartupError: a port, a directory or the metadata cannot be used.
            BrokerFailed: no log directory is left, or the one with the metadata is lost.
        """
        self._token = trio.lowlevel.current_trio_token()
        failure: StartupError | None = None
        try:
            self._logs.lock()
            try:
                await self._run_with_logs(task_status)
            finally:
                self._logs.release()
        except* BrokerFailed as group:
            failure = BrokerFailed(_first_message(group))
        except* _CANNOT_START as group:
            failure = failure or StartupError(_first_message(group))
        finally:
            self._stopped.set()
        if failure is not None:
            raise failure

    async def stop(self) -> None:
        """Lets requests in flight finish, closes the logs and marks the stop as clean."""
        self._stopping.set()
        await self._stopped.wait()

    # -- life ----------------------------------------------------------------------------------------

    async def _run_with_logs(self, task_status: trio.TaskStatus[None]) -> None:
        store = self._shared_store or self._open_store()
        session = store.session(self.config.zookeeper_session_timeout_ms)
        try:
            async with trio.open_nursery() as nursery:
                if self._shared_store is None:
                    nursery.start_soon(run_timers, self.clock, self.timers)
                    nursery.start_soon(store.run)
                services = await self._prepare(session)
                await self._go_online(nursery, session, services)
                task_status.started()
                await self._stopping.wait()
                await self._go_offline()
                if self._failure is not None:
                    raise BrokerFailed(self._failure)
                nursery.cancel_scope.cancel()
            await session.close()
        finally:
            session.abandon()
            if self._shared_store is None:
                await store.close()

    def _open_store(self) -> EmbeddedStore:
        self._check_log_dirs()
        first_dir = self._metadata_dir
        try:
            return EmbeddedStore.open(
                Path(first_dir) / journal.DIRECTORY, now_ms=self.clock.now_ms, timers=self.timers
            )
        except OSError as error:
            raise StartupError(f"the metadata in {first_dir} cannot be opened: {error}") from error

    async def _prepare(self, session: Store) -> Services:
        """Everything that needs neither a port nor the controller."""
        await registration.ensure_paths(session)
        cluster_id = await registration.cluster_id(session)
        self.publisher.apply_cluster_id(cluster_id)
        self.broker_id = self._choose_broker_id()
        self._logs.claim(self.broker_id, cluster_id)
        configs = ConfigChanges(session, self.publisher, self.clock.now_ms)
        await configs.start()
        self._obey_broker_configs()
        await self._load_logs()
        self._checkpointed_high_watermarks = self._logs.read_high_watermarks()
        return self._build_services(session, configs)

    def _choose_broker_id(self) -> BrokerId:
        """``broker.id``, else the id that the log directories have; a broker that never had one is 0."""
        if self.config.broker_id >= 0:
            return self.config.broker_id
        owner = self._logs.owner().broker_id
        return 0 if owner is None else owner

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
        self._check_log_dirs()

    def _build_services(self, session: Store, configs: ConfigChanges) -> Services:
        config = self.config
        replicas = Replicas(
            self.broker_id,
            self._open_partition,
            lambda partition: self._logs.delete_async(partition.tp),
            lambda: self.broker_epoch,
            self._on_leadership,
        )
        self._groups = GroupCoordinator(
            config,
            self.clock.now_ms,
            self.timers,
            partition_count=self._offsets_partitions,
            unique_text=lambda: str(uuid.uuid4()),
        )
        controller = Controller(
            ControllerConfig(
                broker_id=self.broker_id,
                inter_broker_listener=config.listeners.inter_broker,
                delete_topic_enable=config.delete_topic_enable,
                unclean_leader_election_enable=lambda: self.config.unclean_leader_election_enable,
                auto_leader_rebalance_enable=config.auto_leader_rebalance_enable,
                leader_imbalance_check_interval_seconds=config.leader_imbalance_check_interval_seconds,
                leader_imbalance_per_broker_percentage=config.leader_imbalance_per_broker_percentage,
            ),
            session,
            self._connect,
            now_ms=self.clock.now_ms,
            timers=self.timers,
            reregister=lambda: self._register(session),
        )
        topics = TopicsAdmin(
            session,
            self.publisher,
            num_partitions=lambda: self.config.num_partitions,
            replication_factor=lambda: self.config.default_replication_factor,
            validate_config=lambda _topic, values: _validate(values, self.config),
        )
        return Services(
            config=config,
            current_config=lambda: self.config,
            now_ms=self.clock.now_ms,
            publisher=self.publisher,
            configs=configs,
            logs=self._logs,
            replicas=replicas,
            groups=self._groups,
            old_offsets=OldOffsets(session),
            storage=self._storage,
            controller=controller,
            controller_api=ControllerApi(controller),
            topics=topics,
            configs_admin=ConfigsAdmin(
                session, self.publisher, self.broker_id, lambda: self.config, configs.read
            ),
            auto_creation=AutoTopicCreation(config, topics),
            fetch_sessions=FetchSessionCache(
                config.max_incremental_fetch_session_cache_slots, FETCH_SESSION_EVICTION_MS, random.randint
            ),
            producer_ids=ProducerIds(
                lambda: controller.submit(lambda term: allocate_block(term.store, self.broker_id))
            ),
        )

    async def _go_online(self, nursery: trio.Nursery, session: Store, services: Services) -> None:
        """Binds, registers, elects, and serves as soon as the controller has told us of ourselves."""
        routes = build_registry(services)
        self._routes = {route.key: route for route in routes}
        self._replicas = services.replicas
        self._nursery = nursery
        self._session = session
        self._controller_api = services.controller_api
        self.publisher.on_config_change(self._on_config_change)
        dispatcher = Dispatcher(
            routes, lambda: self.publisher.current, self.metrics, expected_error=expected_code
        )
        server = Server(self.config.listeners.bound, dispatcher, _server_settings(self.config), self.metrics)
        server.open()
        self._server = server
        try:
            await self._register(session)
            nursery.start_soon(services.configs.run)
            await nursery.start(services.groups.run)
            await nursery.start(services.controller.run)
            await self._until_known()
            await services.controller.told(self.broker_id)
        except BaseException:
            server.close()
            raise
        cleaner = LogCleaner(lambda: self.config, self._storage, self._logs, services.replicas)
        maintenance = Maintenance(
            self.config, self.clock, self.timers, self._storage, self._logs, services.replicas, cleaner
        )
        self._maintenance = maintenance
        nursery.start_soon(maintenance.run)
        await nursery.start(server.run)
        nursery.start_soon(warm_codecs, self._routes)

    async def _register(self, session: Store) -> None:
        assert self._server is not None
        hostname = await trio.to_thread.run_sync(socket.getfqdn)
        node = BrokerIdZNode(
            self.broker_id,
            self.config.listeners.resolve_advertised(self._server.ports, hostname),
            rack=self.config.broker_rack,
            timestamp_ms=self.clock.now_ms(),
        )
        self.broker_epoch = await registration.register(session, node)

    async def _until_known(self) -> None:
        """Waits until the image has this broker and a controller."""
        known = trio.Event()

        def look(_old: ClusterImage, new: ClusterImage) -> None:
            if self.broker_id in new.brokers and new.controller_id >= 0:
                known.set()

        look(self.image, self.image)
        forget = self.publisher.on_change(look)
        await known.wait()
        forget()

    async def _go_offline(self) -> None:
        assert self._server is not None
        self._groups.stop()
        self._replicas.stop()
        await self._server.stop(STOP_GRACE_S)
        await self._maintenance.cleaner.stop()
        self._logs.checkpoint_high_watermarks(self._maintenance.high_watermarks())
        await trio.to_thread.run_sync(lambda: self._logs.close(broker_epoch=self.broker_epoch))

    # -- failed disks ----------------------------------------------------------------------------------

    @property
    def _metadata_dir(self) -> str:
        """The log directory that holds the embedded store of a broker that has its own."""
        return next(iter(self._logs.dirs))

    def _check_log_dirs(self) -> None:
        """Raises:
        BrokerFailed: no log directory is left, or the one with the metadata is lost.
        """
        online = self._logs.online_dirs()
        failed = "; ".join(f"{path}: {error}" for path, error in self._logs.failures().items())
        if not online:
            raise BrokerFailed(f"all log directories have failed ({failed})")
        if self._shared_store is None and self._metadata_dir not in online:
            raise BrokerFailed(f"the log directory with the metadata has failed ({failed})")

    def _on_log_dir_failure(self, log_dir: str, _error: OSError) -> None:
        """Called amid a write, maybe in a thread: what follows from the failure has to wait for its turn."""
        self._token.run_sync_soon(self._log_dir_failed, log_dir)

    def _log_dir_failed(self, log_dir: str) -> None:
        if self._session is None or self._stopping.is_set():
            return
        partitions = self._replicas.log_dir_failed(log_dir)
        logger.error("%d partitions in %s are offline", len(partitions), log_dir)
        try:
            self._check_log_dirs()
        except BrokerFailed as failed:
            self._failure = str(failed)
            self._stopping.set()
            return
        self._nursery.start_soon(self._tell_of_failed_disk, self._session)

    async def _tell_of_failed_disk(self, session: Store) -> None:
        """Lets the controller ask which replicas are offline now."""
        note = LogDirEventNotificationZNode.encode(self.broker_id)
        try:
            await session.create(LogDirEventNotificationZNode.sequence_prefix, note, sequential=True)
        except StoreError as error:
            logger.error("the controller cannot be told of a failed log directory: %s", error)

    # -- what the services ask for ---------------------------------------------------------------------

    def _connect(self, broker: BrokerIdZNode) -> LocalChannel:
        return LocalChannel(self._routes, lambda: self.publisher.current, broker.broker_id)

    def _topic_config(self, topic: str) -> TopicConfig:
        overrides = self.image.config(ConfigType.TOPIC, topic)
        try:
            return TopicConfig.from_overrides(self.config, overrides)
        except InvalidConfig as error:
            logger.error("the configuration of topic %s is ignored: %s", topic, error)
            return TopicConfig.from_overrides(self.config, {})

    def _log_config_of(self, topic: str) -> LogConfig:
        return log_config(self._topic_config(topic))

    def _open_partition(self, tp: TopicPartition, topic_id: TopicId, is_new: bool) -> Partition:
        settings = partition_settings(tp, self._topic_config(tp.topic), self.config)
        known_id = topic_id if topic_id != ZERO_TOPIC_ID else None
        log = self._logs.create(tp, known_id, settings.log, is_new=is_new)
        checkpointed = self._checkpointed_high_watermarks.pop(tp, 0)
        return open_partition(tp, topic_id, self.broker_id, log, settings, checkpointed)

    def _on_leadership(self, change: LeadershipChange) -> None:
        logger.debug("%s: %s", change.partition.tp, "leading" if change.is_leader else "no longer leading")
        self._groups.on_leadership(change)

    def _offsets_partitions(self) -> int:
        """How many partitions the offsets topic has, or will have once it is created."""
        topic = self.image.topics.get(CONSUMER_OFFSETS)
        return self.config.offsets_topic_num_partitions if topic is None else len(topic.partitions)

    def _on_config_change(self, config_type: ConfigType, entity: str, _values: Mapping[str, str]) -> None:
        if config_type is ConfigType.TOPIC:
            self._update_settings(entity, [p for p in self._replicas if p.tp.topic == entity])
            if entity in self.image.topics and self._topic_config(entity).unclean_leader_election_enable:
                self._nursery.start_soon(self._elect_where_missing, entity)
        elif config_type is ConfigType.BROKER and entity in (DEFAULT_ENTITY, str(self.broker_id)):
            before = topic_defaults(self.config)
            was_unclean = self.config.unclean_leader_election_enable
            self._obey_broker_configs()
            if topic_defaults(self.config) != before:
                self._nursery.start_soon(self._update_all_settings)
            if self.config.unclean_leader_election_enable and not was_unclean:
                self._nursery.start_soon(self._elect_where_missing, None)

    async def _elect_where_missing(self, topic: str | None) -> None:
        """Unclean elections were allowed: the controller, if this broker is it, holds those that waited."""
        try:
            await self._controller_api.elect_where_missing(topic)
        except ApiError as error:
            logger.debug("no election here: %s", error)

    def _obey_broker_configs(self) -> None:
        """Lays what was set at run time, for all brokers and for this one, over what it was started with."""
        stored = self.image.config(ConfigType.BROKER, DEFAULT_ENTITY)
        stored_here = self.image.config(ConfigType.BROKER, str(self.broker_id))
        try:
            self.config = self.config.with_layers(
                dynamic_default=usable_updates(stored, for_this_broker=False),
                dynamic_broker=usable_updates(stored_here, for_this_broker=True),
            )
        except InvalidConfig as error:
            logger.error("the stored configuration of the broker is ignored: %s", error)
            return
        self._storage.producer_id_expiration_ms = self.config.producer_id_expiration_ms
        if self._server is not None:
            self._server.obey(_server_settings(self.config))

    async def _update_all_settings(self) -> None:
        """The broker's defaults have changed: lets every topic follow, a topic at a time."""
        by_topic: dict[str, list[Partition]] = {}
        for partition in self._replicas:
            by_topic.setdefault(partition.tp.topic, []).append(partition)
        for topic, partitions in by_topic.items():
            self._update_settings(topic, partitions)
            await trio.lowlevel.checkpoint()

    def _update_settings(self, topic: str, partitions: Iterable[Partition]) -> None:
        topic_config = self._topic_config(topic)
        for partition in partitions:
            partition.update_settings(partition_settings(partition.tp, topic_config, self.config))


_HOT = ((18, 3), (3, 12), (0, 9), (0, 10), (1, 11), (1, 16), (22, 4), (2, 7), (10, 4), (8, 9), (12, 4))
"""API keys and versions that today's clients begin with."""


_GENERATORS = ("primitives", "schema", "generate_decoder", "generate_encoder")


async def warm_codecs(routes: Mapping[int, Route]) -> None:
    """Makes the handlers and the codecs of the hottest messages after the port is open, one in a turn."""
    for module in _GENERATORS:
        import_module(f"pybroker.protocol.{module}")
        await trio.lowlevel.checkpoint()
    for key, version in _HOT:
        handler = routes[key].handler
        if isinstance(handler, LateHandler):
            handler.made()
            await trio.lowlevel.checkpoint()
        api = api_by_key[key]
        decoder(api.request, version)
        await trio.lowlevel.checkpoint()
        parts_encoder(api.response, version)
        await trio.lowlevel.checkpoint()


_CANNOT_START = (LogDirUnusable, CannotListen, StoreError, StartupError)


def _first_message(group: BaseExceptionGroup[Exception]) -> str:
    first: BaseException = group
    while isinstance(first, BaseExceptionGroup):
        first = first.exceptions[0]
    return str(first)


def _validate(values: Mapping[str, str], config: BrokerConfig) -> None:
    validate_topic_configs(values, config)


def _server_settings(config: BrokerConfig) -> ServerSettings:
    """The part of the configuration that the wire obeys; the names are the same.

    Kafka's default for the sockets' buffers is 100 KiB. The system's own, which grow as needed, let a fetch
    of 1 MiB go in a few calls, so those stand unless somebody asks for others.
    """
    names = {field.name for field in fields(ServerSettings)} - {"inter_broker_listener"}
    values = {name: getattr(config, name) for name in names}
    chosen = config.layers.merged()
    for key in ("socket.send.buffer.bytes", "socket.receive.buffer.bytes"):
        if key not in chosen:
            values[key.replace(".", "_")] = -1
    return ServerSettings(**values, inter_broker_listener=config.listeners.inter_broker)
