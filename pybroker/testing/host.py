"""Brokers of one process, as a test wants them: started, reset, killed, paused and restarted at will.

The brokers share an embedded store, one clock and one timer queue, the fault rules and the journal. A
*generation* is everything from a start or reset to the next reset: stores, brokers, files. Only the trio
thread of :meth:`Host.run` uses these classes.
"""

import logging
import shutil
import tempfile
from collections import deque
from collections.abc import Callable, Mapping
from enum import Enum
from pathlib import Path

import trio
import trio.testing
from msgspec import field

from pybroker.app.broker import Broker
from pybroker.config.broker import BrokerConfig
from pybroker.control.operations import NoSuchThing
from pybroker.coordination.fetch_sessions import FetchSessionCache
from pybroker.instruments.clock import BorrowedTimers, Clock, TimerQueue
from pybroker.instruments.faults import Faults
from pybroker.instruments.journal import Journal
from pybroker.instruments.seams import Answer, Around, chain
from pybroker.instruments.timer_task import run_timers
from pybroker.metadata import journal as store_files
from pybroker.metadata.embedded import EmbeddedSession, EmbeddedStore
from pybroker.metadata.store import SetData
from pybroker.metadata.znodes import BrokerIdZNode, ClusterIdZNode, ProducerIdBlockZNode
from pybroker.model.ids import BrokerId
from pybroker.model.values import Value
from pybroker.testing.disks import TroubledFiles
from pybroker.testing.ports import PortLease
from pybroker.testing.prompt import prompt

logger = logging.getLogger(__name__)

TEST_PROFILE: Mapping[str, str] = {
    "offsets.topic.num.partitions": "1",
    "transaction.state.log.num.partitions": "1",
    "group.initial.rebalance.delay.ms": "0",
    "log.cleaner.backoff.ms": "1000",
}
"""What differs from Kafka's defaults, so that tests need not wait. Replication factors follow the brokers."""


class HostSettings(Value, kw_only=True):
    """How a cluster of brokers in one process is set up.

    Attributes:
        brokers: how many; their ids begin with ``first_id``.
        ports: of the brokers in their order; 0, or none given, takes a free one, and another after a reset.
        host: the address they listen on and advertise.
        racks: of the brokers in their order.
        properties: Kafka's keys for all of them, over the test profile.
        log_dirs: how many log directories each has.
        folder: where their data goes; by default a temporary folder that goes with the host.
        snapshot: a folder in Kafka's format to begin with, at the start and after each reset.
    """

    brokers: int = 1
    first_id: BrokerId = 0
    ports: tuple[int, ...] = ()
    host: str = "127.0.0.1"
    racks: tuple[str, ...] = ()
    properties: Mapping[str, str] = field(default_factory=dict)
    log_dirs: int = 1
    folder: Path | None = None
    snapshot: Path | None = None

    @property
    def ids(self) -> range:
        return range(self.first_id, self.first_id + self.brokers)


KEPT = (ClusterIdZNode.path, ProducerIdBlockZNode.path)
"""What of the metadata outlives a reset: the cluster stays itself, and no producer id comes again."""

OLD_PORTS_KEPT = 200
"""Ports of brokers before their reset that nobody else on this machine gets meanwhile."""


class State(Enum):
    """What a test has done with a broker."""

    RUNNING = "running"
    PAUSED = "paused"
    STOPPED = "stopped"
    KILLED = "killed"


class Gate:
    """A seam that lets nothing pass while it is closed: a broker that hangs."""

    def __init__(self) -> None:
        self._open = trio.Event()
        self._open.set()

    @property
    def is_open(self) -> bool:
        return self._open.is_set()

    def close(self) -> None:
        if self._open.is_set():
            self._open = trio.Event()

    def open(self) -> None:
        self._open.set()

    async def __call__(self, _context: object, request: object, answer: Answer, /) -> object:
        while not self._open.is_set():
            await self._open.wait()
        return await answer(request)


