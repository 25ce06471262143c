"""What holds for the whole suite."""

from pathlib import Path

import pytest

TESTS = Path(__file__).parent
ROOMS_NEAR_THE_SYSTEM = frozenset({"server", "storage", "replication", "handlers"})
"""Their tests run once more with every portable fallback forced (``make test``)."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        room = item.path.relative_to(TESTS).parts[0] if item.path.is_relative_to(TESTS) else ""
        if room in ROOMS_NEAR_THE_SYSTEM:
            item.add_marker(pytest.mark.fallbacks)
