"""The C load client as a function, and the options that all comparing benchmarks share."""

import argparse
import json
import subprocess
from pathlib import Path
from typing import Any

from interop.benchmarks import build
from interop.benchmarks.systems import SYSTEMS, System
from interop.support.process import LOCALHOST

TIMEOUT_S = 180


class Load:
    """Runs `load`; one process per call, so that no call inherits anything from the one before."""

    def __init__(self) -> None:
        self._program = str(build.c_program("load"))

    def __call__(self, kind: str, system: System, topic: str, **options: object) -> dict[str, Any]:
        """What the client printed; raises AssertionError with its complaint when it failed."""
        command = [self._program, kind, f"bootstrap={LOCALHOST}:{system.port}", f"topic={topic}"]
        command += [f"{key}={value}" for key, value in options.items()]
        done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
        assert done.returncode == 0, f"{system.name}: {' '.join(command)}: {done.stderr[-1000:]}"
        figures: dict[str, Any] = json.loads(done.stdout)
        return figures


def parse_options(description: str | None, rounds: int) -> argparse.Namespace:
    """--quick, --rounds, --systems, --json and --add, as every module that compares systems takes them."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="fewer scenarios and rounds")
    parser.add_argument("--rounds", type=int, default=0, help=f"by default {rounds}, and 2 with --quick")
    parser.add_argument(
        "--systems", default=",".join(SYSTEMS), help="which to measure, by commas (default: all)"
    )
    parser.add_argument("--json", type=Path, help="also write every sample to this file")
    parser.add_argument("--add", action="store_true", help="to the rounds that the JSON file holds already")
    options = parser.parse_args()
    options.rounds = options.rounds or (2 if options.quick else rounds)
    options.systems = options.systems.split(",")
    unknown = sorted(set(options.systems) - set(SYSTEMS))
    if unknown:
        parser.error(f"there is no system {unknown[0]}; there are: {', '.join(SYSTEMS)}")
    return options


def rotated(systems: list[System], by: int) -> list[System]:
    """The systems in an order that differs from round to round: none is always the first."""
    by %= len(systems)
    return systems[by:] + systems[:by]
