"""The picture of a run: throughput by scenario, latency, start and memory, one bar a system.

Run ``python -m interop.benchmarks.picture FOLDER``: reads the JSON files that the benchmarks have written
there and leaves ``benchmarks.png`` beside them.
"""

import json
import sys
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

COLOURS = {
    "pybroker": "#1f77b4", "pybroker (header)": "#7fb3d5", "kafka": "#444444", "mock": "#2ca02c",
    "kfake": "#ff7f0e", "import trio": "#aec7e8", "python": "#d9d9d9",
}  # fmt: skip
BAR = 0.8


def draw(folder: Path) -> Path:
    """Four panels; what has not been measured is left out."""
    figures = _load(folder)
    produced = {name: by for name, by in figures.items() if name.startswith("produce ") and "MB/s" in name}
    consumed = {name: by for name, by in figures.items() if name.startswith("consume ") and "MB/s" in name}
    small = {name: by for name, by in figures.items() if name.startswith("requests/s") and "CPU" not in name}
    waits = {name: by for name, by in figures.items() if name.endswith(", ms") and name.startswith("produce")}
    start = {name: by for name, by in figures.items() if name.startswith(("start", "memory"))}
    height = 0.32 * (len(produced) + len(consumed)) + 9
    picture, axes = plt.subplots(5, 1, figsize=(11, height), height_ratios=[
        max(2, len(panel)) for panel in (produced, consumed, small, waits, start)
    ])  # fmt: skip
    panels = (
        (produced, "produce, MB/s (longer is better)", False),
        (consumed, "consume, MB/s (longer is better)", False),
        (small, "one-message requests, 1/s (longer is better)", False),
        (waits, "latency at 1,000 messages/s, ms (shorter is better; logarithmic)", True),
        (start, "start and memory (shorter is better; logarithmic)", True),
    )
    for axis, (panel, title, logarithmic) in zip(axes, panels, strict=True):
        _bars(axis, panel, title, logarithmic=logarithmic)
    handles: dict[str, Any] = {}
    for axis in axes:
        for handle, label in zip(*axis.get_legend_handles_labels(), strict=True):
            handles.setdefault(label, handle)
    picture.legend(list(handles.values()), list(handles), loc="upper center", ncols=len(handles))
    picture.tight_layout(rect=(0, 0, 1, 0.97))
    target = folder / "benchmarks.png"
    picture.savefig(target, dpi=110)
    return target


def _load(folder: Path) -> dict[str, dict[str, float]]:
    """figure -> system -> median, of all comparing benchmarks."""
    medians = {}
    for file in sorted(folder.glob("*.json")):
        content: dict[str, Any] = json.loads(file.read_text())
        for figure, by_system in content.get("figures", {}).items():
            medians[figure] = {system: found["median"] for system, found in by_system.items()}
    return medians


def _bars(axis: Any, panel: dict[str, dict[str, float]], title: str, *, logarithmic: bool) -> None:
    systems = [name for name in COLOURS if any(name in by_system for by_system in panel.values())]
    width = BAR / max(1, len(systems))
    for number, system in enumerate(systems):
        places, values = [], []
        for row, by_system in enumerate(panel.values()):
            if system in by_system:
                places.append(row + number * width - BAR / 2 + width / 2)
                values.append(by_system[system])
        axis.barh(places, values, width, label=system, color=COLOURS[system])
    names = [figure.removesuffix(", MB/s").removesuffix(", ms") for figure in panel]
    axis.set_yticks(range(len(panel)), names, fontsize=7)
    axis.invert_yaxis()
    axis.set_title(title, fontsize=9, loc="left")
    if logarithmic:
        axis.set_xscale("log")


if __name__ == "__main__":
    sys.stdout.write(f"{draw(Path(sys.argv[1]))}\n")
