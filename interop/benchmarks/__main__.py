"""`python -m interop.benchmarks [names...] [--quick] [--json FOLDER]`: the benchmarks, one after the other.

Each one prints its own table and says which targets it misses. They are modules of this package, and can be
run alone with options of their own.
"""

import argparse
import subprocess
import sys
from pathlib import Path

from attrs import frozen


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
)


def main(arguments: list[str]) -> int:
    options = _parse(arguments)
    chosen = [benchmark for benchmark in BENCHMARKS if not options.names or benchmark.name in options.names]
    missed = []
    for benchmark in chosen:
        print(f"\n=== {benchmark.name}: {benchmark.about}", flush=True)
        command = [sys.executable, "-m", f"interop.benchmarks.{benchmark.name}"]
        command += benchmark.quick if options.quick else ()
        if options.json:
            options.json.mkdir(parents=True, exist_ok=True)
            command += ["--json", str(options.json / f"{benchmark.name}.json")]
        if subprocess.run(command, check=False).returncode:
            missed.append(benchmark.name)
    if missed:
        print(f"\ntargets missed in: {', '.join(missed)}")
    return 1 if missed else 0


def _parse(arguments: list[str]) -> argparse.Namespace:
    names = [benchmark.name for benchmark in BENCHMARKS]
    parser = argparse.ArgumentParser(
        prog="python -m interop.benchmarks", description="pybroker's benchmarks."
    )
    parser.add_argument("names", nargs="*", metavar="name", help=f"of: {', '.join(names)}; all by default")
    parser.add_argument("--quick", action="store_true", help="fewer rounds")
    parser.add_argument(
        "--json", type=Path, metavar="FOLDER", help="also write each benchmark's figures there"
    )
    options = parser.parse_args(arguments)
    unknown = [name for name in options.names if name not in names]
    if unknown:
        parser.error(f"no benchmark is called {unknown[0]}; there are: {', '.join(names)}")
    return options


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
