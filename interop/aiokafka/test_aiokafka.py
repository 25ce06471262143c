"""aiokafka: the journeys of every client."""

from collections.abc import Iterator

import pytest

from interop.aiokafka.client import Aiokafka
from interop.support.group_journeys import GroupJourneys
from interop.support.journeys import Journeys
from interop.support.servers import Server
from interop.support.transaction_journeys import TransactionJourneys


@pytest.fixture
def client(server: Server) -> Iterator[Aiokafka]:
    """A new client for each test."""
    client = Aiokafka(server.bootstrap)
    yield client
    client.close()


class TestAiokafka(Journeys):
    """Topics, records, restart."""


class TestAiokafkaGroups(GroupJourneys):
    """Consumer groups."""


class TestAiokafkaTransactions(TransactionJourneys):
    """Transactions."""
