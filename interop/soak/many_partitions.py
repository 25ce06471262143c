"""Many partitions of several segments each under a bounded number of descriptors: start, serve, stop, again.

Run ``python -m interop.soak.many_partitions [--partitions 10000] [--segments 3] [--descriptors 8192]``. Ends
with 1 when something is missing, or the broker complained.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import trio
from msgspec import Struct, field

from interop.support.process import LOCALHOST, ChildProcess, free_port
from pybroker.model.errors import ErrorCode
from pybroker.protocol.messages import CreateTopicsRequest, FetchRequest, ProduceRequest
from pybroker.records.builder import build_batch
from pybroker.records.header import Record, iter_batch_headers
from tests.support.broker import WireClient

TABLE = Path(__file__).parent / "results" / "many-partitions.md"
PARTITIONS_PER_TOPIC = 100
TIMEOUT_S = 180
_SEGMENT_BYTES = "150"
"""So small that every batch needs a segment of its own."""

_BATCH = build_batch([Record(0, 0, b"key", b"v" * 50)])


class Run(Struct):
    """One broker with its partitions, and how long each step took."""

    folder: Path
    partitions: int
    segments: int
    descriptors: int
    seconds: dict[str, float] = field(default_factory=dict)
    most_descriptors: int = 0
    port: int = field(default_factory=free_port)
    process: ChildProcess = None  # made below

    def __post_init__(self) -> None:
        serve = (
            f'ulimit -n {self.descriptors}; exec "{sys.executable}" -m pybroker serve '
            f"-o listeners=PLAINTEXT://{LOCALHOST}:{self.port} -o log.dirs='{self.folder / 'data'}' "
            "-o auto.create.topics.enable=false"
        )
        self.process = ChildProcess(["sh", "-c", serve], self.folder / "server.log")

    async def all(self) -> None:
        """The whole life: made, stopped, started, served, stopped."""
        with self._timed("first start"):
            await self._start()
        async with await self._connect() as client:
            with self._timed("create"):
                await self._create(client)
            with self._timed("produce"):
                for number in range(self.segments):
                    await self._produce(client, number)
            with self._timed("fetch"):
                await self._fetch(client)
        self._check_files()
        await self._stop("stop")
        with self._timed("start"):
            await self._start()
        async with await self._connect() as client:
            with self._timed("fetch after the start"):
                await self._fetch(client)
        await self._stop("stop again")
        complaints = [line for line in self.process.log_tail(10_000).splitlines() if " ERROR " in line]
        assert not complaints, complaints

    async def make(self) -> None:
        """Makes the partitions, and starts the broker anew: it runs and is idle afterwards."""
        await self._start()
        async with await self._connect() as client:
            await self._create(client)
            for number in range(self.segments):
                await self._produce(client, number)
        await self._stop("stop")
        await self._start()
        async with await self._connect() as client:
            await self._fetch(client)

    @contextmanager
    def _timed(self, step: str) -> Iterator[None]:
        started = time.perf_counter()
        yield
        self.seconds[step] = time.perf_counter() - started
        pid = self.process.pid
        open_files = Path(f"/proc/{pid}/fd")
        if self.process.is_running and open_files.exists():
            self.most_descriptors = max(self.most_descriptors, sum(1 for _ in open_files.iterdir()))

    async def _start(self) -> None:
        self.process.start()
        await trio.to_thread.run_sync(self.process.wait_for_broker, self.port, TIMEOUT_S)

    async def _stop(self, step: str) -> None:
        with self._timed(step):
            await trio.to_thread.run_sync(self.process.stop, TIMEOUT_S)

    async def _connect(self) -> "_Closing":
        return _Closing(WireClient(await trio.open_tcp_stream(LOCALHOST, self.port)))

    def _topics(self) -> Iterator[tuple[str, int]]:
        for first in range(0, self.partitions, PARTITIONS_PER_TOPIC):
            count = min(PARTITIONS_PER_TOPIC, self.partitions - first)
            yield f"many-{first // PARTITIONS_PER_TOPIC}", count

    async def _create(self, client: WireClient) -> None:
        config = CreateTopicsRequest.CreatableTopicConfig(name="segment.bytes", value=_SEGMENT_BYTES)
        for name, count in self._topics():
            topic = CreateTopicsRequest.CreatableTopic(
                name=name, num_partitions=count, replication_factor=1, configs=[config]
            )
            answer = await client.ask(CreateTopicsRequest(topics=[topic], timeout_ms=60_000), 7)
            assert answer.topics[0].error_code == ErrorCode.NONE, answer

    async def _produce(self, client: WireClient, number: int) -> None:
        for name, count in self._topics():
            data = [
                ProduceRequest.PartitionProduceData(index=index, records=_BATCH) for index in range(count)
            ]
            topic = ProduceRequest.TopicProduceData(name=name, partition_data=data)
            answer = await client.ask(ProduceRequest(acks=-1, timeout_ms=60_000, topic_data=[topic]), 9)
            for reply in answer.responses[0].partition_responses:
                assert (reply.error_code, reply.base_offset) == (ErrorCode.NONE, number), reply

    async def _fetch(self, client: WireClient) -> None:
        """Reads every record. A fetch ends with a segment, so each partition is asked as often as it has."""
        for offset in range(self.segments):
            for name, count in self._topics():
                asked = [
                    FetchRequest.FetchPartition(partition=p, fetch_offset=offset, partition_max_bytes=1 << 20)
                    for p in range(count)
                ]
                request = FetchRequest(
                    replica_id=-1,
                    min_bytes=0,
                    max_bytes=1 << 26,
                    session_epoch=-1,
                    topics=[FetchRequest.FetchTopic(topic=name, partitions=asked)],
                )
                answer = await client.ask(request, 11)
                for reply in answer.responses[0].partitions:
                    (_position, header), *_ = iter_batch_headers(reply.records)
                    assert (header.base_offset, reply.high_watermark) == (offset, self.segments), reply

    def _check_files(self) -> None:
        found = sum(1 for _ in (self.folder / "data").glob("many-*/*.log"))
        assert found == self.partitions * self.segments, f"{found} segments"

    def table(self) -> str:
        """The result."""
        steps = ", ".join(f"{step} {seconds:.1f} s" for step, seconds in self.seconds.items())
        return (
            f"{self.partitions:,} partitions of {self.segments} segments under "
            f"`ulimit -n {self.descriptors}`: {steps}; most descriptors seen between steps: "
            f"{self.most_descriptors:,}.\n"
        )


class _Closing(Struct):
    client: WireClient

    async def __aenter__(self) -> WireClient:
        return self.client

    async def __aexit__(self, *_error: object) -> None:
        await self.client.aclose()


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m interop.soak.many_partitions", description=__doc__)
    parser.add_argument("--partitions", type=int, default=10_000)
    parser.add_argument("--segments", type=int, default=3)
    parser.add_argument("--descriptors", type=int, default=8192)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="soak-partitions-") as folder:
        run = Run(Path(folder), options.partitions, options.segments, options.descriptors)
        try:
            trio.run(run.all)
        except AssertionError as error:
            sys.stderr.write(f"{error}\n{run.process.log_tail()}\n")
            return 1
        finally:
            run.process.kill9()
    sys.stdout.write(run.table())
    if options.partitions == parser.get_default("partitions"):
        TABLE.write_text(f"# Many partitions\n\n{run.table()}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
