"""`python -m interop.benchmarks [names...] [--quick] [--out FOLDER]`: the benchmarks, one after the other.

Each one prints its own table and says which targets it misses. They are modules of this package, and can be
run alone with options of their own. What a run leaves in its folder: the tables as text, every sample as
JSON, and a picture. A whole run leaves them in `interop/benchmarks/results`, any other in the cache.
"""

import argparse
import subprocess
import sys
from pathlib import Path
from typing import TextIO

from attrs import frozen

from interop.support.maven import CACHE

RESULTS = Path(__file__).resolve().parent / "results"
TABLES = "tables.txt"


@frozen
class Benchmark:
    """One module of this package; ``quick`` are its options for a short run."""

    name: str
    about: str
    quick: tuple[str, ...] = ()


BENCHMARKS = (
    Benchmark("codec", "decoding and encoding of messages, beside construct and kio"),
    Benchmark("startup", "start to the first answer, idle memory", quick=("--quick",)),
    Benchmark("latency", "single messages: requests per second, latency", quick=("--quick",)),
    Benchmark("throughput", "MB/s in and out, CPU, memory, stretches of the loop", quick=("--quick",)),
    Benchmark("log", "append, fetch, opening, memory of logs, beside system calls", quick=("--quick",)),
    Benchmark("recovery", "starts after an unclean stop, beside Apache Kafka", quick=("--quick",)),
    Benchmark("cleaner", "produce latency while a dirty log is compacted, and without", quick=("--quick",)),
    Benchmark("groups", "coordinator: replay, rebalances, commits", quick=("--quick",)),
)


def main(arguments: list[str]) -> int:
    options = _parse(arguments)
    chosen = [benchmark for benchmark in BENCHMARKS if not options.names or benchmark.name in options.names]
    is_whole = len(chosen) == len(BENCHMARKS) and not options.quick
    folder = options.out or (RESULTS if is_whole else CACHE / "benchmarks" / "last")
    folder.mkdir(parents=True, exist_ok=True)
    missed = []
    with (folder / TABLES).open("w") as tables:
        for benchmark in chosen:
            _tell(f"\n=== {benchmark.name}: {benchmark.about}\n", tables)
            command = [sys.executable, "-m", f"interop.benchmarks.{benchmark.name}"]
            command += benchmark.quick if options.quick else ()
            command += ["--json", str(folder / f"{benchmark.name}.json")]
            done = subprocess.run(command, check=False, stdout=subprocess.PIPE, text=True)
            _tell(done.stdout, tables)
            if done.returncode:
                missed.append(benchmark.name)
        if missed:
            _tell(f"\ntargets missed in: {', '.join(missed)}\n", tables)
    subprocess.run([sys.executable, "-m", "interop.benchmarks.picture", str(folder)], check=True)
    return 1 if missed else 0


def _tell(text: str, tables: TextIO) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()
    tables.write(text)


def _parse(arguments: list[str]) -> argparse.Namespace:
    names = [benchmark.name for benchmark in BENCHMARKS]
    parser = argparse.ArgumentParser(
        prog="python -m interop.benchmarks", description="pybroker's benchmarks."
    )
    parser.add_argument("names", nargs="*", metavar="name", help=f"of: {', '.join(names)}; all by default")
    parser.add_argument("--quick", action="store_true", help="fewer scenarios and rounds")
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="where the results go")
    options = parser.parse_args(arguments)
    unknown = [name for name in options.names if name not in names]
    if unknown:
        parser.error(f"no benchmark is called {unknown[0]}; there are: {', '.join(names)}")
    return options


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
