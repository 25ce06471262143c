"""A session with a real ZooKeeper, through a proxy that can cut the connection."""

import pytest

from tests.metadata.stores import chroot_settings, zookeeper_under_test
from tests.support.cut_proxy import cut_proxy


@pytest.fixture
async def proxy(zookeeper):
    async with cut_proxy(zookeeper.port) as proxy:
        yield proxy


@pytest.fixture
async def behind_proxy(zookeeper, proxy):
    """Sessions whose connections go through the proxy."""
    settings = chroot_settings(zookeeper, hosts=f"127.0.0.1:{proxy.port}")
    async with zookeeper_under_test(settings) as under_test:
        yield under_test


@pytest.fixture
async def direct(zookeeper, behind_proxy):
    """Sessions with the same tree that no cut reaches."""
    settings = chroot_settings(zookeeper, chroot=behind_proxy.settings.chroot)
    async with zookeeper_under_test(settings) as under_test:
        yield under_test
