"""What is asked, in order. Each scenario makes the state that it needs, on both servers alike."""

from collections.abc import Callable

from interop.differential.scenarios import (
    admin,
    cluster,
    fetching,
    frames,
    group_dialogues,
    groups,
    offsets,
    orders,
    producing,
    security,
    topics,
    transactions,
)
from interop.differential.scenarios.world import World

Scenario = tuple[str, frozenset[int], Callable[[World], None]]
"""Name, the APIs that both must serve, and what to do."""

MEMBERSHIP = frozenset({11, 12, 13, 14})
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
    ("group membership", MEMBERSHIP, groups.membership),
    ("groups of several members", MEMBERSHIP | {8, 15}, group_dialogues.several_members),
    ("group requests", MEMBERSHIP, groups.requests),
    ("group offsets", MEMBERSHIP | {8, 9}, groups.offsets),
    ("group administration", MEMBERSHIP | {8, 15, 16, 42, 47}, groups.administration),
    ("transactions", frozenset({22, 24, 25, 26, 28, 65, 66}), transactions.transactions),
    ("transaction administration", frozenset({27, 65, 66}), transactions.administration),
    ("delete records", frozenset({21}), admin.records),
    ("create partitions", frozenset({37}), admin.partitions),
    ("configurations", frozenset({32, 33, 44}), admin.configs),
    ("log directories", frozenset({35, 37}), admin.log_dirs),
    ("moves between log directories", frozenset({34, 37}), admin.log_dir_moves),
    ("elections", frozenset({43, 37}), admin.elections),
    ("moves", frozenset({45, 46}), admin.moves),
    ("producers", frozenset({61, 22}), admin.producers),
    ("acls", frozenset({29}), security.describing),
    ("new acls", frozenset({30}), security.creating),
    ("acls to delete", frozenset({31}), security.deleting),
    ("orders of a controller", frozenset({4, 5, 6}), orders.orders),
    ("init producer id", frozenset({22}), producing.init_producer_id),
    ("broken frames", frozenset({18}), frames.broken),
)
