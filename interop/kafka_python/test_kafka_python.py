"""kafka-python: the journeys of every client."""

from collections.abc import Iterator

import pytest

from interop.kafka_python.client import MAJOR, MODERN, KafkaPython, OldFormatKafkaPython
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
def client(server: Server) -> Iterator[KafkaPython]:
    """A new client for each test."""
    yield from connected(server)


def connected(server: Server) -> Iterator[KafkaPython]:
    if MAJOR < 2:
        pytest.skip("the administration of 1.4 cannot read today's answers, whatever the broker")
    client = KafkaPython(server.bootstrap)
    yield client
    client.close()


class TestKafkaPython(Journeys):
    """Topics, records, restart."""


@pytest.mark.whole
class TestKafkaPythonGroups(GroupJourneys):
    """Consumer groups. Not in the quick part: each takes this client ten seconds."""


@pytest.mark.whole
class TestMoreKafkaPython(MoreJourneys, MoreGroupJourneys, AutoCreationJourneys):
    """Limits, resets, auto topic creation."""


class TestKafkaPythonNoAutoCreation(NoAutoCreationJourneys):
    """Auto topic creation forbidden."""

    @pytest.fixture
    def client(self, strict_server: Server) -> Iterator[KafkaPython]:
        yield from connected(strict_server)


class TestKafkaPythonTransactions(TransactionJourneys):
    """Transactions, since 3.0."""

    @pytest.fixture(autouse=True)
    def _left_out(self) -> None:
        if not MODERN:
            pytest.skip("not in this client: transactions")


@pytest.mark.whole
class TestOldFormats(Journeys):
    """Message sets, as the client sends them to a broker of that age."""

    @pytest.fixture(params=[(0, 9), (0, 10)], ids=["0.9", "0.10"])
    def client(self, server: Server, request: pytest.FixtureRequest) -> Iterator[KafkaPython]:
        client = OldFormatKafkaPython(server.bootstrap, request.param)
        yield client
        client.close()
