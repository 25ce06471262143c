"""The Go agents, built into the cache by the machine's Go and its module proxy."""

import hashlib
import subprocess
from pathlib import Path

from interop.support.maven import CACHE
from interop.support.tools import ToolMissing, require_tool

HERE = Path(__file__).resolve().parent
BUILD_TIMEOUT_S = 600


def agent(name: str) -> Path:
    """The program of `cmd/NAME`, compiled when a source or a dependency's version has changed."""
    sources = [HERE / "go.mod", HERE / "go.sum", *(HERE / "agent").glob("*.go")]
    sources += (HERE / "cmd" / name).glob("*.go")
    digest = hashlib.sha256(b"\0".join(path.read_bytes() for path in sorted(sources)))
    program = CACHE / "go" / f"{name}-{digest.hexdigest()[:12]}"
    if not program.exists():
        program.parent.mkdir(parents=True, exist_ok=True)
        _build(name, program)
    return program


def _build(name: str, program: Path) -> None:
    partial = program.with_suffix(".partial")
    command = [require_tool("go", "golang"), "build", "-o", str(partial), f"./cmd/{name}"]
    done = subprocess.run(
        command, cwd=HERE, capture_output=True, text=True, timeout=BUILD_TIMEOUT_S, check=False
    )
    if done.returncode != 0:
        raise ToolMissing(f"the agent {name} could not be built: {(done.stdout + done.stderr)[-2000:]}")
    partial.rename(program)
