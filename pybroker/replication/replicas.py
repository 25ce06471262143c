"""All partitions that this broker hosts, and the controller's orders that make, move and drop them.

Replicas are created, led and dropped only by LeaderAndIsr and StopReplica, also on a single node. The rules
for accepting such an order are ``kafka.server.ReplicaManager``'s of Kafka 3.9.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Protocol

import trio

from pybroker.instruments.collector import set_aside
from pybroker.instruments.pace import Pace
from pybroker.model.errors import ApiError, ErrorCode
from pybroker.model.ids import (
    NO_LEADER_EPOCH,
    ZERO_TOPIC_ID,
    BrokerEpoch,
    BrokerId,
    ControllerEpoch,
    LeaderEpoch,
    TopicId,
    TopicPartition,
)
from pybroker.model.topics import topic_name_problem
from pybroker.model.values import Value
from pybroker.protocol import messages
from pybroker.replication.storage_errors import api_error
from pybroker.storage.errors import StorageError

if TYPE_CHECKING:  # app/warming.py says what is late
    from pybroker.metadata.image import ClusterImage
    from pybroker.replication.partition import Partition, PartitionState

logger = logging.getLogger(__name__)

ANY_BROKER_EPOCH: BrokerEpoch = -1
TOPIC_IS_BEING_DELETED: LeaderEpoch = -2
PARTITIONS_SET_ASIDE = 100
"""Whenever so many were opened, they are taken out of the garbage collector's sight: some 70 objects each,
which stay, and hold no cycles."""


class LeadershipChange(Value):
    """A partition began or ceased to be led here."""

    partition: Partition
    is_leader: bool


class FollowerPort(Protocol):
    """Who copies partitions from their leaders."""

    def follow(self, partition: Partition, leader: BrokerId) -> None:
        """Copy a partition, which has just been told its leader and its epoch, from now on."""

    def unfollow(self, tp: TopicPartition) -> None:
        """Copy a partition no more: nothing is appended to it by anybody else once this returns."""


class Replicas:
    """The partitions hosted by ``broker_id``. One writer: the handlers of the controller's orders.

    An order may name thousands of partitions. It is followed in slices, so that others have their turn, and
    the next order waits until the one before it is done.

    Args:
        open_partition: makes the Partition, with its log on disk, for a replica that was not served here
            yet; told whether it never had records. Raises ApiError when the log that is there belongs to
            another topic of the same name.
        drop_partition: moves the log of a deleted replica away; its files go later.
        broker_epoch: this broker's current epoch, to refuse orders meant for an earlier registration.
        on_leadership: called for every partition that changes hands, after the change.
        followers: copies the partitions that are led elsewhere.
        stays: whether the partitions last about as long as the process. Many are then set aside from the
            garbage collector at once.
    """

    def __init__(
        self,
        broker_id: BrokerId,
        open_partition: Callable[[TopicPartition, TopicId, bool], Partition],
        drop_partition: Callable[[Partition], object],
        broker_epoch: Callable[[], BrokerEpoch],
        on_leadership: Callable[[LeadershipChange], None],
        followers: FollowerPort,
        *,
        stays: bool,
    ) -> None:
        self._broker_id = broker_id
        self._open_partition = open_partition
        self._drop_partition = drop_partition
        self._broker_epoch = broker_epoch
        self._on_leadership = on_leadership
        self._followers = followers
        self._stays = stays
        self._partitions: dict[TopicPartition, Partition] = {}
        self._by_topic: dict[str, dict[int, Partition]] = {}
        self._offline: set[TopicPartition] = set()
        self._recently_opened = 0
        self._controller_epoch: ControllerEpoch = 0
        self._one_order = trio.Lock()
        self.is_stopping = False
        """Once true, requests that could wait for records are answered with what there is."""

    # -- looking up ----------------------------------------------------------------------------------

    def __iter__(self) -> Iterator[Partition]:
        return iter(self._partitions.values())

    def __len__(self) -> int:
        return len(self._partitions)

    def find(self, tp: TopicPartition) -> Partition | None:
        return self._partitions.get(tp)

    def of_topic(self, topic: str) -> list[Partition]:
        """The partitions of one topic that are here now."""
        return list(self._by_topic.get(topic, {}).values())

    def hosted(
        self, image: ClusterImage, tp: TopicPartition, epoch: LeaderEpoch = NO_LEADER_EPOCH
    ) -> Partition:
        """The partition, led here or not.

        Raises:
            ApiError: UNKNOWN_TOPIC_OR_PARTITION, NOT_LEADER_OR_FOLLOWER when it lives elsewhere,
                KAFKA_STORAGE_ERROR when its disk has failed, or the fencing of ``epoch``.
        """
        partition = self._partitions.get(tp)
        if partition is None:
            if tp in self._offline:
                raise ApiError(ErrorCode.KAFKA_STORAGE_ERROR, f"{tp} is in an offline log directory")
            if image.partition(tp) is None:
                raise ApiError(ErrorCode.UNKNOWN_TOPIC_OR_PARTITION)
            raise ApiError(ErrorCode.NOT_LEADER_OR_FOLLOWER)
        partition.check_epoch(epoch)
        return partition

    def leader(
        self, image: ClusterImage, tp: TopicPartition, epoch: LeaderEpoch = NO_LEADER_EPOCH
    ) -> Partition:
        """The partition, if it is led here; otherwise raises as :meth:`hosted` does."""
        partition = self.hosted(image, tp, epoch)
        if not partition.is_leader:
            raise ApiError(ErrorCode.NOT_LEADER_OR_FOLLOWER)
        return partition

    def is_offline(self, tp: TopicPartition) -> bool:
        """Whether the partition is in a log directory that has failed."""
        return tp in self._offline

    # -- failed disks --------------------------------------------------------------------------------

    def log_dir_failed(self, log_dir: str) -> list[TopicPartition]:
        """Stops serving what is in a log directory; until the broker starts again all is refused with
        KAFKA_STORAGE_ERROR. Returns the partitions."""
        failed = [partition for partition in self._partitions.values() if partition.log.log_dir == log_dir]
        for partition in failed:
            self._forget(partition.tp)
            self._offline.add(partition.tp)
            was_leader = partition.is_leader
            self._followers.unfollow(partition.tp)
            partition.go_offline()
            if was_leader:
                self._on_leadership(LeadershipChange(partition, is_leader=False))
        return [partition.tp for partition in failed]

    def stop(self) -> None:
        """Send away whoever waits for records: the broker is about to stop."""
        self.is_stopping = True
        for partition in self:
            partition.waiters.wake_all()
            partition.append_waiters.wake_all()

    # -- orders of the controller --------------------------------------------------------------------

    async def apply_leader_and_isr(
        self, request: messages.LeaderAndIsrRequest
    ) -> messages.LeaderAndIsrResponse:
        """Become leader or follower of the partitions named, each by its own leader epoch."""
        async with self._one_order:
            refused = self.refuse_order(request.broker_epoch, request.controller_epoch)
            if refused is not ErrorCode.NONE:
                return _refused_whole(request, refused)
            response = messages.LeaderAndIsrResponse(topics=[])
            pace = Pace()
            for topic in request.topic_states:
                errors: list[messages.LeaderAndIsrResponse.LeaderAndIsrPartitionError] = []
                response.topics.append(
                    messages.LeaderAndIsrResponse.LeaderAndIsrTopicError(
                        topic_id=topic.topic_id, partition_errors=errors
                    )
                )
                for state in topic.partition_states:
                    if pace.is_over:
                        await pace.rest()
                    tp = TopicPartition(topic.topic_name, state.partition_index)
                    code = self._apply(tp, topic.topic_id, state)
                    errors.append(
                        messages.LeaderAndIsrResponse.LeaderAndIsrPartitionError(
                            topic_name=tp.topic, partition_index=tp.partition, error_code=code
                        )
                    )
            if self._stays and self._recently_opened >= PARTITIONS_SET_ASIDE:
                self._recently_opened = 0
                set_aside()
            return response

    def refuse_order(self, broker_epoch: BrokerEpoch, controller_epoch: ControllerEpoch) -> ErrorCode:
        """Why an order must not be followed: meant for an earlier registration of this broker, or from a
        controller that a newer one has replaced. NONE accepts it, and remembers the controller's epoch."""
        if broker_epoch != ANY_BROKER_EPOCH and broker_epoch < self._broker_epoch():
            return ErrorCode.STALE_BROKER_EPOCH
        if controller_epoch < self._controller_epoch:
            return ErrorCode.STALE_CONTROLLER_EPOCH
        self._controller_epoch = controller_epoch
        return ErrorCode.NONE

    def _apply(
        self,
        tp: TopicPartition,
        topic_id: TopicId,
        state: messages.LeaderAndIsrRequest.LeaderAndIsrPartitionState,
    ) -> ErrorCode:
        if tp in self._offline:
            return ErrorCode.KAFKA_STORAGE_ERROR
        partition = self._partitions.get(tp)
        if partition is not None:
            known_id = partition.topic_id
            if known_id is not None and topic_id not in (ZERO_TOPIC_ID, known_id):
                return ErrorCode.INCONSISTENT_TOPIC_ID
            if state.leader_epoch <= partition.leader_epoch:
                return ErrorCode.STALE_CONTROLLER_EPOCH
        if self._broker_id not in state.replicas:
            return ErrorCode.UNKNOWN_TOPIC_OR_PARTITION
        if topic_name_problem(tp.topic) is not None or tp.partition < 0:
            return ErrorCode.INVALID_TOPIC_EXCEPTION
        try:
            if partition is None:
                partition = self._open_partition(tp, topic_id, state.is_new)
                self._partitions[tp] = partition
                self._by_topic.setdefault(tp.topic, {})[tp.partition] = partition
                self._recently_opened += 1
            self._change_role(partition, _partition_state(state))
        except ApiError as error:
            return error.code
        except StorageError as error:
            logger.error("%s cannot be served: %s", tp, error)
            return api_error(error).code
        return ErrorCode.NONE

    def _change_role(self, partition: Partition, state: PartitionState) -> None:
        is_leader = state.leader == self._broker_id
        if is_leader:
            self._followers.unfollow(partition.tp)
            partition.make_leader(state)
        else:
            partition.make_follower(state)
            if state.leader >= 0:
                self._followers.follow(partition, state.leader)
            else:
                self._followers.unfollow(partition.tp)
        self._on_leadership(LeadershipChange(partition, is_leader))

    async def stop_replica(self, request: messages.StopReplicaRequest) -> messages.StopReplicaResponse:
        """Stop serving the partitions named, and drop the log of those that are deleted."""
        async with self._one_order:
            refused = self.refuse_order(request.broker_epoch, request.controller_epoch)
            if refused is not ErrorCode.NONE:
                return messages.StopReplicaResponse(error_code=refused)
            response = messages.StopReplicaResponse(partition_errors=[])
            pace = Pace()
            for topic in request.topic_states:
                for state in topic.partition_states:
                    if pace.is_over:
                        await pace.rest()
                    response.partition_errors.append(
                        messages.StopReplicaResponse.StopReplicaPartitionError(
                            topic_name=topic.topic_name,
                            partition_index=state.partition_index,
                            error_code=self._stop(
                                TopicPartition(topic.topic_name, state.partition_index), state
                            ),
                        )
                    )
            return response

    def _stop(
        self, tp: TopicPartition, state: messages.StopReplicaRequest.StopReplicaPartitionState
    ) -> ErrorCode:
        if tp in self._offline:
            return ErrorCode.KAFKA_STORAGE_ERROR
        partition = self._partitions.get(tp)
        if partition is None:
            return ErrorCode.NONE
        epoch = state.leader_epoch
        if epoch not in (NO_LEADER_EPOCH, TOPIC_IS_BEING_DELETED) and epoch < partition.leader_epoch:
            return ErrorCode.FENCED_LEADER_EPOCH
        self._followers.unfollow(tp)
        if partition.is_leader:
            from pybroker.replication.partition import PartitionState

            partition.make_follower(PartitionState(leader_epoch=partition.leader_epoch))
            self._on_leadership(LeadershipChange(partition, is_leader=False))
        if not state.delete_partition:
            return ErrorCode.NONE
        self._forget(tp)
        try:
            self._drop_partition(partition)
        except StorageError as error:
            logger.error("%s cannot be deleted: %s", tp, error)
            return api_error(error).code
        return ErrorCode.NONE

    def _forget(self, tp: TopicPartition) -> None:
        del self._partitions[tp]
        of_topic = self._by_topic[tp.topic]
        del of_topic[tp.partition]
        if not of_topic:
            del self._by_topic[tp.topic]


def _partition_state(state: messages.LeaderAndIsrRequest.LeaderAndIsrPartitionState) -> PartitionState:
    from pybroker.replication.partition import PartitionState

    return PartitionState(
        leader=state.leader,
        leader_epoch=state.leader_epoch,
        controller_epoch=state.controller_epoch,
        partition_epoch=state.partition_epoch,
        isr=tuple(state.isr),
        replicas=tuple(state.replicas),
    )


def _refused_whole(request: messages.LeaderAndIsrRequest, code: ErrorCode) -> messages.LeaderAndIsrResponse:
    """The same code for the order and for each of its partitions."""
    return messages.LeaderAndIsrResponse(
        error_code=code,
        topics=[
            messages.LeaderAndIsrResponse.LeaderAndIsrTopicError(
                topic_id=topic.topic_id,
                partition_errors=[
                    messages.LeaderAndIsrResponse.LeaderAndIsrPartitionError(
                        topic_name=topic.topic_name, partition_index=state.partition_index, error_code=code
                    )
                    for state in topic.partition_states
                ],
            )
            for topic in request.topic_states
        ],
    )
