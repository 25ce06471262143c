"""ListOffsets and OffsetForLeaderEpoch."""

from collections.abc import Sequence

from interop.differential.batches import TIME_MS, batch
from interop.differential.scenarios.producing import produce_request
from interop.differential.scenarios.world import Labelled, World
from pybroker.protocol.messages import ListOffsetsRequest, OffsetForLeaderEpochRequest

FIRST_VERSION_WITH_EPOCHS = 4
MAX_OFFSETS_VERSION = 0


def list_offsets(world: World) -> None:
    world.create_topic("offsets", 3)
    world.create_topic("offsets-append-time", 1, {"message.timestamp.type": "LogAppendTime"})
    for shift in (0, 500_000, 200_000):
        records = batch(base_timestamp=TIME_MS + shift, max_timestamp=TIME_MS + shift + 120_000)
        world.pair.ask("fill", produce_request("offsets", records), 9)
    world.pair.ask("fill", produce_request("offsets-append-time", batch()), 9)

    def ask(
        version: int, timestamp: int, topic: str = "offsets", partition: int = 0, epoch: int = -1, **more: int
    ) -> ListOffsetsRequest:
        asked = ListOffsetsRequest.ListOffsetsPartition(partition_index=partition, timestamp=timestamp)
        if version >= FIRST_VERSION_WITH_EPOCHS:
            asked.current_leader_epoch = epoch
        if version == MAX_OFFSETS_VERSION:
            asked.max_num_offsets = 5
        topics = [ListOffsetsRequest.ListOffsetsTopic(name=topic, partitions=[asked])]
        return ListOffsetsRequest(replica_id=-1, topics=topics, **more)

    def right(version: int) -> Sequence[Labelled]:
        times = (-1, -2, -3, -4, -5, 0, TIME_MS, TIME_MS + 1, TIME_MS + 60_000, TIME_MS + 130_000,
                 TIME_MS + 210_000, TIME_MS + 620_000, TIME_MS + 620_001, 2**62)  # fmt: skip
        found = [(f"timestamp {at}", ask(version, at)) for at in times]
        found += [(f"empty partition, timestamp {at}", ask(version, at, partition=1)) for at in times]
        found += [
            (f"append time, timestamp {at}", ask(version, at, "offsets-append-time"))
            for at in (-1, -2, -3, 0)
        ]
        if version >= 2:
            found += [("read committed", ask(version, -1, isolation_level=1))]
        return found

    def wrong(version: int) -> Sequence[Labelled]:
        twice, twice_topic = ask(version, -1), ask(version, -1)
        twice.topics[0].partitions *= 2
        twice_topic.topics *= 2
        found = [
            ("unknown topic", ask(version, -1, "unknown")),
            ("empty name", ask(version, -1, "")),
            ("unknown partition", ask(version, -1, partition=3)),
            ("negative partition", ask(version, -1, partition=-1)),
            ("timestamp -6", ask(version, -6)),
            ("timestamp lowest", ask(version, -(2**63))),
            ("newer epoch", ask(version, -1, epoch=9)),
            ("epoch 0", ask(version, -1, epoch=0)),
            ("partition twice", twice),
            ("topic twice", twice_topic),
        ]
        for replica in (0, 1, -2, -3):
            request = ask(version, -1)
            request.replica_id = replica
            found.append((f"replica {replica}", request))
        if version >= 2:
            found.append(("isolation level 5", ask(version, -1, isolation_level=5)))
        return found

    world.exercise(2, right, wrong=wrong, limit=40)


def leader_epochs(world: World) -> None:
    world.create_topic("leader-epochs", 2)
    world.pair.ask("fill", produce_request("leader-epochs", batch()), 9)

    def ask(
        version: int, epoch: int, topic: str = "leader-epochs", partition: int = 0, current: int = -1
    ) -> OffsetForLeaderEpochRequest:
        asked = OffsetForLeaderEpochRequest.OffsetForLeaderPartition(partition=partition, leader_epoch=epoch)
        if version >= 2:
            asked.current_leader_epoch = current
        topics = [OffsetForLeaderEpochRequest.OffsetForLeaderTopic(topic=topic, partitions=[asked])]
        return OffsetForLeaderEpochRequest(replica_id=-1 if version >= 3 else -2, topics=topics)

    def right(version: int) -> Sequence[Labelled]:
        return [
            ("epoch 0", ask(version, 0)),
            ("epoch 0 of an empty partition", ask(version, 0, partition=1)),
            ("epoch 0 with the current one", ask(version, 0, current=0)),
        ]

    def wrong(version: int) -> Sequence[Labelled]:
        twice, twice_topic = ask(version, 0), ask(version, 0)
        twice.topics[0].partitions *= 2
        twice_topic.topics *= 2
        return [
            ("future epoch", ask(version, 7)),
            ("negative epoch", ask(version, -1)),
            ("very negative epoch", ask(version, -(2**31))),
            ("unknown topic", ask(version, 0, "unknown")),
            ("unknown partition", ask(version, 0, partition=5)),
            ("negative partition", ask(version, 0, partition=-5)),
            ("newer current epoch", ask(version, 0, current=4)),
            ("current epoch -2", ask(version, 0, current=-2)),
            ("partition twice", twice),
            ("topic twice", twice_topic),
        ]

    world.exercise(23, right, wrong=wrong)
