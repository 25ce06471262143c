"""Reading back what a scenario wrote."""

from interop.differential.scenarios.world import World
from pybroker.protocol.messages import FetchRequest

READ_VERSIONS = (12, 4, 3, 0)
"""As it lies on disk, and converted down for old consumers."""


def fetch_request(
    topic: str, partitions: int = 1, *, offset: int = 0, max_wait_ms: int = 0, min_bytes: int = 0
) -> FetchRequest:
    return FetchRequest(
        max_wait_ms=max_wait_ms,
        min_bytes=min_bytes,
        topics=[
            FetchRequest.FetchTopic(
                topic=topic,
                partitions=[
                    FetchRequest.FetchPartition(
                        partition=partition, fetch_offset=offset, partition_max_bytes=1 << 20
                    )
                    for partition in range(partitions)
                ],
            )
        ],
    )


def read_all(world: World, topic: str, partitions: int = 1) -> None:
    """Compare the logs of a topic in whole, in the terms of several versions."""
    for version in READ_VERSIONS:
        world.pair.ask(f"read all of {topic}", fetch_request(topic, partitions), version)
