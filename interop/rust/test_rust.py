"""rskafka, a Rust library of its own: the journeys of every client that it has means for."""

from collections.abc import Iterator

import pytest

from interop.agents.client import AgentClient, Library
from interop.agents.process import AgentProcess
from interop.rust.build import agent
from interop.support.client import Traits
from interop.support.journeys import Journeys
from interop.support.more_journeys import MoreJourneys
from interop.support.servers import Server

pytestmark = pytest.mark.whole

# It keeps headers sorted by name, each name once, and so cannot hold what the journeys send.
RSKAFKA = Library(name="rskafka", traits=Traits(idempotent=False, headers=False))


@pytest.fixture(scope="class")
def rust_agent(_running_server: Server) -> Iterator[AgentClient]:
    """One agent for all journeys of a class; the server keeps its address over restarts."""
    command = [str(agent()), _running_server.bootstrap]
    client = AgentClient(RSKAFKA, AgentProcess(RSKAFKA.name, command))
    yield client
    client.close()


@pytest.fixture
def client(server: Server, rust_agent: AgentClient) -> AgentClient:
    """The agent, and a server that is alive."""
    assert server.is_running
    return rust_agent


class TestRust(Journeys, MoreJourneys):
    """Topics, records, limits, restart; it has no groups."""

    test_topic_with_a_larger_limit = None  # type: ignore[assignment]
    """It creates topics without configurations."""

    @pytest.fixture(autouse=True)
    def _acks_all(self, request: pytest.FixtureRequest) -> None:
        variant = getattr(request.node, "callspec", None)
        if variant is not None and variant.params.get("acks", "all") != "all":
            pytest.skip("not in this client: acks other than all")
