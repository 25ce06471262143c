"""A Java program of interop/java, compiled into the cache and spoken to over its standard streams."""

import hashlib
import select
import struct
import subprocess
from pathlib import Path
from typing import IO

from interop.support import maven
from interop.support.tools import require_tool

SOURCES = Path(__file__).resolve().parent.parent / "java"
HEAP = "-Xmx192m"


def compiled(program: str, set_name: str) -> str:
    """The class path of `program` compiled against a version set; compiles when source or set changed."""
    source = SOURCES / f"{program}.java"
    class_path = maven.class_path(set_name)
    sources = b"".join(path.read_bytes() for path in sorted(SOURCES.glob("*.java")))
    digest = hashlib.sha256(sources + class_path.encode()).hexdigest()[:12]
    folder = maven.CACHE / "java" / f"{program}-{set_name}-{digest}"
    if not (folder / f"{program}.class").exists():
        folder.mkdir(parents=True, exist_ok=True)
        compiler = require_tool("javac", "default-jdk-headless")
        command = [
            compiler,
            "-nowarn",
            "-cp",
            class_path,
            "-sourcepath",
            str(SOURCES),
            "-d",
            str(folder),
            str(source),
        ]
        done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
        assert done.returncode == 0, f"{source.name} against {set_name}: {done.stderr}"
    return f"{folder}:{class_path}"


class Jvm:
    """One JVM that runs `program` of interop/java; big-endian values as Java's DataInput writes them."""

    def __init__(self, program: str, set_name: str, *arguments: str) -> None:
        self._name = f"{program} ({set_name})"
        log_folder = maven.CACHE / "logs"
        log_folder.mkdir(parents=True, exist_ok=True)
        self.log_file = log_folder / f"{program}-{set_name}.log"
        command = [
            require_tool("java", "default-jdk-headless"), HEAP, "-XX:+UseSerialGC",
            "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
            f"-Dlog4j.configuration=file:{SOURCES / 'log4j.properties'}",
            "-cp", compiled(program, set_name), program, *arguments,
        ]  # fmt: skip
        with self.log_file.open("wb") as log:
            self._process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, bufsize=0
            )

    @property
    def is_running(self) -> bool:
        return self._process.poll() is None

    def send(self, request: bytes) -> None:
        pipe = self._process.stdin
        assert pipe is not None
        view = memoryview(request)
        while view:
            view = view[pipe.write(view) :]

    def answer(self, timeout_s: float) -> "Answer":
        """The stream of answers; a read that takes longer than `timeout_s` ends the JVM and raises."""
        assert self._process.stdout is not None
        return Answer(self, self._process.stdout, timeout_s)

    def kill(self) -> None:
        self._process.kill()
        self._process.wait(10)

    def close(self) -> None:
        """End of input is the program's signal to end."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self.kill()

    def describe_failure(self, what: str) -> AssertionError:
        self.kill()
        tail = "\n".join(self.log_file.read_text(errors="replace").splitlines()[-20:])
        return AssertionError(f"{self._name} {what}\n{tail}")


class Answer:
    """Typed reads from a JVM's standard output."""

    def __init__(self, jvm: Jvm, pipe: IO[bytes], timeout_s: float) -> None:
        self._jvm = jvm
        self._pipe = pipe
        self._timeout_s = timeout_s

    def int8(self) -> int:
        return self._exactly(1)[0]

    def int32(self) -> int:
        return int(struct.unpack(">i", self._exactly(4))[0])

    def int64(self) -> int:
        return int(struct.unpack(">q", self._exactly(8))[0])

    def text(self) -> str:
        return self._exactly(struct.unpack(">H", self._exactly(2))[0]).decode()

    def blob(self) -> bytes | None:
        length = self.int32()
        return None if length < 0 else self._exactly(length)

    def _exactly(self, size: int) -> bytes:
        chunks = bytearray()
        while len(chunks) < size:
            ready, _, _ = select.select([self._pipe], [], [], self._timeout_s)
            if not ready:
                raise self._jvm.describe_failure(f"gave no answer in {self._timeout_s:g} s")
            chunk = self._pipe.read(size - len(chunks))
            if not chunk:
                raise self._jvm.describe_failure("ended")
            chunks += chunk
        return bytes(chunks)


def text(value: str) -> bytes:
    """A string as DataInput.readUTF reads it (the suite's names hold neither NUL nor surrogates)."""
    encoded = value.encode()
    return struct.pack(">H", len(encoded)) + encoded


def blob(value: bytes | None) -> bytes:
    return struct.pack(">i", -1) if value is None else struct.pack(">i", len(value)) + value
