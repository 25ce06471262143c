"""How long a broker takes to start after an unclean stop without a recovery point, beside Apache Kafka 3.9.

Run ``python -m interop.benchmarks.recovery [--quick] [--gigabytes N] [--rounds N] [--only large|small]
[--cache cold|warm] [--json FILE]``. With ``--prepare`` and ``--folder FOLDER`` the files are only written,
and a later run with that folder starts with them.

pybroker writes partitions of 256 MB, in batches of 16 KB and in batches of one record of 100 bytes. Each
broker has a copy of its own of these very files, with the same metadata, as if the power had gone before the
first checkpoint. What a start takes after a clean stop, the median of all rounds, is taken off.

Both find the page cache in the same state, at every start. Cold: not one page of either copy is there, as
after a power cut, so that the disk has a part in it. Warm: the broker's own copy was read wholly just before,
and nothing of the other's is there, as after a crash of the process alone. The table tells what was really
there; small batches are measured warm only, unless told otherwise. The brokers take turns at going first.
"""

import argparse
import shutil
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

import psutil
from msgspec import Struct

from interop.benchmarks import page_cache
from interop.benchmarks.figures import Figures, Target, progress, report
from interop.benchmarks.log import NOW_MS, RECORDS, make_buffers
from interop.benchmarks.probe import await_metadata
from interop.benchmarks.systems import MIB, KafkaSystem, PybrokerSystem
from interop.storage.handover import copy_metadata
from pybroker.model.ids import TopicPartition
from pybroker.records.builder import build_batch
from pybroker.records.header import Record, read_batch_header
from pybroker.records.validation import ValidatedBatch
from pybroker.storage.context import StorageContext
from pybroker.storage.log_config import LogConfig
from pybroker.storage.log_manager import LogManager

ROUNDS, QUICK_ROUNDS = 3, 1
GIGABYTES, QUICK_GIGABYTES = 10, 1
PARTITION_BYTES = 256 * MIB
TOPIC = "recovered"
LARGE, SMALL = "large", "small"
BATCHES = {LARGE: "batches of 16 KB", SMALL: "batches of one 100 B record"}
COLD, WARM = "cold", "warm"
# Of small batches the disk is no part that could be seen.
CACHES = {LARGE: (COLD, WARM), SMALL: (WARM,)}
PYBROKER, KAFKA = "pybroker", "kafka"


def recovery_figure(kind: str, cache: str) -> str:
    return f"recovery of {BATCHES[kind]}, {cache}, s per GB"


def cpu_figure(kind: str, cache: str) -> str:
    return f"the same, CPU s per GB, {kind}, {cache}"


TARGETS = [
    Target(recovery_figure(LARGE, cache), PYBROKER, 1.1, KAFKA, at_least=False) for cache in (COLD, WARM)
]
LONGEST_START_S = 1800.0
CHECKPOINTS = ("recovery-point-offset-checkpoint", "log-start-offset-checkpoint", ".kafka_cleanshutdown")


def main() -> int:
    options = _parse()
    figures = Figures("recovery", options.rounds, [(PYBROKER, KAFKA)])
    for kind, gigabytes in ((LARGE, options.gigabytes), (SMALL, 1)):
        if options.only not in (None, kind):
            continue
        kept = (options.folder or Path(tempfile.gettempdir())) / kind
        if options.prepare:
            prepare(kept, gigabytes, single=kind == SMALL)
        elif options.folder is not None and kept.exists():
            measure(kept, kind, gigabytes, options, figures)
        else:
            with tempfile.TemporaryDirectory(prefix="bench-recovery-", dir=options.folder) as folder:
                prepare(Path(folder), gigabytes, single=kind == SMALL)
                measure(Path(folder), kind, gigabytes, options, figures)
    if options.prepare or report(figures, TARGETS, options.json):
        return 0
    return 1


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="fewer bytes and rounds")
    parser.add_argument("--rounds", type=int, default=0, help=f"{ROUNDS}, and {QUICK_ROUNDS} with --quick")
    parser.add_argument(
        "--gigabytes", type=int, default=0, help=f"{GIGABYTES}, and {QUICK_GIGABYTES} with --quick"
    )
    parser.add_argument("--folder", type=Path, help="where the files go (default: the temporary folder)")
    parser.add_argument("--json", type=Path, help="also write every sample to this file")
    parser.add_argument("--only", choices=(LARGE, SMALL), help="batches of 16 KB, or of one record")
    parser.add_argument("--cache", choices=(COLD, WARM), help="this state of the page cache only")
    parser.add_argument("--prepare", action="store_true", help="only write the files, into --folder")
    options = parser.parse_args()
    if options.prepare and options.folder is None:
        parser.error("--prepare needs a --folder")
    options.rounds = options.rounds or (QUICK_ROUNDS if options.quick else ROUNDS)
    options.gigabytes = options.gigabytes or (QUICK_GIGABYTES if options.quick else GIGABYTES)
    return options


