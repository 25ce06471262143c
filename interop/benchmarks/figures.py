"""Figures of several systems over several rounds: medians, ratios with their spread, targets, table, JSON."""

import json
import os
import platform
import statistics
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from msgspec import Struct, field


class Ratio(Struct, frozen=True):
    """One system's figure by another's: the median of the rounds' ratios, and the smallest and largest."""

    median: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.median:.2f} ({self.low:.2f}..{self.high:.2f})"


class Target(Struct, frozen=True):
    """A bound on a figure of ``system``, or with ``against`` on its ratio to another system's."""

    figure: str
    system: str
    bound: float
    against: str = ""
    at_least: bool = True

    def verdict(self, figures: "Figures") -> "Verdict | None":
        """None when the figure was not measured."""
        samples = figures.samples.get(self.figure, {})
        wanted = {self.system, self.against} - {""}
        if not all(samples.get(system) for system in wanted):
            return None
        if self.against:
            ratio = figures.ratio(self.figure, self.system, self.against)
            found, shown = ratio.median, str(ratio)
        else:
            found = figures.median(self.figure, self.system)
            shown = _number(found)
        holds = found >= self.bound if self.at_least else found <= self.bound
        versus = f" / {self.against}" if self.against else ""
        kind = "at least" if self.at_least else "at most"
        return Verdict(f"{self.figure}: {self.system}{versus} {shown}, {kind} {self.bound:g}", holds)


class Verdict(Struct, frozen=True):
    """Whether a target holds, with the line that says so."""

    line: str
    holds: bool


class Figures(Struct):
    """What was measured: figure -> system -> one sample per round."""

    title: str
    rounds: int
    pairs: Sequence[tuple[str, str]]
    """Which ratios the table shows, as (system, against)."""

    samples: dict[str, dict[str, list[float]]] = field(default_factory=dict)

    def add(self, figure: str, system: str, value: float) -> None:
        self.samples.setdefault(figure, {}).setdefault(system, []).append(value)

    def median(self, figure: str, system: str) -> float:
        return statistics.median(self.samples[figure][system])

    def ratio(self, figure: str, system: str, against: str) -> Ratio:
        """Of the rounds that both have. Figures that may be 0 give a ratio to at least a millionth."""
        by_system = self.samples[figure]
        ratios = [
            mine / max(theirs, 1e-6)
            for mine, theirs in zip(by_system[system], by_system[against], strict=False)
        ]
        return Ratio(statistics.median(ratios), min(ratios), max(ratios))

    def begin_with(self, earlier: dict[str, Any]) -> None:
        """Put the rounds of an earlier part of this run, as :meth:`as_json` told them, before these.

        Raises:
            ValueError: it measured something else: other code, other systems or other figures.
        """
        samples = {
            figure: {system: found["samples"] for system, found in by_system.items()}
            for figure, by_system in earlier["figures"].items()
        }
        measured = {figure: set(by_system) for figure, by_system in self.samples.items()}
        if {figure: set(by_system) for figure, by_system in samples.items()} != measured:
            raise ValueError("the rounds before these are of other systems or other figures")
        if earlier["commit"] != _commit():
            raise ValueError(f"the rounds before these are of {earlier['commit']}, these of {_commit()}")
        self.rounds += earlier["rounds"]
        for figure, by_system in self.samples.items():
            for system, later in by_system.items():
                by_system[system] = [*samples[figure][system], *later]

    @property
    def systems(self) -> list[str]:
        """All that have a sample, in the order of their first."""
        return list(dict.fromkeys(system for samples in self.samples.values() for system in samples))

    def table(self) -> str:
        """Medians, then the ratios, one line a figure."""
        pairs = [pair for pair in self.pairs if set(pair) <= set(self.systems)]
        rows = [["", *self.systems, *(f"{a} / {b}" for a, b in pairs)]]
        for figure, by_system in self.samples.items():
            row = [figure]
            row += [_number(self.median(figure, name)) if name in by_system else "-" for name in self.systems]
            row += [
                str(self.ratio(figure, a, b)) if a in by_system and b in by_system else "-" for a, b in pairs
            ]
            rows.append(row)
        widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
        lines = [
            "  ".join(
                cell.ljust(width) if column == 0 else cell.rjust(width)
                for column, (cell, width) in enumerate(zip(row, widths, strict=True))
            ).rstrip()
            for row in rows
        ]
        heading = f"{self.title} (medians of {self.rounds} rounds; ratios: median (min..max) of the rounds')"
        return "\n".join([heading, *lines])

    def as_json(self, verdicts: Sequence[Verdict]) -> dict[str, Any]:
        return {
            "title": self.title,
            "commit": _commit(),
            "machine": {
                "cpus": os.cpu_count(), "system": platform.platform(), "python": platform.python_version(),
            },
            "rounds": self.rounds,
            "figures": {
                figure: {
                    system: {"median": statistics.median(samples), "samples": samples}
                    for system, samples in by_system.items()
                }
                for figure, by_system in self.samples.items()
            },
            "targets": [{"target": verdict.line, "holds": verdict.holds} for verdict in verdicts],
        }  # fmt: skip


def report(figures: Figures, targets: Sequence[Target], json_file: Path | None, *, add: bool = False) -> bool:
    """Print the table and the targets, write the JSON; whether all measured targets hold.

    With ``add`` the rounds that are in the JSON file already count too, and stay there.
    """
    if add and json_file is not None and json_file.exists():
        figures.begin_with(json.loads(json_file.read_text()))
    verdicts = [verdict for target in targets if (verdict := target.verdict(figures)) is not None]
    sys.stdout.write(figures.table() + "\n")
    for verdict in verdicts:
        sys.stdout.write(f"{'ok' if verdict.holds else 'MISSED':7} {verdict.line}\n")
    if json_file is not None:
        json_file.write_text(json.dumps(figures.as_json(verdicts), indent=2) + "\n")
    return all(verdict.holds for verdict in verdicts)


def progress(text: str) -> None:
    """What is going on, for the one who waits; not part of the result."""
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


def _commit() -> str:
    """What is measured: the checkout's commit, with a + when files differ from it."""
    git = ["git", "-C", str(Path(__file__).resolve().parent)]
    head = subprocess.run([*git, "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    code = [":/", ":(exclude,top)interop/benchmarks/results"]
    changed = subprocess.run([*git, "diff", "--quiet", "HEAD", "--", *code], capture_output=True, check=False)
    return head.stdout.strip() + ("+" if changed.returncode else "") or "unknown"


def _number(value: float) -> str:
    if value >= 1000:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.3f}"
