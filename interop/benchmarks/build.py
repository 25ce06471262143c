"""The native programs of the benchmarks, built into interop/.cache: the C load client and mock cluster on the
librdkafka of confluent-kafka's wheel, and franz-go's kfake.

The wheel carries the library without its headers; those come from Debian's librdkafka-dev, whose older
version declares all that is used here.
"""

import hashlib
import shutil
import subprocess
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from interop.support.maven import CACHE
from interop.support.tools import ToolMissing, require_tool

HERE = Path(__file__).resolve().parent
HEADER = Path("/usr/include/librdkafka/rdkafka_mock.h")


def c_program(name: str) -> Path:
    """`native/NAME.c`, compiled when it or the library has changed."""
    source = HERE / "native" / f"{name}.c"
    library = wheel_library()
    _require_headers()
    compiler = require_tool("gcc", "gcc")
    command = [
        compiler, "-O2", "-Wall", "-Wextra", str(source), str(library), "-pthread",
        f"-Wl,-rpath,{library.parent}", "-Wl,--allow-shlib-undefined",
    ]  # fmt: skip
    return _built(name, [source], str(library), command, HERE)


def kfake_program() -> Path:
    """franz-go's fake cluster behind our own main function."""
    folder = HERE / "kfake"
    sources = [folder / "main.go", folder / "go.mod", folder / "go.sum"]
    return _built("kfake", sources, "", [require_tool("go", "golang"), "build"], folder)


def wheel_library() -> Path:
    """The librdkafka inside the installed confluent-kafka wheel; raises ToolMissing."""
    spec = find_spec("confluent_kafka")
    if spec is None or spec.origin is None:
        raise ToolMissing("confluent-kafka is not installed (pip install -e '.[dev]')")
    libraries = Path(spec.origin).parent.parent / "confluent_kafka.libs"
    found = sorted(libraries.glob("librdkafka-*.so*"))
    if not found:
        raise ToolMissing(f"no librdkafka in {libraries}: confluent-kafka was not installed from a wheel")
    return found[0]


def _require_headers() -> None:
    if HEADER.exists():
        return
    apt = require_tool("apt-get", "apt")
    done = subprocess.run(
        [apt, "install", "-y", "librdkafka-dev"], capture_output=True, text=True, check=False
    )
    if not HEADER.exists():
        raise ToolMissing(f"{HEADER} is missing (librdkafka-dev on Debian): {done.stderr[-500:]}")


def _built(name: str, sources: Sequence[Path], salt: str, command: list[str], folder: Path) -> Path:
    digest = hashlib.sha256(b"\0".join([salt.encode(), *(source.read_bytes() for source in sources)]))
    program = CACHE / "benchmarks" / f"{name}-{digest.hexdigest()[:12]}"
    if program.exists():
        return program
    program.parent.mkdir(parents=True, exist_ok=True)
    partial = program.with_suffix(".partial")
    done = subprocess.run(
        [*command, "-o", str(partial)], cwd=folder, capture_output=True, text=True, timeout=600, check=False
    )
    if done.returncode != 0:
        raise ToolMissing(f"{name} could not be built: {(done.stdout + done.stderr)[-2000:]}")
    shutil.move(partial, program)
    return program
