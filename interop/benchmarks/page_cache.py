"""What the system's page cache has of a folder's files: nothing or everything. Only for Linux."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

_READ_BYTES = 1 << 20


def drop(folder: Path) -> None:
    """Writes out what is dirty, and has the system forget every page of every file."""
    for fd in _open_files(folder):
        os.fsync(fd)
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)


def warm(folder: Path) -> None:
    """Reads every file from its beginning to its end."""
    buffer = bytearray(_READ_BYTES)
    for fd in _open_files(folder):
        while os.readv(fd, [buffer]):
            pass


def cached_share(folder: Path) -> float:
    """How much of the files' bytes is in the page cache, from 0 to 1; as fincore tells it."""
    paths = [str(path) for path in _files(folder) if path.stat().st_size]
    found = subprocess.run(
        ["fincore", "--bytes", "--noheadings", "--output", "RES,SIZE", *paths],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    rows = [[int(cell) for cell in line.split()] for line in found.stdout.splitlines()]
    cached, total = (sum(column) for column in zip(*rows, strict=True))
    # The cache counts pages, so small files have more in it than they are long.
    return min(1.0, cached / total)


def _files(folder: Path) -> Iterator[Path]:
    return (path for path in folder.rglob("*") if path.is_file())


def _open_files(folder: Path) -> Iterator[int]:
    for path in _files(folder):
        fd = os.open(path, os.O_RDONLY)
        try:
            yield fd
        finally:
            os.close(fd)
