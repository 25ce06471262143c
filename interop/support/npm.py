"""Node programs, their libraries and a Node that is new enough, installed by npm into the cache."""

import hashlib
import shutil
import subprocess
from pathlib import Path

from interop.support.maven import CACHE
from interop.support.tools import ToolMissing, require_tool

PACKAGES = ("package.json", "package-lock.json")
INSTALL_TIMEOUT_S = 600
LAST_LINES = 1500


def command(sources: Path, name: str) -> list[str]:
    """Node of the cache and the program `NAME.mjs` of `sources`, copied to where its libraries are.

    The folder's package.json names `node` as one of the libraries.
    """
    packages = hashlib.sha256(b"\0".join((sources / source).read_bytes() for source in PACKAGES))
    folder = CACHE / "node" / packages.hexdigest()[:12]
    node = folder / "node_modules" / ".bin" / "node"
    complete = folder / "complete"
    if not complete.exists():
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
    for source in (*(sources / name for name in PACKAGES), sources / ".npmrc", *sources.glob("*.mjs")):
        shutil.copy(source, folder)
    if not complete.exists():
        _install(folder)
        complete.touch()
    return [str(node), str(folder / f"{name}.mjs")]


def _install(folder: Path) -> None:
    # The package `node` fetches the binary of this machine's kind by its install script.
    npm = [require_tool("npm", "npm"), "ci", "--no-audit", "--no-fund", "--loglevel=error"]
    done = subprocess.run(
        npm, cwd=folder, capture_output=True, text=True, timeout=INSTALL_TIMEOUT_S, check=False
    )
    node = folder / "node_modules" / "node" / "bin" / "node"
    if done.returncode != 0 or not node.exists():
        raise ToolMissing(f"npm could not install {folder}: {(done.stdout + done.stderr)[-LAST_LINES:]}")
