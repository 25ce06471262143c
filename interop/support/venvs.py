"""Further versions of the Python clients: the same test files, run once more in a venv of the cache."""

import hashlib
import os
import subprocess
import sys
import venv
from collections.abc import Mapping, Sequence
from pathlib import Path

from msgspec import Struct

from interop.support.maven import CACHE
from interop.support.servers import CHECKOUT, SERVER_PYTHON
from interop.support.tools import ToolMissing

HARNESS = ("msgspec", "kazoo", "pytest>=8.3", "pytest-timeout")

CODECS = ("python-snappy", "lz4", "xxhash", "zstandard", "crc32c")
"""xxhash makes the wrong checksum that lz4 has in message sets of old clients."""


class OtherVersion(Struct, frozen=True):
    """An ecosystem's folder, to be run with these requirements instead of the project's own."""

    folder: str
    requirements: tuple[str, ...]


OTHER_VERSIONS: Mapping[str, OtherVersion] = {
    "confluent-kafka-2.3": OtherVersion("librdkafka", ("confluent-kafka==2.3.0",)),
    "kafka-python-2.0": OtherVersion("kafka_python", ("kafka-python==2.0.2", *CODECS)),
    "kafka-python-1.4": OtherVersion("kafka_python", ("kafka-python==1.4.4", *CODECS)),
}


def run(name: str, arguments: Sequence[str]) -> int:
    """`python -m interop` with a client of another version; the exit code is pytest's."""
    environment = {
        **os.environ,
        SERVER_PYTHON: os.environ.get(SERVER_PYTHON, sys.executable),
        "PYTHONPATH": str(CHECKOUT),
    }
    python = interpreter(name, (*OTHER_VERSIONS[name].requirements, *HARNESS))
    command = [python, "-m", "interop", OTHER_VERSIONS[name].folder, *arguments]
    return subprocess.run(command, env=environment, cwd=CHECKOUT, check=False).returncode


def is_inside() -> bool:
    """Whether this process is such a run."""
    return SERVER_PYTHON in os.environ


def interpreter(name: str, requirements: Sequence[str]) -> str:
    """The Python of a venv in the cache with these requirements; it is made when they are new."""
    digest = hashlib.sha256("\n".join((sys.version, *requirements)).encode()).hexdigest()[:12]
    folder = CACHE / "venvs" / f"{name}-{digest}"
    python = folder / "bin" / "python"
    complete = folder / "complete"
    if not complete.exists():
        venv.create(folder, with_pip=True, clear=True)
        _install(python, requirements)
        complete.touch()
    return str(python)


def _install(python: Path, requirements: Sequence[str]) -> None:
    command = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *requirements]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    if done.returncode != 0:
        raise ToolMissing(f"pip could not install {' '.join(requirements)}: {done.stderr[-1000:]}")
