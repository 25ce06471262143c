"""aiokafka: the journeys of every client."""

from collections.abc import Iterator

import pytest

from interop.aiokafka.client import Aiokafka
from interop.support.group_journeys import GroupJourneys
from interop.support.journeys import Journeys
from interop.support.more_journeys import (
    AutoCreationJourneys,
    MoreGroupJourneys,
    MoreJourneys,
    NoAutoCreationJourneys,
)
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


@pytest.mark.whole
class TestMoreAiokafka(MoreJourneys, MoreGroupJourneys, AutoCreationJourneys):
    """Limits, resets, auto topic creation."""


class TestAiokafkaNoAutoCreation(NoAutoCreationJourneys):
    """Auto topic creation forbidden."""

    @pytest.fixture
    def client(self, strict_server: Server) -> Iterator[Aiokafka]:
        client = Aiokafka(strict_server.bootstrap)
        yield client
        client.close()


class TestAiokafkaTransactions(TransactionJourneys):
    """Transactions."""
