"""Go programs, built into the cache by the machine's Go and its module proxy."""

import hashlib
import subprocess
from pathlib import Path

from interop.support.maven import CACHE
from interop.support.tools import ToolMissing, require_tool

BUILD_TIMEOUT_S = 600


def program(module: Path, package: str, name: str) -> Path:
    """The program of a package in the module's folder, compiled when a source or a version has changed.

    Args:
        module: the folder with go.mod.
        package: a path below it, `.` for itself.
        name: what the program is called in the cache.
    """
    sources = [module / "go.mod", module / "go.sum", *module.rglob("*.go")]
    digest = hashlib.sha256(b"\0".join(path.read_bytes() for path in sorted(sources)))
    built = CACHE / "go" / f"{name}-{digest.hexdigest()[:12]}"
    if not built.exists():
        built.parent.mkdir(parents=True, exist_ok=True)
        _build(module, package, built)
    return built


def _build(module: Path, package: str, built: Path) -> None:
    partial = built.with_suffix(".partial")
    command = [require_tool("go", "golang"), "build", "-o", str(partial), f"./{package}"]
    done = subprocess.run(
        command, cwd=module, capture_output=True, text=True, timeout=BUILD_TIMEOUT_S, check=False
    )
    if done.returncode != 0:
        raise ToolMissing(f"{built.name} could not be built: {(done.stdout + done.stderr)[-2000:]}")
    partial.rename(built)
