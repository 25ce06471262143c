"""Go libraries: the journeys of every client, and those of the agents."""

from collections.abc import Iterator

import pytest

from interop.agents.client import AgentClient
from interop.go.libraries import start
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

QUICK = [pytest.param("franz", id="franz-go")]
WHOLE = [
    pytest.param("sarama", id="sarama", marks=pytest.mark.whole),
    pytest.param("segmentio", id="kafka-go", marks=pytest.mark.whole),
]


@pytest.fixture(scope="class", params=QUICK + WHOLE)
def library(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="class")
def agent(_running_server: Server, library: str) -> Iterator[AgentClient]:
    """One agent for all journeys of a class; the server keeps its address over restarts."""
    client = start(library, _running_server.bootstrap)
    yield client
    client.close()


@pytest.fixture
def client(server: Server, agent: AgentClient) -> AgentClient:
    """The agent, and a server that is alive."""
    assert server.is_running
    return agent


class TestGo(Journeys, MoreJourneys):
    """Topics, records, limits, restart."""


class TestGoGroups(GroupJourneys, MoreGroupJourneys):
    """Consumer groups."""

    @pytest.fixture(autouse=True)
    def _left_out(self, request: pytest.FixtureRequest, library: str) -> None:
        name = request.node.originalname
        if name == "test_pattern" and library != "franz":
            pytest.skip("not in this client: subscription by pattern")
        if name == "test_many_topics" and library == "segmentio":
            pytest.skip("not in this client: many partitions, each of which costs it connections")


class TestGoConsumerProtocol(ConsumerProtocolJourneys):
    """Groups of the consumer protocol, which only franz-go speaks."""

    faults = {
        "test_static_member": "franz-go keeps its place when it is closed: its successor gets "
        "UNRELEASED_INSTANCE_ID until the session ends"
    }

    @pytest.fixture(scope="class", params=QUICK)
    def library(self, request: pytest.FixtureRequest) -> str:
        return str(request.param)


class TestGoTransactions(TransactionJourneys):
    """Transactions of franz-go."""

    @pytest.fixture(scope="class", params=QUICK)
    def library(self, request: pytest.FixtureRequest) -> str:
        return str(request.param)

    @pytest.fixture(autouse=True)
    def _left_out(self, request: pytest.FixtureRequest) -> None:
        if request.node.originalname == "test_offsets":
            pytest.skip("not in this client: offsets of a consumer that is not the producer itself")


class TestGoAutoCreation(AutoCreationJourneys):
    """Auto topic creation as it is by default."""


class TestGoNoAutoCreation(NoAutoCreationJourneys):
    """Auto topic creation forbidden."""

    @pytest.fixture
    def client(self, strict_server: Server, library: str) -> Iterator[AgentClient]:
        client = start(library, strict_server.bootstrap)
        yield client
        client.close()
