"""A controller's orders: LeaderAndIsr, StopReplica and UpdateMetadata, from the right one and from others.

Nothing is mutated: a controller epoch beyond the present one would make both brokers deaf to their own.
"""

from collections.abc import Callable, Sequence

from interop.differential.scenarios.world import Labelled, World
from pybroker.protocol.message_classes import Message
from pybroker.protocol.messages import LeaderAndIsrRequest, StopReplicaRequest, UpdateMetadataRequest

PRESENT_EPOCH, EARLIER_EPOCH = 1, 0
ANY_REGISTRATION, EARLIER_REGISTRATION = -1, 0
ELSEWHERE = 9
TOPIC = "orders"

Ask = Callable[..., Message]


def orders(world: World) -> None:
    """Everything that leaves both as they were."""
    world.create_topic(TOPIC, 2)
    world.exercise(4, _right(_lead), wrong=_wrong(_lead), mutate=0)
    world.exercise(5, _right(_stop), wrong=_wrong(_stop), mutate=0)
    world.exercise(6, _stale_updates, wrong=_strange_updates, mutate=0)


def _right(ask: Ask) -> Callable[[int], Sequence[Labelled]]:
    return lambda version: [
        ("nothing", ask(version)),
        ("a partition that lives elsewhere", ask(version, ("elsewhere", 0))),
        ("two of them", ask(version, ("elsewhere", 0), ("elsewhere", 1))),
    ]


def _wrong(ask: Ask) -> Callable[[int], Sequence[Labelled]]:
    return lambda version: [
        ("an earlier controller", ask(version, ("elsewhere", 0), controller_epoch=EARLIER_EPOCH)),
        ("an earlier controller, nothing", ask(version, controller_epoch=EARLIER_EPOCH)),
        ("controller epoch -1", ask(version, ("elsewhere", 0), controller_epoch=-1)),
        ("an earlier registration", ask(version, ("elsewhere", 0), broker_epoch=EARLIER_REGISTRATION)),
        ("an earlier leader epoch", ask(version, (TOPIC, 0), leader_epoch=-5)),
        ("a negative partition", ask(version, ("elsewhere", -1))),
    ]


def _lead(
    version: int,
    *partitions: tuple[str, int],
    controller_epoch: int = PRESENT_EPOCH,
    broker_epoch: int = ANY_REGISTRATION,
    leader_epoch: int = 0,
) -> LeaderAndIsrRequest:
    states = [
        LeaderAndIsrRequest.LeaderAndIsrPartitionState(
            topic_name=name if version < 2 else "",
            partition_index=partition,
            controller_epoch=controller_epoch,
            leader=ELSEWHERE,
            leader_epoch=leader_epoch,
            isr=[ELSEWHERE],
            replicas=[ELSEWHERE],
        )
        for name, partition in partitions
    ]
    request = LeaderAndIsrRequest(controller_epoch=controller_epoch)
    if version >= 2:
        request.broker_epoch = broker_epoch
        request.topic_states = [
            LeaderAndIsrRequest.LeaderAndIsrTopicState(topic_name=name, partition_states=states)
            for name in dict.fromkeys(name for name, _ in partitions)
        ]
    else:
        request.ungrouped_partition_states = states
    return request


def _stop(
    version: int,
    *partitions: tuple[str, int],
    controller_epoch: int = PRESENT_EPOCH,
    broker_epoch: int = ANY_REGISTRATION,
    leader_epoch: int = 0,
) -> StopReplicaRequest:
    request = StopReplicaRequest(controller_epoch=controller_epoch)
    if version >= 1:
        request.broker_epoch = broker_epoch
    names = dict.fromkeys(name for name, _ in partitions)
    if version == 0:
        request.ungrouped_partitions = [
            StopReplicaRequest.StopReplicaPartitionV0(topic_name=name, partition_index=partition)
            for name, partition in partitions
        ]
    elif version < 3:
        indexes = [partition for _, partition in partitions]
        request.topics = [
            StopReplicaRequest.StopReplicaTopicV1(name=name, partition_indexes=indexes) for name in names
        ]
    else:
        states = [
            StopReplicaRequest.StopReplicaPartitionState(partition_index=partition, leader_epoch=leader_epoch)
            for _, partition in partitions
        ]
        request.topic_states = [
            StopReplicaRequest.StopReplicaTopicState(topic_name=name, partition_states=states)
            for name in names
        ]
    return request


def _update(
    version: int,
    *,
    controller_epoch: int = EARLIER_EPOCH,
    broker_epoch: int = ANY_REGISTRATION,
    controller_id: int = 0,
) -> UpdateMetadataRequest:
    """Always one that must be refused: any other would replace what both know of their cluster."""
    request = UpdateMetadataRequest(controller_id=controller_id, controller_epoch=controller_epoch)
    if version >= 5:
        request.broker_epoch = broker_epoch
    return request


def _stale_updates(version: int) -> Sequence[Labelled]:
    return [
        ("an earlier controller", _update(version)),
        ("an earlier controller on another broker", _update(version, controller_id=ELSEWHERE)),
        ("an earlier registration", _update(version, broker_epoch=EARLIER_REGISTRATION)),
    ]


def _strange_updates(version: int) -> Sequence[Labelled]:
    return [
        ("controller epoch -1", _update(version, controller_epoch=-1)),
        ("controller epoch -9", _update(version, controller_epoch=-9)),
        ("of no controller", _update(version, controller_id=-1)),
        ("of controller -9", _update(version, controller_id=-9)),
        ("of all bad kinds", _update(version, controller_id=-9, controller_epoch=-9, broker_epoch=0)),
    ]
