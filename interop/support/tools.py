"""Programs of the machine. A tool that cannot be had is a failure with its reason, never a skip."""

import os
import shutil
import subprocess


class ToolMissing(AssertionError):
    """A program is not there and could not be installed; the message says why."""


def require_tool(program: str, debian_package: str) -> str:
    """The path of `program`, installed from `debian_package` when this process may; raises ToolMissing."""
    found = shutil.which(program)
    if found is None:
        _install(program, debian_package)
        found = shutil.which(program)
    if found is None:
        raise ToolMissing(f"{debian_package} is installed but brings no {program} on the PATH")
    return found


def _install(program: str, debian_package: str) -> None:
    if shutil.which("apt-get") is None or os.geteuid() != 0:
        raise ToolMissing(f"{program} is missing: install it ({debian_package} on Debian), or run as root")
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for command in (["apt-get", "update"], ["apt-get", "install", "-y", debian_package]):
        done = subprocess.run(
            command, capture_output=True, text=True, env=environment, timeout=600, check=False
        )
        if done.returncode != 0:
            raise ToolMissing(f"{' '.join(command)} failed: {(done.stdout + done.stderr)[-1000:]}")
