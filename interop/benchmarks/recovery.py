"""How long a broker takes to start after an unclean stop without a recovery point, beside Apache Kafka 3.9.

Run ``python -m interop.benchmarks.recovery [--quick] [--gigabytes N] [--rounds N] [--json FILE]``. With
``--prepare`` and ``--folder FOLDER`` the files are only written, and a later run with that folder starts with
them. pybroker writes partitions of 256 MB, in batches of 16 KB and in batches of one record of 100 bytes;
copies of the very same files are given to both brokers, with the same metadata, as if the power had gone
before the first checkpoint. What a start takes after a clean stop is taken off.
"""

import argparse
import shutil
import sys
import tempfile
import time
from pathlib import Path

from confluent_kafka.admin import AdminClient, NewTopic

from interop.benchmarks.figures import Figures, Target, progress, report
from interop.benchmarks.log import MIB, NOW_MS, RECORDS, make_buffers
from interop.storage.handover import copy_metadata
from interop.support.servers import ApacheKafkaServer, PybrokerServer
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
LARGE, SMALL = "recovery of batches of 16 KB, s per GB", "recovery of batches of one 100 B record, s per GB"
PYBROKER, KAFKA = "pybroker", "kafka"
TARGETS = [Target(LARGE, PYBROKER, 1.1, KAFKA, at_least=False)]
LONGEST_START_S = 1800.0
CHECKPOINTS = ("recovery-point-offset-checkpoint", "log-start-offset-checkpoint", ".kafka_cleanshutdown")


def main() -> int:
    options = _parse()
    figures = Figures("recovery", options.rounds, [(PYBROKER, KAFKA)])
    for name, figure, gigabytes in (("large", LARGE, options.gigabytes), ("small", SMALL, 1)):
        if options.only not in (None, name):
            continue
        kept = (options.folder or Path(tempfile.gettempdir())) / name
        if options.prepare:
            prepare(kept, gigabytes, single=figure == SMALL)
        elif options.folder is not None and kept.exists():
            measure(kept, figure, gigabytes, options, figures)
        else:
            with tempfile.TemporaryDirectory(prefix="bench-recovery-", dir=options.folder) as folder:
                prepare(Path(folder), gigabytes, single=figure == SMALL)
                measure(Path(folder), figure, gigabytes, options, figures)
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
    parser.add_argument("--only", choices=("large", "small"), help="batches of 16 KB, or of one record")
    parser.add_argument("--prepare", action="store_true", help="only write the files, into --folder")
    options = parser.parse_args()
    if options.prepare and options.folder is None:
        parser.error("--prepare needs a --folder")
    options.rounds = options.rounds or (QUICK_ROUNDS if options.quick else ROUNDS)
    options.gigabytes = options.gigabytes or (QUICK_GIGABYTES if options.quick else GIGABYTES)
    return options


def prepare(folder: Path, gigabytes: int, *, single: bool) -> None:
    """What one broker has written, and a copy of it for the other."""
    progress(f"writing {gigabytes} GB")
    origin = folder / "pybroker"
    origin.mkdir(parents=True)
    partitions = gigabytes * (1 << 30) // PARTITION_BYTES
    pybroker = PybrokerServer(folder=origin)
    pybroker.start()
    _create_topic(pybroker.bootstrap, partitions)
    pybroker.stop()
    write(origin / "data", partitions, single=single)
    shutil.copytree(origin / "data", folder / "kafka-data")


def measure(folder: Path, figure: str, gigabytes: int, options: argparse.Namespace, figures: Figures) -> None:
    """Both brokers on copies of the same files, in turns."""
    origin, copied = folder / "pybroker", folder / "kafka-data"
    pybroker = PybrokerServer(folder=origin)
    pybroker.START_TIMEOUT_S = LONGEST_START_S
    kafka = ApacheKafkaServer({"log.dirs": str(copied)})
    kafka.START_TIMEOUT_S = LONGEST_START_S
    try:
        kafka.zookeeper.start()
        copy_metadata(f"embedded:{origin / 'data'}", f"zookeeper:{kafka.zookeeper.address}")
        for number in range(options.rounds):
            progress(f"{figure}: round {number + 1} of {options.rounds}")
            for name, server, data in ((PYBROKER, pybroker, origin / "data"), (KAFKA, kafka, copied)):
                clean = _start_time(server)
                _stop(server)
                forget(data)
                unclean = _start_time(server)
                _stop(server)
                figures.add(figure, name, (unclean - clean) / gigabytes)
    finally:
        pybroker.stop()
        kafka.stop()


def _create_topic(bootstrap: str, partitions: int) -> None:
    admin = AdminClient({"bootstrap.servers": bootstrap})
    admin.create_topics([NewTopic(TOPIC, partitions, 1)])[TOPIC].result(60)


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


def forget(data: Path) -> None:
    """Makes the last stop an unclean one before any checkpoint."""
    for name in CHECKPOINTS:
        (data / name).unlink(missing_ok=True)


def _start_time(server: PybrokerServer | ApacheKafkaServer) -> float:
    started = time.perf_counter()
    server.start()
    return time.perf_counter() - started


def _stop(server: PybrokerServer | ApacheKafkaServer) -> None:
    if isinstance(server, ApacheKafkaServer):
        server.stop_process()
    else:
        server.stop()


if __name__ == "__main__":
    sys.exit(main())
