"""The Rust agent, built into the cache by the machine's cargo and the crates' registry."""

import hashlib
import os
import shutil
import subprocess
from pathlib import Path

from interop.support.maven import CACHE
from interop.support.tools import ToolMissing, require_tool

HERE = Path(__file__).resolve().parent
SOURCES = (HERE / "Cargo.toml", HERE / "src" / "main.rs")
BUILD_TIMEOUT_S = 1800
PROGRAM = "rskafka-agent"


def agent() -> Path:
    """The program, compiled when source or dependencies have changed: four minutes of one core."""
    digest = hashlib.sha256(b"\0".join(path.read_bytes() for path in SOURCES)).hexdigest()[:12]
    program = CACHE / "rust" / f"{PROGRAM}-{digest}"
    if not program.exists():
        _build(CACHE / "rust" / f"source-{digest}", program)
    return program


def _build(folder: Path, program: Path) -> None:
    # Built from a copy, so that cargo's own files stay out of the checkout.
    (folder / "src").mkdir(parents=True, exist_ok=True)
    for source in SOURCES:
        shutil.copy(source, folder / source.relative_to(HERE))
    target = CACHE / "rust" / "target"
    command = [require_tool("cargo", "cargo"), "build", "--quiet"]
    done = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, timeout=BUILD_TIMEOUT_S, check=False,
        env={**os.environ, "CARGO_TARGET_DIR": str(target)},
    )  # fmt: skip
    if done.returncode != 0:
        raise ToolMissing(f"{PROGRAM} could not be built: {(done.stdout + done.stderr)[-2000:]}")
    shutil.copy(target / "debug" / PROGRAM, program)
