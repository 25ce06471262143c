"""More segments than descriptors: a broker starts, serves and stops all the same."""

import sys
from pathlib import Path

import pytest

from interop.soak.many_partitions import Run


@pytest.mark.skipif(sys.platform == "win32", reason="there is no ulimit")
async def test_more_segments_than_descriptors(tmp_path: Path) -> None:
    """The same with 10,000 partitions under ``ulimit -n 8192`` is ``make soak KIND=many-partitions``."""
    run = Run(tmp_path, partitions=150, segments=3, descriptors=256)
    try:
        await run.all()
    finally:
        run.process.kill9()
    assert 0 < run.most_descriptors < 256 or sys.platform != "linux"
