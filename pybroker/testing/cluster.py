"""A Kafka cluster for a test, as an ordinary object: its methods block, and may be called from any thread."""

import json
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

from pybroker.control.reading import read
from pybroker.instruments.journal import Entry, describe
from pybroker.testing.host import HostSettings
from pybroker.testing.plain_values import plain_value
from pybroker.testing.runners import ProcessRunner, Runner, ThreadRunner
from pybroker.testing.seeds import Seed, load_seed, seed_of


class Fault:
    """A fault rule at work. As a context manager it is taken back at the end of the block."""

    def __init__(self, cluster: "KafkaCluster", number: int) -> None:
        self._cluster = cluster
        self.number = number

    @property
    def matched(self) -> int:
        """How many requests it was for."""
        return self._counts()["matched"]

    @property
    def fired(self) -> int:
        """How many of them it befell."""
        return self._counts()["fired"]

    def remove(self) -> None:
        """Forgets the rule."""
        self._cluster.call("remove_fault", number=self.number)

    def __enter__(self) -> "Fault":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.remove()

    def _counts(self) -> dict[str, int]:
        return next(each for each in self._cluster.call("faults") if each["number"] == self.number)


class KafkaCluster:
    """One or more brokers, in a thread of this process or as a process, from construction to :meth:`close`.

    Args:
        brokers: how many; their ids are 0, 1, ….
        process: whether they run in a process of their own instead of a thread.
        seed: what there is at the beginning and after each reset: a YAML file's path, or the same as data.
        persona: the Kafka version that it answers as, for instance ``"2.8"``.
        racks: of the brokers, in their order.
        properties: Kafka's configuration keys for all brokers.
        ports: of the brokers, in their order; free ones by default, and other ones after each reset.
        log_dirs: how many log directories each broker has.
        snapshot: a folder that :meth:`snapshot` wrote, to begin with.

    Raises:
        BadInput: the seed is wrong; the message names the line.
        StartupError, OperationFailed: it cannot start.
    """

    def __init__(
        self,
        brokers: int = 1,
        *,
        process: bool = False,
        seed: Path | str | Mapping[str, Any] | None = None,
        persona: str | None = None,
        racks: Sequence[str] = (),
        properties: Mapping[str, str] | None = None,
        ports: Sequence[int] = (),
        log_dirs: int = 1,
        snapshot: Path | str | None = None,
    ) -> None:
        chosen = dict(properties or {})
        if persona is not None:
            chosen["pybroker.persona"] = persona
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        settings = HostSettings(
            brokers=brokers,
            ports=tuple(ports),
            racks=tuple(racks),
            properties=chosen,
            log_dirs=log_dirs,
            snapshot=None if snapshot is None else Path(snapshot),
        )
        planted = _seed(seed)
        self._runner: Runner = (
            self._process(settings, planted) if process else ThreadRunner(settings, planted)
        )
        self._look_up_addresses()

    def _look_up_addresses(self) -> None:
        self._addresses = [str(each["address"]) for each in self.call("brokers")]

    def _process(self, settings: HostSettings, seed: Seed) -> Runner:
        self._folder = tempfile.TemporaryDirectory(prefix="pybroker-")
        folder = Path(self._folder.name)
        planted = folder / "seed.yaml"
        planted.write_text(json.dumps(plain_value(seed)))  # JSON is YAML
        first_port = settings.ports[0] if settings.ports else 0
        properties = {
            **settings.properties,
            "listeners": f"PLAINTEXT://{settings.host}:{first_port}",
            "pybroker.brokers": str(settings.brokers),
            "pybroker.racks": ",".join(settings.racks),
            "pybroker.log.dirs.count": str(settings.log_dirs),
            "pybroker.seed.file": str(planted),
        }
        if settings.snapshot is not None:
            properties["pybroker.snapshot.dir"] = str(settings.snapshot)
        return ProcessRunner(properties, folder / "broker.log")

    @property
    def bootstrap_servers(self) -> str:
        """``host:port`` of each broker, with commas between; what clients want to know."""
        return ",".join(self._addresses)

    def address(self, broker: int) -> str:
        """``host:port`` of one broker."""
        return self._addresses[broker]

    def close(self) -> None:
        """Ends all brokers at once and deletes their data."""
        self._runner.close()
        if self._folder is not None:
            self._folder.cleanup()

    def __enter__(self) -> "KafkaCluster":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def call(self, operation: str, **arguments: Any) -> Any:
        """Any operation of the control API by its name; the methods below are these.

        Raises:
            BadInput, InvalidFault: an argument is wrong; the message says what is allowed.
            NoSuchThing: what an argument names is not there.
            OperationFailed: the cluster refused.
            TimedOut: what was waited for did not come true.
        """
        return self._runner.call(
            operation, {key: value for key, value in arguments.items() if value is not None}
        )

    # -- the cluster ---------------------------------------------------------------------------------

    def reset(self) -> None:
        """Back to the seed state, in milliseconds. Every connection is closed, and ports that were not chosen
        are new, so that no client of an earlier test can write into the next: ask for
        :attr:`bootstrap_servers` again."""
        self.call("reset")
        self._look_up_addresses()

    def seed(self, seed: Path | str | Mapping[str, Any]) -> None:
        """Adds topics, records, offsets and faults now; they go with the next reset."""
        self.call("seed", seed=_plain_seed(seed))

    def create_topic(self, name: str, partitions: int = 1, **topic: Any) -> None:
        """Creates one topic; ``topic`` is what a seed has: replication_factor, configs, records."""
        self.seed({"topics": [{"name": name, "partitions": partitions, **topic}]})

    def snapshot(self, folder: Path | str) -> None:
        """Copies all data to an empty or missing folder, in Kafka's format."""
        self.call("snapshot", folder=str(folder))

    # -- one broker ----------------------------------------------------------------------------------

    def start(self, broker: int = 0) -> None:
        """Starts a stopped or killed broker on its files and its port."""
        self.call("start", broker=broker)

    def stop(self, broker: int = 0) -> None:
        """Stops a broker in good order."""
        self.call("stop", broker=broker)

    def restart(self, broker: int = 0) -> None:
        """Stops a broker in good order and starts it again."""
        self.call("restart", broker=broker)

    def kill(self, broker: int = 0, *, expire_session: bool = True) -> None:
        """Ends a broker as kill -9 does; the cluster notices at once, or after the session timeout."""
        self.call("kill", broker=broker, expire_session=expire_session)

    def pause(self, broker: int = 0) -> None:
        """Lets a broker answer nothing until :meth:`resume`; its connections stay open."""
        self.call("pause", broker=broker)

    def resume(self, broker: int = 0) -> None:
        """Lets a paused broker go on."""
        self.call("resume", broker=broker)

    def fail_disk(self, broker: int = 0, log_dir: int | None = None) -> None:
        """Lets every access to one log directory, or to all, fail."""
        self.call("fail_disk", broker=broker, log_dir=log_dir)

    def fill_disk(self, broker: int = 0, log_dir: int | None = None) -> None:
        """Lets every write to one log directory, or to all, fail for want of space."""
        self.call("fill_disk", broker=broker, log_dir=log_dir)

    def heal_disk(self, broker: int = 0, log_dir: int | None = None) -> None:
        """Takes that back. A directory that has failed is used again after a restart of the broker."""
        self.call("heal_disk", broker=broker, log_dir=log_dir)

    # -- leaders, coordinators, groups ---------------------------------------------------------------

    def move_leader(self, topic: str, partition: int = 0, *, to: int) -> None:
        """Gives a partition another leader; returns when all brokers know."""
        self.call("move_leader", topic=topic, partition=partition, broker=to)

    def move_coordinator(
        self, group: str | None = None, *, transactional_id: str | None = None, to: int
    ) -> None:
        """Gives a group, or a transactional id, another coordinator."""
        self.call("move_coordinator", group=group, transactional_id=transactional_id, broker=to)

    def set_isr(self, topic: str, partition: int = 0, *, isr: Sequence[int]) -> None:
        """Changes which replicas are in sync; the leader always is."""
        self.call("set_isr", topic=topic, partition=partition, isr=list(isr))

    def bump_epoch(self, topic: str, partition: int = 0) -> None:
        """Raises a partition's leader epoch."""
        self.call("bump_epoch", topic=topic, partition=partition)

    def rebalance(self, group: str) -> None:
        """Lets a group rebalance."""
        self.call("rebalance", group=group)

    def expire_member(self, group: str, member: str | None = None) -> list[str]:
        """Removes one member, or all, as if their sessions were over. Returns the ids."""
        return list(self.call("expire_member", group=group, member=member))

    def fence_producer(self, transactional_id: str) -> None:
        """Fences a transactional producer, as a second one of the same id does; an open transaction is
        aborted."""
        self.call("fence_producer", transactional_id=transactional_id)

    def expire_transaction(self, transactional_id: str) -> None:
        """Aborts an open transaction as if its time were over; returns when it is."""
        self.call("expire_transaction", transactional_id=transactional_id)

    # -- faults --------------------------------------------------------------------------------------

    def fault(self, **rule: Any) -> Fault:
        """Obeys a fault rule from now on; the arguments are those of
        :class:`pybroker.instruments.faults.FaultRule`. ``times=None`` means every time."""
        added: Any = self._runner.call("add_fault", rule)
        return Fault(self, added["number"])

    def clear_faults(self) -> None:
        """Forgets all fault rules."""
        self.call("clear_faults")

    # -- broker time ---------------------------------------------------------------------------------

    def now_ms(self) -> int:
        """Broker time, in ms since 1970."""
        return int(self.call("clock")["now_ms"])

    def freeze(self, at_ms: int | None = None) -> None:
        """Stops broker time; connections go on."""
        self.call("freeze", at_ms=at_ms)

    def unfreeze(self) -> None:
        """Lets broker time run on from where it stands."""
        self.call("unfreeze")

    def advance(
        self,
        *,
        days: float = 0,
        hours: float = 0,
        minutes: float = 0,
        seconds: float = 0,
        ms: int = 0,
        only: str | Sequence[str] = (),
    ) -> None:
        """Moves broker time on, and returns when what fell due has been done. With ``only`` no other kinds of
        timers (``clock`` names them) feel that time has passed."""
        kinds = [only] if isinstance(only, str) else list(only)
        self.call("advance", days=days, hours=hours, minutes=minutes, seconds=seconds, ms=ms, only=kinds)

    # -- looking and waiting -------------------------------------------------------------------------

    def journal(self, **which: Any) -> list[dict[str, Any]]:
        """The latest requests with their answers; ``which`` may have api, topic, group, client_id, broker,
        error, status, after and limit."""
        return list(self.call("journal", **which))

    def wait_for(self, *, n: int = 1, timeout_s: float = 10, **which: Any) -> list[dict[str, Any]]:
        """Waits for ``n`` answered requests; ``which`` is that of :meth:`journal`."""
        return list(self.call("wait_for_requests", count=n, timeout_s=timeout_s, **which))

    def wait_for_topic(self, topic: str, partitions: int = 1, *, timeout_s: float = 10) -> None:
        """Waits until a topic can be used."""
        self.call("wait_for_topic", topic=topic, partitions=partitions, timeout_s=timeout_s)

    def wait_for_group(
        self, group: str, state: str = "Stable", *, members: int | None = None, timeout_s: float = 10
    ) -> dict[str, Any]:
        """Waits until a group is in a state, and has so many members."""
        found: dict[str, Any] = self.call(
            "wait_for_group", group=group, state=state, members=members, timeout_s=timeout_s
        )
        return found

    def wait_for_records(
        self, topic: str, n: int, *, partition: int | None = None, timeout_s: float = 10
    ) -> int:
        """Waits until ``n`` records can be read; returns how many there are."""
        return int(
            self.call("wait_for_records", topic=topic, count=n, partition=partition, timeout_s=timeout_s)
        )

    def records(self, topic: str, partition: int | None = None, offset: int = 0) -> list[dict[str, Any]]:
        """The records of a topic, decoded."""
        return list(self.call("records", topic=topic, partition=partition, offset=offset))

    def dump(self, limit: int = 50) -> str:
        """The latest requests, a line each, for people."""
        return "\n".join(describe(read(Entry, entry)) for entry in self.journal(limit=limit))

    @contextmanager
    def blackholed(self, client_id: str) -> Iterator[Fault]:
        """Within the block nothing that clients of this name (a pattern) ask is answered."""
        with self.fault(client_id=client_id, action="half_open", times=None) as fault:
            yield fault


def _seed(seed: Path | str | Mapping[str, Any] | None) -> Seed:
    match seed:
        case None:
            return Seed()
        case Path() | str():
            return load_seed(Path(seed))
        case _:
            return seed_of(dict(seed))


def _plain_seed(seed: Path | str | Mapping[str, Any]) -> Mapping[str, Any]:
    if isinstance(seed, (Path, str)):
        plain: Mapping[str, Any] = plain_value(load_seed(Path(seed)))
        return plain
    return seed