class HostedBroker:
    """One place in the cluster: an id and a port, and the broker that runs there, if one does."""

    def __init__(self, broker_id: BrokerId, lease: PortLease) -> None:
        self.broker_id = broker_id
        self.lease = lease
        self.files = TroubledFiles(syncs=False)
        self.gate = Gate()
        self.state = State.STOPPED
        self.broker: Broker | None = None
        self._scope = trio.CancelScope()
        self._ended = trio.Event()

    @property
    def address(self) -> str:
        return f"{self.lease.host}:{self.lease.port}"

    async def run(
        self, broker: Broker, timers: BorrowedTimers, *, task_status: trio.TaskStatus[None]
    ) -> None:
        """The life of one broker; reports started when it serves. What it had planned goes with it: a broker
        that was killed must not write to the files of the next."""
        self.broker = broker
        self._ended = trio.Event()
        try:
            with trio.CancelScope() as self._scope:
                await broker.run(task_status=task_status)
        finally:
            timers.cancel_all()
            self.broker = None
            self._ended.set()

    async def kill(self) -> None:
        """Ends it as a power cut would."""
        self._scope.cancel()
        await self._ended.wait()
        self.gate.open()

    async def stop(self) -> None:
        """Ends it in good order."""
        self.gate.open()
        if self.broker is not None:
            await self.broker.stop()
            await self._ended.wait()


class Generation:
    """Everything between two resets.

    Attributes:
        folder: the data of all brokers, ``broker-N`` for each.
        session: the host's own view of the metadata.
    """

    def __init__(self, folder: Path, timers: TimerQueue, store: EmbeddedStore) -> None:
        self.folder = folder
        self.timers = timers
        self.store = store
        self.session: EmbeddedSession = store.session()
        self.scope = trio.CancelScope()
        self.ended = trio.Event()
        self.nursery: trio.Nursery | None = None


