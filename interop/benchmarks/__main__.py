"""`python -m interop.benchmarks [names...] [--quick] [--rounds N [--add]] [--out FOLDER]`: the benchmarks.

Each one prints its own table and says which targets it misses. They are modules of this package, and can be
run alone with options of their own. What a run leaves in its folder: the tables as text, every sample as
JSON, and a picture. A whole run leaves them in `interop/benchmarks/results`, any other in the cache. A run of
some benchmarks replaces their tables in a folder and leaves those of the others; with --add it adds its
rounds to those that are there, so that a long run can be made in parts.
"""

import argparse
import re
import subprocess
import sys
from pathlib import Path

from msgspec import Struct

from interop.support.maven import CACHE

RESULTS = Path(__file__).resolve().parent / "results"
TABLES = "tables.txt"


class Benchmark(Struct, frozen=True):
    """One module of this package. Those that compare brokers can be run in parts; a quick run without names
    has room for some."""

    name: str
    about: str
    in_parts: bool = False
    in_quick: bool = False

    @property
    def module(self) -> str:
        return f"interop.benchmarks.{self.name.replace('-', '_')}"

    @property
    def heading(self) -> str:
        return f"=== {self.name}: {self.about}\n"


BENCHMARKS = (
    Benchmark("codec", "decoding and encoding of messages, beside construct and kio", in_quick=True),
    Benchmark("startup", "start to the first answer, idle memory", in_parts=True, in_quick=True),
    Benchmark("container", "a container of the image until its broker answers", in_parts=True),
    Benchmark("latency", "single messages: requests per second, latency", in_parts=True, in_quick=True),
    Benchmark("throughput", "MB/s, CPU, memory, stretches of the loop", in_parts=True, in_quick=True),
    Benchmark("perf-tools", "what Kafka's own performance tools say", in_parts=True),
    Benchmark("log", "append, fetch, opening, memory of logs, beside system calls"),
    Benchmark("recovery", "starts after an unclean stop, beside Apache Kafka"),
    Benchmark("cleaner", "produce latency while a dirty log is compacted, and without"),
    Benchmark("groups", "coordinator: replay, rebalances, commits", in_parts=True),
    Benchmark("failover", "three brokers: a killed leader, until the next acknowledgement", in_parts=True),
    Benchmark("replicas", "three brokers: MB/s when all replicas must have them", in_parts=True),
    Benchmark("scale", "three brokers: 1,000 topics of 3 partitions", in_parts=True),
    Benchmark("loop", "a test's way to a broker: start, reset"),
)


def main(arguments: list[str]) -> int:
    options = _parse(arguments)
    default = [benchmark.name for benchmark in BENCHMARKS if benchmark.in_quick or not options.quick]
    chosen = [benchmark for benchmark in BENCHMARKS if benchmark.name in (options.names or default)]
    is_whole = len(chosen) == len(BENCHMARKS) and not options.quick
    folder = options.out or (RESULTS if is_whole else CACHE / "benchmarks" / "last")
    folder.mkdir(parents=True, exist_ok=True)
    failed = False
    for benchmark in chosen:
        sys.stdout.write(f"\n{benchmark.heading}")
        sys.stdout.flush()
        command = [sys.executable, "-m", benchmark.module, "--json", str(folder / f"{benchmark.name}.json")]
        command += ["--quick"] if options.quick and benchmark.name != "codec" else []
        command += ["--rounds", str(options.rounds)] if options.rounds else []
        command += ["--add"] if options.add else []
        done = subprocess.run(command, check=False, stdout=subprocess.PIPE, text=True)
        sys.stdout.write(done.stdout)
        failed = failed or done.returncode != 0
        _put_table(folder / TABLES, benchmark, done.stdout or "failed before its end\n")
    subprocess.run([sys.executable, "-m", "interop.benchmarks.picture", str(folder)], check=True)
    return 1 if failed else 0


def _put_table(file: Path, benchmark: Benchmark, table: str) -> None:
    """Put one benchmark's output in its place among the others'."""
    text = file.read_text() if file.exists() else ""
    parts = re.split(r"^(=== [\w-]+: .*\n)", text, flags=re.MULTILINE)
    tables = dict(zip(parts[1::2], parts[2::2], strict=True))
    tables[benchmark.heading] = table
    in_order = [known.heading for known in BENCHMARKS if known.heading in tables]
    file.write_text("\n".join(f"{heading}{tables[heading].rstrip()}\n" for heading in in_order))


def _parse(arguments: list[str]) -> argparse.Namespace:
    names = [benchmark.name for benchmark in BENCHMARKS]
    parser = argparse.ArgumentParser(
        prog="python -m interop.benchmarks", description="pybroker's benchmarks."
    )
    parser.add_argument("names", nargs="*", metavar="name", help=f"of: {', '.join(names)}; all by default")
    parser.add_argument(
        "--quick", action="store_true", help="fewer scenarios and rounds; without names some benchmarks only"
    )
    parser.add_argument("--rounds", type=int, default=0, help="how many; each has a number of its own")
    parser.add_argument("--add", action="store_true", help="to the rounds that are in the folder already")
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="where the results go")
    options = parser.parse_args(arguments)
    unknown = [name for name in options.names if name not in names]
    if unknown:
        parser.error(f"no benchmark is called {unknown[0]}; there are: {', '.join(names)}")
    whole = [b.name for b in BENCHMARKS if not b.in_parts and b.name in (options.names or names)]
    if options.add and whole:
        parser.error(f"{whole[0]} cannot be run in parts")
    return options


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
