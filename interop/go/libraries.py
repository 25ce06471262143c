"""What each Go library can do, and its agent."""

from collections.abc import Mapping
from pathlib import Path

from interop.agents.client import AgentClient, Library
from interop.agents.process import AgentProcess
from interop.support.client import Traits
from interop.support.golang import program

HERE = Path(__file__).resolve().parent
GIVES_UP = (
    "its writer takes a broker that has just started and knows no topic yet for one without the topic, "
    "and gives up at once"
)
"""Seen with Apache Kafka, which answers before it has its topics."""

LIBRARIES: Mapping[str, Library] = {
    "franz": Library(
        name="franz-go", traits=Traits(), strategies=("range", "roundrobin", "sticky", "cooperative")
    ),
    "sarama": Library(
        name="sarama", traits=Traits(), strategies=("range", "roundrobin", "sticky", "cooperative")
    ),
    "segmentio": Library(
        name="kafka-go",
        # Its reader gives nil for what is null and what is empty.
        traits=Traits(
            idempotent=False,
            empty_is_null=True,
            static_members=False,
            orders_unacknowledged=False,
            restart_fault=GIVES_UP,
        ),
        strategies=("range", "roundrobin"),
    ),
}
"""Folder in cmd/ -> library."""


def start(name: str, bootstrap: str) -> AgentClient:
    """The library's agent, running and connected to `bootstrap`."""
    library = LIBRARIES[name]
    return AgentClient(
        library, AgentProcess(library.name, [str(program(HERE, f"cmd/{name}", name)), bootstrap])
    )
