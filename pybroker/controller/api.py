"""What brokers and clients may ask of the controller. Each call waits for its turn in the event loop."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from pybroker.controller import preferred, reassignment
from pybroker.controller.alter_partition import alter_partition
from pybroker.controller.controlled_shutdown import controlled_shutdown
from pybroker.controller.producer_id_blocks import allocate_block
from pybroker.model.errors import ApiError, ErrorCode

if TYPE_CHECKING:  # app/warming.py says what is late
    from pybroker.controller.controller import Controller
    from pybroker.controller.term import Term
    from pybroker.metadata.znodes import ReplicaAssignment
    from pybroker.model.ids import BrokerEpoch, BrokerId, TopicPartition
    from pybroker.protocol.messages import AlterPartitionRequest, AlterPartitionResponse


class ControllerApi:
    """For handlers. Every method raises ApiError(NOT_CONTROLLER) on a broker that is not the controller."""

    def __init__(self, controller: Controller) -> None:
        self._controller = controller

    @property
    def is_active(self) -> bool:
        """Whether this broker is the controller, as far as it knows."""
        return self._controller.is_active

    async def alter_partition(self, request: AlterPartitionRequest, version: int) -> AlterPartitionResponse:
        """A leader wants another ISR."""
        return await self._controller.submit(lambda term: alter_partition(term, request, version))

    async def controlled_shutdown(
        self, broker_id: BrokerId, broker_epoch: BrokerEpoch
    ) -> list[TopicPartition]:
        """A broker is about to stop. Returns what it still leads."""
        return await self._controller.submit(lambda term: controlled_shutdown(term, broker_id, broker_epoch))

    async def elect_leaders(
        self, partitions: Sequence[TopicPartition] | None, *, unclean: bool
    ) -> dict[TopicPartition, ApiError | None]:
        """Preferred or unclean elections, of some partitions or of all."""
        return await self._controller.submit(
            lambda term: preferred.elect_leaders(term, partitions, unclean=unclean)
        )

    async def dictate(
        self, partition: TopicPartition, leader: BrokerId | None = None, isr: Sequence[BrokerId] | None = None
    ) -> None:
        """Sets leader and ISR of a partition as a test wants them; without either its leader epoch grows."""
        await self._controller.submit(lambda term: term.partitions.dictate(partition, leader, isr))

    async def elect_where_missing(self, topic: str | None = None) -> None:
        """A leader from outside the ISR has become acceptable, for one topic or for all: looks for such."""
        await self._controller.submit(lambda term: term.partitions.elect_where_missing(topic))

    async def alter_reassignments(
        self, wishes: Mapping[TopicPartition, Sequence[BrokerId] | None]
    ) -> dict[TopicPartition, ApiError | None]:
        """Starts reassignments; None takes one back."""
        return await self._controller.submit(lambda term: reassignment.alter(term, wishes))

    async def reassignments(
        self, partitions: Iterable[TopicPartition] | None = None
    ) -> dict[TopicPartition, ReplicaAssignment]:
        """The reassignments under way."""

        async def read(term: Term) -> dict[TopicPartition, ReplicaAssignment]:
            return reassignment.running(term, partitions)

        return await self._controller.submit(read)

    async def allocate_producer_ids(self, broker_id: BrokerId, broker_epoch: BrokerEpoch) -> range:
        """A block of producer ids for one broker.

        Raises:
            ApiError: BROKER_ID_NOT_REGISTERED or STALE_BROKER_EPOCH.
        """

        async def allocate(term: Term) -> range:
            epoch = term.context.broker_epochs.get(broker_id)
            if epoch is None:
                raise ApiError(ErrorCode.BROKER_ID_NOT_REGISTERED)
            if epoch != broker_epoch:
                raise ApiError(ErrorCode.STALE_BROKER_EPOCH)
            return await allocate_block(term.store, broker_id)

        return await self._controller.submit(allocate)
