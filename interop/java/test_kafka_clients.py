"""Apache Kafka's Java client, in the versions of the matrix: the journeys of every client."""

from collections.abc import Iterator

import pytest

from interop.java.client import JavaClient, OldJavaClient
from interop.support.consumer_protocol_journeys import ConsumerProtocolJourneys
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

VERSION_SETS = [
    pytest.param("clients-3.9", id="3.9"),
    pytest.param("clients-4", id="4", marks=pytest.mark.whole),
    pytest.param("clients-2.8", id="2.8", marks=pytest.mark.whole),
    pytest.param("clients-2.0", id="2.0", marks=pytest.mark.whole),
]
CONSUMER_PROTOCOL_SETS = [
    pytest.param("clients-4", id="4"),
    pytest.param("clients-3.9", id="3.9", marks=pytest.mark.whole),
]
OLD_VERSION_SETS = [
    pytest.param("clients-0.9", id="0.9"),
    pytest.param("clients-0.10", id="0.10", marks=pytest.mark.whole),
    pytest.param("clients-1.1", id="1.1", marks=pytest.mark.whole),
]


@pytest.fixture(scope="class", params=VERSION_SETS)
def java_client(_running_server: Server, request: pytest.FixtureRequest) -> Iterator[JavaClient]:
    """One JVM for all journeys of a version; the server keeps its address over restarts."""
    client = JavaClient(_running_server.bootstrap, request.param)
    yield client
    client.close()


@pytest.fixture
def client(server: Server, java_client: JavaClient) -> JavaClient:
    """The JVM of this version, and a server that is alive."""
    assert server.is_running
    return java_client


class TestKafkaClients(Journeys):
    """Topics, records, restart."""


class TestKafkaClientsGroups(GroupJourneys):
    """Consumer groups."""


@pytest.mark.whole
class TestMoreKafkaClients(MoreJourneys, MoreGroupJourneys, AutoCreationJourneys):
    """Limits, resets, auto topic creation."""


class TestKafkaClientsNoAutoCreation(NoAutoCreationJourneys):
    """Auto topic creation forbidden."""

    @pytest.fixture(params=VERSION_SETS)
    def client(self, strict_server: Server, request: pytest.FixtureRequest) -> Iterator[JavaClient]:
        client = JavaClient(strict_server.bootstrap, request.param)
        yield client
        client.close()


class TestKafkaClientsTransactions(TransactionJourneys):
    """Transactions; version 4 leaves the adding of partitions to the broker, and gets an epoch with each."""


class TestKafkaClientsConsumerProtocol(ConsumerProtocolJourneys):
    """Groups of the consumer protocol, in the first and the last version that speaks it."""

    @pytest.fixture(scope="class", params=CONSUMER_PROTOCOL_SETS)
    def java_client(self, _running_server: Server, request: pytest.FixtureRequest) -> Iterator[JavaClient]:
        client = JavaClient(_running_server.bootstrap, request.param)
        yield client
        client.close()


class TestAncientKafkaClients(Journeys):
    """Clients that send and take message sets or old requests, on auto-created topics."""

    @pytest.fixture(scope="class", params=OLD_VERSION_SETS)
    def java_client(self, _running_server: Server, request: pytest.FixtureRequest) -> Iterator[JavaClient]:
        client = JavaClient(_running_server.bootstrap, request.param)
        yield client
        client.close()


class TestAncientKafkaClientsGroups(GroupJourneys):
    """Their consumer groups: the first versions of the group APIs."""

    @pytest.fixture(scope="class", params=OLD_VERSION_SETS)
    def java_client(self, _running_server: Server, request: pytest.FixtureRequest) -> Iterator[JavaClient]:
        client = OldJavaClient(_running_server.bootstrap, request.param)
        yield client
        client.close()
