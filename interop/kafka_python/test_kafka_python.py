"""kafka-python: the journeys of every client."""

from collections.abc import Iterator

import pytest

from interop.kafka_python.client import KafkaPython
from interop.support.group_journeys import GroupJourneys
from interop.support.journeys import Journeys
from interop.support.servers import Server


@pytest.fixture
def client(server: Server) -> Iterator[KafkaPython]:
    """A new client for each test."""
    client = KafkaPython(server.bootstrap)
    yield client
    client.close()


class TestKafkaPython(Journeys):
    """Topics, records, restart."""


class TestKafkaPythonGroups(GroupJourneys):
    """Consumer groups."""
