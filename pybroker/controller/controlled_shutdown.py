"""Takes the leadership off a broker that is about to stop. Source: Kafka 3.9 ``doControlledShutdown``."""

import logging

from pybroker.controller.context import Replica
from pybroker.controller.election import Strategy
from pybroker.controller.term import Term
from pybroker.model.errors import ApiError, ErrorCode
from pybroker.model.ids import BrokerEpoch, BrokerId, TopicPartition

log = logging.getLogger(__name__)


async def controlled_shutdown(
    term: Term, broker_id: BrokerId, broker_epoch: BrokerEpoch
) -> list[TopicPartition]:
    """Moves leaders away, stops followers and takes them out of the ISR, where there are other replicas.

    Returns:
        The partitions the broker still leads although they have other replicas; it asks again while there
        are any.

    Raises:
        ApiError: STALE_BROKER_EPOCH for an earlier incarnation, BROKER_NOT_AVAILABLE for an unknown broker.
        ControllerMoved: somebody else is the controller.
    """
    context = term.context
    epoch = context.broker_epochs.get(broker_id)
    if epoch is None:
        raise ApiError(ErrorCode.BROKER_NOT_AVAILABLE, f"Broker id {broker_id} does not exist.")
    if broker_epoch not in (-1, epoch) and broker_epoch < epoch:
        raise ApiError(
            ErrorCode.STALE_BROKER_EPOCH,
            f"Received controlled shutdown request from an old broker epoch {broker_epoch} for broker "
            f"{broker_id}. Current broker epoch is {epoch}.",
        )
    log.info("shutting down broker %d", broker_id)
    context.shutting_down.add(broker_id)
    movable = [
        replica.partition
        for replica in context.replicas_on([broker_id])
        if len(context.replicas_of(replica.partition)) > 1
        and replica.partition in context.leaderships
        and replica.partition.topic not in context.to_delete
    ]
    led = [partition for partition in movable if context.leaderships[partition].state.leader == broker_id]
    followed = [partition for partition in movable if partition not in set(led)]
    await term.partitions.online(led, Strategy.CONTROLLED_SHUTDOWN)
    for partition in followed:
        term.batch.add_stop_replica(broker_id, partition, delete=False)
    term.flush()
    await term.replicas.offline([Replica(partition, broker_id) for partition in followed])
    return [partition for partition in movable if context.leaderships[partition].state.leader == broker_id]