class Side(Struct, frozen=True):
    """One broker with its copy of the files."""

    system: PybrokerSystem | KafkaSystem
    data: Path

    def start(self) -> tuple[float, float]:
        """Seconds from the creation of the process to the first answer, and the CPU seconds of it and of its
        children that are over; then it is stopped."""
        started = time.perf_counter()
        self.system.launch()
        await_metadata(self.system.port, LONGEST_START_S, lambda: self.system.pid)
        seconds = time.perf_counter() - started
        used = psutil.Process(self.system.pid).cpu_times()
        self.system.halt()
        return seconds, used.user + used.system + used.children_user + used.children_system

    def forget(self) -> None:
        """Makes the last stop an unclean one before any checkpoint."""
        for name in CHECKPOINTS:
            (self.data / name).unlink(missing_ok=True)


def prepare(folder: Path, gigabytes: int, *, single: bool) -> None:
    """What one broker has written, and a copy of it for the other."""
    progress(f"writing {gigabytes} GB")
    origin = folder / PYBROKER
    origin.mkdir(parents=True)
    partitions = gigabytes * (1 << 30) // PARTITION_BYTES
    pybroker = PybrokerSystem(settings={"log.dirs": str(origin)})
    try:
        pybroker.launch()
        await_metadata(pybroker.port, LONGEST_START_S, lambda: pybroker.pid)
        pybroker.create_topic(TOPIC, partitions)
    finally:
        pybroker.close()
    write(origin, partitions, single=single)
    shutil.copytree(origin, folder / KAFKA)


def measure(folder: Path, kind: str, gigabytes: int, options: argparse.Namespace, figures: Figures) -> None:
    """Both brokers on copies of the same files, in turns."""
    copies = {name: folder / name for name in (PYBROKER, KAFKA)}
    pybroker = PybrokerSystem(settings={"log.dirs": str(copies[PYBROKER])})
    kafka = KafkaSystem({"log.dirs": str(copies[KAFKA])})
    caches = (options.cache,) if options.cache else CACHES[kind]
    sides = {PYBROKER: Side(pybroker, copies[PYBROKER]), KAFKA: Side(kafka, copies[KAFKA])}
    try:
        kafka.prepare()
        copy_metadata(f"embedded:{copies[PYBROKER]}", f"zookeeper:{kafka.zookeeper.address}")
        for number in range(options.rounds):
            for cache in caches:
                progress(f"{BATCHES[kind]}, {cache}: round {number + 1} of {options.rounds}")
                for name in (PYBROKER, KAFKA) if number % 2 == 0 else (KAFKA, PYBROKER):
                    start_times(sides, name, kind, cache, figures)
    finally:
        pybroker.close()
        kafka.close()
    for cache in caches:
        for figure in (recovery_figure(kind, cache), cpu_figure(kind, cache)):
            for name in sides:
                without = figures.median(_clean(figure), name)
                samples = figures.samples[figure][name]
                samples[:] = [(whole - without) / gigabytes for whole in samples]


def _clean(figure: str) -> str:
    return f"a start without {figure.removesuffix(' per GB')}"


def start_times(sides: Mapping[str, Side], name: str, kind: str, cache: str, figures: Figures) -> None:
    """One start after a clean stop, and one after an unclean stop, whole."""
    side = sides[name]
    wall, cpu = recovery_figure(kind, cache), cpu_figure(kind, cache)
    set_cache(sides, name, cache)
    for figure, value in zip((_clean(wall), _clean(cpu)), side.start(), strict=True):
        figures.add(figure, name, value)
    side.forget()
    set_cache(sides, name, cache)
    figures.add(f"in the page cache before, {kind}, {cache}", name, page_cache.cached_share(side.data))
    for figure, value in zip((wall, cpu), side.start(), strict=True):
        figures.add(figure, name, value)


def set_cache(sides: Mapping[str, Side], name: str, cache: str) -> None:
    """Nothing of either copy, or all of the one whose broker starts next."""
    for side in sides.values():
        page_cache.drop(side.data)
    if cache == WARM:
        page_cache.warm(sides[name].data)


def write(data: Path, partitions: int, *, single: bool) -> None:
    """Fills every partition, and stops in good order."""
    manager = LogManager([str(data)], StorageContext(now_ms=lambda: NOW_MS))
    manager.lock()
    manager.load()
    count = 1 if single else RECORDS
    if single:
        one = build_batch([Record(0, NOW_MS, None, bytes(100))])
        buffers = [memoryview(bytearray(one))] * (PARTITION_BYTES // len(one))
    else:
        buffers = make_buffers(16_000, PARTITION_BYTES)
    for number in range(partitions):
        log = manager.create(TopicPartition(TOPIC, number), None, LogConfig())
        for buffer in buffers:
            header = read_batch_header(buffer)
            batch = ValidatedBatch(header, buffer, count, NOW_MS, count - 1)
            log.append_as_leader(batch, 0)
    manager.close()


if __name__ == "__main__":
    sys.exit(main())
