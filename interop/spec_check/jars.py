"""Jars from the Maven registry, fetched once and kept in ``interop/.cache``."""

import subprocess
from pathlib import Path

CACHE = Path(__file__).resolve().parents[1] / ".cache" / "jars"


def jar(group: str, artifact: str, version: str) -> Path:
    """The path of an artifact's jar. Exits with Maven's own words when it cannot be had."""
    path = CACHE / f"{artifact}-{version}.jar"
    if not path.exists():
        command = ["mvn", "-q", "-B", "dependency:copy", f"-Dartifact={group}:{artifact}:{version}"]
        done = subprocess.run(
            [*command, f"-DoutputDirectory={CACHE}"], capture_output=True, text=True, check=False
        )
        if done.returncode != 0:
            raise SystemExit(f"Maven could not fetch {artifact} {version}:\n{done.stdout}{done.stderr}")
    return path
