"""Who leads now: the hint that a refused Produce or Fetch carries (KIP-951)."""

from typing import NamedTuple

from pybroker.metadata.image import BrokerInfo, ClusterImage
from pybroker.model.endpoint import Endpoint
from pybroker.model.ids import NO_LEADER, NO_LEADER_EPOCH, BrokerId, LeaderEpoch, TopicPartition


class LeaderHint(NamedTuple):
    """The leader by this image; ``node`` is None when it cannot be reached on the client's listener."""

    leader_id: BrokerId
    leader_epoch: LeaderEpoch
    node: tuple[BrokerInfo, Endpoint] | None


def current_leader(image: ClusterImage, tp: TopicPartition, listener: str) -> LeaderHint:
    partition = image.partition(tp)
    if partition is None:
        return LeaderHint(NO_LEADER, NO_LEADER_EPOCH, None)
    broker = image.brokers.get(partition.leader)
    endpoint = broker.endpoint(listener) if broker is not None else None
    node = (broker, endpoint) if broker is not None and endpoint is not None else None
    return LeaderHint(partition.leader, partition.leader_epoch, node)
