"""librdkafka through confluent-kafka: the journeys of every client."""

from collections.abc import Iterator

import pytest

from interop.librdkafka.client import Librdkafka
from interop.support.group_journeys import GroupJourneys
from interop.support.journeys import Journeys
from interop.support.servers import Server
from interop.support.transaction_journeys import TransactionJourneys


@pytest.fixture
def client(server: Server) -> Iterator[Librdkafka]:
    """A new client for each test."""
    client = Librdkafka(server.bootstrap)
    yield client
    client.close()


class TestLibrdkafka(Journeys):
    """Topics, records, restart."""


class TestLibrdkafkaGroups(GroupJourneys):
    """Consumer groups."""


class TestLibrdkafkaTransactions(TransactionJourneys):
    """Transactions."""
