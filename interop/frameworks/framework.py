"""A stream framework in a venv of its own, and its counting program as a child process."""

import hashlib
import subprocess
import sys
import venv
from pathlib import Path

from msgspec import Struct

from interop.support.maven import CACHE
from interop.support.process import ChildProcess
from interop.support.tools import ToolMissing

APPS = Path(__file__).resolve().parent / "apps"
INSTALL_TIMEOUT_S = 600


class Framework(Struct, frozen=True):
    """`name` at `version` of PyPI; `app` is the program in apps/."""

    name: str
    version: str
    app: str
    start_fault: str = ""
    """What it does wrong by itself while it or the broker starts, seen against Apache Kafka too."""

    def count(
        self, bootstrap: str, application: str, source: str, sink: str, partitions: int, folder: Path
    ) -> ChildProcess:
        """The program that counts `source` by key into `sink`, not yet started; its state is in `folder`."""
        state = folder / "state"
        state.mkdir(parents=True, exist_ok=True)
        command = [self._python(), str(APPS / f"{self.app}.py")]
        command += [bootstrap, application, source, sink, str(state), str(partitions)]
        return ChildProcess(command, folder / "app.log", {"PYTHONUNBUFFERED": "1"})

    def _python(self) -> str:
        """The interpreter of the venv, which is made when the version is new."""
        requirement = f"{self.name}=={self.version}"
        digest = hashlib.sha256(f"{sys.version}\n{requirement}".encode()).hexdigest()[:12]
        folder = CACHE / "venvs" / f"{self.name}-{digest}"
        complete = folder / "complete"
        if not complete.exists():
            venv.create(folder, with_pip=True, clear=True)
            _install(folder / "bin" / "python", requirement)
            complete.touch()
        return str(folder / "bin" / "python")


def _install(python: Path, requirement: str) -> None:
    command = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", requirement]
    done = subprocess.run(command, capture_output=True, text=True, timeout=INSTALL_TIMEOUT_S, check=False)
    if done.returncode != 0:
        raise ToolMissing(f"pip could not install {requirement}: {done.stderr[-1000:]}")


FRAMEWORKS = (
    Framework(
        "faust-streaming",
        "0.15.3",
        "faust_app",
        start_fault="results are lost, or come twice, while it or the broker starts",
    ),
    Framework("quixstreams", "3.28.1", "quix_app"),
)
