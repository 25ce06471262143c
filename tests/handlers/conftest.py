"""What handlers' tests share."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trio

from tests.handlers.group_bench import GroupBench


@pytest.fixture
async def group_bench(tmp_path: Path, nursery: trio.Nursery) -> AsyncIterator[GroupBench]:
    """A started coordinator behind its handlers."""
    bench = GroupBench(tmp_path)
    await bench.start(nursery)
    yield bench
    await bench.stop()
