"""Node libraries: the journeys of every client, and those of the agents."""

from collections.abc import Iterator

import pytest

from interop.agents.client import AgentClient
from interop.node.libraries import start
from interop.support.group_journeys import GroupJourneys
from interop.support.journeys import Journeys
from interop.support.more_journeys import (
    AutoCreationJourneys,
    MoreGroupJourneys,
    MoreJourneys,
    NoAutoCreationJourneys,
)
from interop.support.servers import Server

pytestmark = pytest.mark.whole


@pytest.fixture(scope="class", params=["kafkajs", "platformatic"])
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


class TestNode(Journeys, MoreJourneys):
    """Topics, records, limits, restart."""


class TestNodeGroups(GroupJourneys, MoreGroupJourneys):
    """Consumer groups; neither library follows a pattern."""

    test_pattern = None  # type: ignore[assignment]


class TestNodeAutoCreation(AutoCreationJourneys):
    """Auto topic creation as it is by default."""


class TestNodeNoAutoCreation(NoAutoCreationJourneys):
    """Auto topic creation forbidden."""

    @pytest.fixture
    def client(self, strict_server: Server, library: str) -> Iterator[AgentClient]:
        client = start(library, strict_server.bootstrap)
        yield client
        client.close()
