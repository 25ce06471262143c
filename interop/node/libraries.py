"""What each Node library can do, and its agent."""

from collections.abc import Mapping
from pathlib import Path

from interop.agents.client import AgentClient, Library
from interop.agents.process import AgentProcess
from interop.support.client import Traits
from interop.support.npm import command

HERE = Path(__file__).resolve().parent
ASKS_TWICE = "after a rebalance its stream can hand out again what it was fetching, and records come twice"
"""Seen now and then with Apache Kafka 3.9 and with pybroker alike: 5,333 records instead of 5,000."""

LIBRARIES: Mapping[str, Library] = {
    "kafkajs": Library(
        name="kafkajs",
        # Its producer takes the length of a header's value before it looks for null.
        traits=Traits(null_header_values=False, static_members=False),
        strategies=("roundrobin",),
    ),
    "platformatic": Library(
        name="platformatic-kafka",
        # A static member of it leaves the group when it is closed, as any other.
        traits=Traits(static_members=False),
        strategies=("roundrobin", "cooperative"),
        faulty_strategies={"roundrobin": ASKS_TWICE},
    ),
}
"""Agent -> library."""


def start(name: str, bootstrap: str) -> AgentClient:
    """The library's agent, running and connected to `bootstrap`."""
    library = LIBRARIES[name]
    return AgentClient(library, AgentProcess(library.name, [*command(HERE, name), bootstrap]))
