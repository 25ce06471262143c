"""Class paths of Java programs, resolved by Maven into the interop cache.

Each version set becomes a small pom; Maven's own local repository keeps the jars, the cache keeps the class
path, keyed by the set's content, so that a second run asks no registry.
"""

import hashlib
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

from interop.support.tools import ToolMissing, require_tool

CACHE = Path(__file__).resolve().parent.parent / ".cache"

SLF4J = "1.7.36"
KAFKA_39 = "3.9.2"
ZOOKEEPER = "3.8.4"
"""The version that Kafka 3.9 comes with; the two other roots are what its server needs and does not name."""
KAFKA_4 = "4.3.1"
"""The newest line whose tools can be resolved whole: 4.4.0 names a kafka-tools-api that is not published."""

_LOG4J_1 = f"org.slf4j:slf4j-reload4j:{SLF4J}"
_SIMPLE = f"org.slf4j:slf4j-simple:{SLF4J}"


def _flink(connector: str, flink: str) -> tuple[str, ...]:
    parts = ("connector-base", "streaming-java", "clients")
    return (
        f"org.apache.flink:flink-connector-kafka:{connector}",
        *(f"org.apache.flink:flink-{part}:{flink}" for part in parts),
        _SIMPLE,
    )


VERSION_SETS: Mapping[str, tuple[str, ...]] = {
    "zookeeper-3.8": (
        f"org.apache.zookeeper:zookeeper:{ZOOKEEPER}",
        "io.dropwizard.metrics:metrics-core:4.1.12.1",
        "org.xerial.snappy:snappy-java:1.1.10.5",
        _LOG4J_1,
    ),
    "tools-3.9": (
        f"org.apache.kafka:kafka_2.13:{KAFKA_39}",
        f"org.apache.kafka:kafka-tools:{KAFKA_39}",
        _LOG4J_1,
    ),
    "tools-4": (
        f"org.apache.kafka:kafka_2.13:{KAFKA_4}",
        f"org.apache.kafka:kafka-tools:{KAFKA_4}",
        _SIMPLE,
    ),
    "streams-3.9": (f"org.apache.kafka:kafka-streams:{KAFKA_39}", _SIMPLE),
    "streams-4": (f"org.apache.kafka:kafka-streams:{KAFKA_4}", _SIMPLE),
    "flink-1.20": _flink("3.4.0-1.20", "1.20.5"),
    "flink-2": _flink("5.0.0-2.2", "2.2.1"),
    "connect-3.9": (
        f"org.apache.kafka:connect-runtime:{KAFKA_39}",
        f"org.apache.kafka:connect-file:{KAFKA_39}",
        _LOG4J_1,
    ),
    "clients-0.9": ("org.apache.kafka:kafka-clients:0.9.0.1", _SIMPLE),
    "clients-0.10": ("org.apache.kafka:kafka-clients:0.10.2.2", _SIMPLE),
    "clients-1.1": ("org.apache.kafka:kafka-clients:1.1.1", _SIMPLE),
    "clients-2.0": ("org.apache.kafka:kafka-clients:2.0.1", _SIMPLE),
    "clients-2.8": ("org.apache.kafka:kafka-clients:2.8.2", _SIMPLE),
    "clients-3.9": (f"org.apache.kafka:kafka-clients:{KAFKA_39}", _SIMPLE),
    "testcontainers": ("org.testcontainers:testcontainers-kafka:2.0.5", _SIMPLE),
    "clients-4": ("org.apache.kafka:kafka-clients:4.4.0", _SIMPLE),
}
"""Name of a class path -> `group:artifact:version` of its roots."""


def class_path(set_name: str) -> str:
    """The resolved class path of a version set; raises ToolMissing with Maven's reason."""
    coordinates = VERSION_SETS[set_name]
    digest = hashlib.sha256("\n".join(coordinates).encode()).hexdigest()[:12]
    folder = CACHE / "maven" / f"{set_name}-{digest}"
    cached = folder / "classpath"
    if cached.exists():
        path = cached.read_text().strip()
        if all(Path(jar).exists() for jar in path.split(":")):
            return path
    folder.mkdir(parents=True, exist_ok=True)
    pom = folder / "pom.xml"
    pom.write_text(_pom(coordinates))
    return _resolve(pom, cached)


def _resolve(pom: Path, output: Path) -> str:
    maven = require_tool("mvn", "maven")
    partial = output.with_suffix(".partial")
    command = [
        maven, "-q", "-B", "-f", str(pom), "dependency:build-classpath", f"-Dmdep.outputFile={partial}",
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    if done.returncode != 0 or not partial.exists():
        raise ToolMissing(f"Maven could not resolve {pom.parent.name}: {(done.stdout + done.stderr)[-1500:]}")
    shutil.move(partial, output)
    return output.read_text().strip()


def _pom(coordinates: tuple[str, ...]) -> str:
    return (
        '<project xmlns="http://maven.apache.org/POM/4.0.0"><modelVersion>4.0.0</modelVersion>'
        "<groupId>interop</groupId><artifactId>interop</artifactId><version>1</version><dependencies>"
        + "".join(_dependency(*coordinate.split(":")) for coordinate in coordinates)
        + "</dependencies></project>"
    )


def _dependency(group: str, artifact: str, version: str) -> str:
    return (
        f"<dependency><groupId>{group}</groupId><artifactId>{artifact}</artifactId>"
        f"<version>{version}</version></dependency>"
    )
