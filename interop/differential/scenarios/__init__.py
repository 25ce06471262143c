"""What is asked, in order. Each scenario makes the state that it needs, on both servers alike."""

from collections.abc import Callable

from interop.differential.scenarios import cluster, fetching, frames, offsets, producing, topics
from interop.differential.scenarios.world import World

Scenario = tuple[str, frozenset[int], Callable[[World], None]]
"""Name, the APIs that both must serve, and what to do."""

SCENARIOS: tuple[Scenario, ...] = (
    ("produce", frozenset({0}), producing.produce),
    ("idempotent producers", frozenset({0, 22}), producing.idempotence),
    ("fetch", frozenset({1}), fetching.fetch),
    ("fetch sessions", frozenset({1}), fetching.sessions),
    ("list offsets", frozenset({2}), offsets.list_offsets),
    ("epochs", frozenset({23}), offsets.leader_epochs),
    ("metadata", frozenset({3}), cluster.metadata),
    ("coordinators", frozenset({10}), cluster.find_coordinator),
    ("versions", frozenset({18}), cluster.api_versions),
    ("cluster", frozenset({60}), cluster.describe_cluster),
    ("create topics", frozenset({19}), topics.create),
    ("delete topics", frozenset({20}), topics.delete),
    ("init producer id", frozenset({22}), producing.init_producer_id),
    ("broken frames", frozenset({18}), frames.broken),
)