class Host:
    """A cluster in this process. :meth:`run` is its task; the other methods work while it runs."""

    def __init__(self, settings: HostSettings) -> None:
        self.settings = settings
        self.clock = Clock()
        self.faults = Faults()
        self.journal = Journal(lambda: self.clock.now_ms())
        self.brokers: dict[BrokerId, HostedBroker] = {}
        self._generation: Generation | None = None
        self._generations = 0
        self._old_leases: deque[PortLease] = deque(maxlen=OLD_PORTS_KEPT)
        self._nursery: trio.Nursery | None = None
        self._root: Path | None = None

    # -- life ----------------------------------------------------------------------------------------

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Starts everything, reports started when all brokers serve, and goes on until cancelled.

        Raises:
            StartupError: a port or a folder cannot be used.
        """
        settings = self.settings
        own = None if settings.folder is not None else tempfile.mkdtemp(prefix="pybroker-")
        self._root = Path(own) if own is not None else settings.folder
        ports = (*settings.ports, *(0 for _ in range(settings.brokers - len(settings.ports))))
        try:
            for broker_id, port in zip(settings.ids, ports, strict=True):
                self.brokers[broker_id] = HostedBroker(broker_id, PortLease(settings.host, port))
            async with trio.open_nursery() as nursery:
                self._nursery = nursery
                await self._begin({})
                task_status.started()
                await trio.sleep_forever()
        finally:
            for lease in (*self._old_leases, *(hosted.lease for hosted in self.brokers.values())):
                lease.close()
            if own is not None:
                shutil.rmtree(own, ignore_errors=True)

    async def reset(self) -> None:
        """Back to the beginning: new brokers with new files. Every connection is closed; topics, groups,
        transactions, configurations, fault rules, the journal and changes of the clock are gone; topic ids
        are new, and no producer id comes again. Ports that were not chosen are new too: a client that was
        left running connects again and again, and must not find the next test's brokers."""
        old = self._current
        found = await old.session.get_all(KEPT)
        self._generation = None
        old.scope.cancel()
        await old.ended.wait()
        self.faults.clear()
        self.journal.clear()
        self.clock = Clock()
        for hosted in self.brokers.values():
            self._renew_port(hosted)
            hosted.gate.open()
            hosted.files = TroubledFiles(syncs=False)
            hosted.state = State.STOPPED
        await self._begin({path: node[0] for path, node in zip(KEPT, found, strict=True) if node is not None})
        assert self._nursery is not None
        self._nursery.start_soon(_remove, old.folder)

    def _renew_port(self, hosted: HostedBroker) -> None:
        if not hosted.lease.is_chosen:
            old, hosted.lease = hosted.lease, PortLease(hosted.lease.host)
            if len(self._old_leases) == self._old_leases.maxlen:
                self._old_leases[0].close()
            self._old_leases.append(old)

    async def _begin(self, kept: Mapping[str, bytes]) -> None:
        assert self._root is not None and self._nursery is not None
        self._generations += 1
        folder = self._root / f"generation-{self._generations}"
        first = _log_dirs(folder, self.settings.first_id, self.settings.log_dirs)[0]
        if self.settings.snapshot is not None:
            await trio.to_thread.run_sync(shutil.copytree, self.settings.snapshot, folder)
        timers = TimerQueue()
        store = EmbeddedStore.open(
            first / store_files.DIRECTORY, now_ms=lambda: self.clock.now_ms(), timers=timers, syncs=False
        )
        generation = Generation(folder, timers, store)
        await self._nursery.start(self._run_generation, generation)
        self._generation = generation
        await generation.session.ensure(*kept)
        await generation.session.multi([SetData(path, data) for path, data in kept.items()])
        for broker_id in self.brokers:
            await self.start(broker_id)

    async def _run_generation(
        self, generation: Generation, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        try:
            with generation.scope:
                async with trio.open_nursery() as nursery:
                    generation.nursery = nursery
                    nursery.start_soon(run_timers, self.clock, generation.timers)
                    nursery.start_soon(generation.store.run)
                    task_status.started()
                    await trio.sleep_forever()
        finally:
            with trio.CancelScope(shield=True):
                await generation.store.close()
            generation.ended.set()

    @property
    def _current(self) -> Generation:
        if self._generation is None:
            raise NoSuchThing("the cluster is not running")
        return self._generation

    @property
    def timers(self) -> TimerQueue:
        return self._current.timers

    @property
    def folder(self) -> Path:
        """Where the data of this generation is."""
        return self._current.folder

    # -- single brokers ------------------------------------------------------------------------------

    def hosted(self, broker_id: BrokerId) -> HostedBroker:
        """Raises:
        NoSuchThing: there is no such broker.
        """
        found = self.brokers.get(broker_id)
        if found is None:
            raise NoSuchThing(
                f"there is no broker {broker_id}; there are {', '.join(map(str, self.brokers))}"
            )
        return found

    def running(self, broker_id: BrokerId) -> Broker:
        """Raises:
        NoSuchThing: there is no such broker, or it does not run.
        """
        hosted = self.hosted(broker_id)
        if hosted.broker is None:
            raise NoSuchThing(f"broker {broker_id} is {hosted.state.value}")
        return hosted.broker

    def any_running(self) -> Broker:
        """Raises:
        NoSuchThing: none runs.
        """
        for hosted in self.brokers.values():
            if hosted.broker is not None:
                return hosted.broker
        raise NoSuchThing("no broker is running")

    async def start(self, broker_id: BrokerId) -> None:
        """Starts a stopped or killed broker on its files and its port; a running one is left alone."""
        hosted = self.hosted(broker_id)
        if hosted.broker is not None:
            return
        generation = self._current
        timers = BorrowedTimers(generation.timers)
        broker = Broker(
            self._config(hosted),
            clock=self.clock,
            timers=timers,
            store=generation.store,
            files=hosted.files,
            seam=lambda own_id, sessions: self._seam(hosted, own_id, sessions),
            stays=False,
        )
        assert generation.nursery is not None
        await generation.nursery.start(hosted.run, broker, timers)
        hosted.state = State.RUNNING

    async def stop(self, broker_id: BrokerId) -> None:
        """Stops a broker in good order."""
        hosted = self.hosted(broker_id)
        await hosted.stop()
        hosted.state = State.STOPPED

    async def kill(self, broker_id: BrokerId, *, expire_session: bool = True) -> None:
        """Ends a broker as kill -9 would. With ``expire_session`` the cluster notices at once; else when
        ``zookeeper.session.timeout.ms`` of broker time are over."""
        hosted = self.hosted(broker_id)
        if hosted.broker is not None:
            await hosted.kill()
        hosted.state = State.KILLED
        if expire_session:
            await self._expire_registration(broker_id)

    async def restart(self, broker_id: BrokerId) -> None:
        """Stops a broker in good order, if it runs, and starts it again."""
        await self.stop(broker_id)
        await self.start(broker_id)

    def pause(self, broker_id: BrokerId) -> None:
        """Lets a broker answer nothing until :meth:`resume`. Its connections stay open."""
        hosted = self.hosted(broker_id)
        self.running(broker_id)
        hosted.gate.close()
        hosted.state = State.PAUSED

    def resume(self, broker_id: BrokerId) -> None:
        """Lets a paused broker go on with what has waited."""
        hosted = self.hosted(broker_id)
        hosted.gate.open()
        if hosted.state is State.PAUSED:
            hosted.state = State.RUNNING

    async def _expire_registration(self, broker_id: BrokerId) -> None:
        stat = await self._current.session.exists(BrokerIdZNode.path(broker_id))
        if stat is not None:
            await self._current.store.expire_session(stat.ephemeral_owner)

    def _seam(
        self, hosted: HostedBroker, broker_id: BrokerId, sessions: Callable[[], FetchSessionCache]
    ) -> Around:
        seam = self.faults.seam(broker_id, lambda session_id: sessions().parts(session_id))
        faults = chain(seam, prompt(lambda: hosted.broker))
        return chain(hosted.gate, chain(self.journal.seam(broker_id), faults))

    def log_dirs(self, broker_id: BrokerId) -> list[Path]:
        """The log directories of a broker in this generation."""
        return _log_dirs(self._current.folder, broker_id, self.settings.log_dirs)

    def _config(self, hosted: HostedBroker) -> BrokerConfig:
        settings = self.settings
        factor = str(min(3, settings.brokers))
        index = hosted.broker_id - settings.first_id
        properties = {
            **TEST_PROFILE,
            "offsets.topic.replication.factor": factor,
            "transaction.state.log.replication.factor": factor,
            "transaction.state.log.min.isr": str(min(2, settings.brokers)),
            "default.replication.factor": factor,
            **settings.properties,
            "broker.id": str(hosted.broker_id),
            "listeners": f"PLAINTEXT://{hosted.address}",
            "log.dirs": ",".join(map(str, self.log_dirs(hosted.broker_id))),
        }
        if index < len(settings.racks):
            properties["broker.rack"] = settings.racks[index]
        return BrokerConfig.from_properties(properties)


def _log_dirs(folder: Path, broker_id: BrokerId, count: int) -> list[Path]:
    """A broker's folder itself, or as many below it: the first one of the first broker has the metadata."""
    own = folder / f"broker-{broker_id}"
    return [own] if count == 1 else [own / f"dir-{number}" for number in range(count)]


async def _remove(folder: Path) -> None:
    """Deletes files where nobody waits for it, and once the loop has nothing better to do."""
    await trio.testing.wait_all_tasks_blocked()
    await trio.to_thread.run_sync(lambda: shutil.rmtree(folder, ignore_errors=True))
