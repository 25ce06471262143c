import pytest

from tests.controller.cluster import fake_cluster


@pytest.fixture
async def cluster(tmp_path):
    """Three brokers, the first of them the controller."""
    async with fake_cluster(tmp_path) as three_brokers:
        yield three_brokers
