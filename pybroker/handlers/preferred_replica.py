"""The replica that a consumer is sent to, when it asks the leader and another one is nearer (KIP-392)."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from pybroker.model.values import Value
from pybroker.replication.replica_selector import ReplicaSelector, ReplicaView

if TYPE_CHECKING:  # app/warming.py says what is late
    from pybroker.handlers.context import RequestContext
    from pybroker.model.ids import BrokerId, Offset
    from pybroker.replication.partition import Partition


class PreferredReplica(Value):
    """Looks among the in-sync replicas that the client can reach on the listener it came through."""

    broker_id: BrokerId
    selector: ReplicaSelector | None
    now_ms: Callable[[], int]

    def __call__(
        self, ctx: RequestContext, partition: Partition, rack: str, offset: Offset
    ) -> BrokerId | None:
        """None when the consumer had better read here."""
        leadership = partition.leadership
        if self.selector is None or leadership is None or not rack:
            return None
        now_ms = self.now_ms()
        followers = []
        for broker_id, follower in leadership.followers.items():
            has_it = follower.log_start_offset <= offset <= follower.log_end_offset
            broker = ctx.image.brokers.get(broker_id)
            is_reachable = broker is not None and broker.endpoint(ctx.listener) is not None
            if broker is not None and is_reachable and has_it and broker_id in leadership.isr:
                behind_ms = now_ms - follower.last_caught_up_ms
                followers.append(ReplicaView(broker_id, broker.rack, follower.log_end_offset, behind_ms))
        here = ctx.image.brokers.get(self.broker_id)
        leader = ReplicaView(
            self.broker_id, None if here is None else here.rack, partition.log.log_end_offset, 0
        )
        chosen = self.selector(rack, leader, followers)
        return None if chosen is leader else chosen.broker_id
