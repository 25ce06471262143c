"""ElectLeaders (key 43), versions 0 to 2. Only the active controller answers, others say NOT_CONTROLLER.

- Elects the preferred replica, or where nobody leads any replica at the price of records; of the partitions
  named or, with null, of all. With null, partitions that needed no election are left out of the reply.
- Answers when the new leaders are known here; those that are not in time are REQUEST_TIMED_OUT.

Versions: 0 knows preferred elections only; 1 brings the type and an error for the whole request (KIP-460).
"""

from collections.abc import Collection, Mapping

import trio

from pybroker.controller.api import ControllerApi
from pybroker.handlers.context import RequestContext
from pybroker.metadata.image import ClusterImage, PartitionImage
from pybroker.metadata.publisher import Publisher
from pybroker.model.errors import ApiError, ErrorCode
from pybroker.model.ids import TopicPartition
from pybroker.model.values import Value
from pybroker.protocol.messages import ElectLeadersRequest, ElectLeadersResponse

PREFERRED = 0
UNCLEAN = 1
NOT_NEEDED = "Leader election not needed for topic partition."

Outcomes = dict[TopicPartition, ApiError | None]


class ElectLeadersHandler(Value):
    controller: ControllerApi
    publisher: Publisher

    async def __call__(self, ctx: RequestContext, request: ElectLeadersRequest) -> ElectLeadersResponse:
        if request.election_type not in (PREFERRED, UNCLEAN):
            return _unknown_type(ctx, request)
        outcomes = await self._elect(ctx.image, request)
        if request.topic_partitions is None:
            outcomes = {tp: error for tp, error in outcomes.items() if not _is_not_needed(error)}
        return ElectLeadersResponse(replica_election_results=_results(outcomes))

    async def _elect(self, image: ClusterImage, request: ElectLeadersRequest) -> Outcomes:
        partitions = _asked(image, request)
        unclean = request.election_type == UNCLEAN
        deadline = trio.current_time() + max(0, request.timeout_ms) / 1000
        try:
            outcomes = await self.controller.elect_leaders(partitions, unclean=unclean)
        except ApiError as error:
            return dict.fromkeys(partitions, error)
        elected = [tp for tp, error in outcomes.items() if error is None]
        for tp in await self._wait(elected, deadline, unclean=unclean):
            outcomes[tp] = ApiError(ErrorCode.REQUEST_TIMED_OUT)
        return outcomes

    async def _wait(
        self, elected: Collection[TopicPartition], deadline: float, *, unclean: bool
    ) -> list[TopicPartition]:
        """Waits until the image has the new leaders; returns the partitions that are late."""

        def late() -> list[TopicPartition]:
            image = self.publisher.current
            return [tp for tp in elected if not _is_led(image.partition(tp), unclean=unclean)]

        with trio.move_on_at(deadline):
            while late():
                changed = trio.Event()

                def wake(_old: ClusterImage, _new: ClusterImage, changed: trio.Event = changed) -> None:
                    changed.set()

                forget = self.publisher.on_change(wake)
                try:
                    await changed.wait()
                finally:
                    forget()
        return late()


def _unknown_type(ctx: RequestContext, request: ElectLeadersRequest) -> ElectLeadersResponse:
    error = ApiError(
        ErrorCode.INVALID_REQUEST, f"Value {request.election_type} must be one of PREFERRED, UNCLEAN"
    )
    asked = [] if request.topic_partitions is None else _asked(ctx.image, request)
    return ElectLeadersResponse(
        error_code=error.code, replica_election_results=_results(dict.fromkeys(asked, error))
    )


def _asked(image: ClusterImage, request: ElectLeadersRequest) -> list[TopicPartition]:
    if request.topic_partitions is None:
        return [
            TopicPartition(name, index) for name, topic in image.topics.items() for index in topic.partitions
        ]
    named = [TopicPartition(one.topic, index) for one in request.topic_partitions for index in one.partitions]
    return list(dict.fromkeys(named))


def _is_led(partition: PartitionImage | None, *, unclean: bool) -> bool:
    if partition is None:
        return False
    return partition.has_leader if unclean else partition.leader == partition.replicas[0]


def _is_not_needed(error: ApiError | None) -> bool:
    return error is not None and error.code is ErrorCode.ELECTION_NOT_NEEDED


def _results(
    outcomes: Mapping[TopicPartition, ApiError | None],
) -> list[ElectLeadersResponse.ReplicaElectionResult]:
    topics: dict[str, ElectLeadersResponse.ReplicaElectionResult] = {}
    for tp, error in outcomes.items():
        result = ElectLeadersResponse.PartitionResult(partition_id=tp.partition, error_message=None)
        if error is not None:
            result.error_code = error.code
            result.error_message = NOT_NEEDED if _is_not_needed(error) else error.message
        topic = topics.setdefault(tp.topic, ElectLeadersResponse.ReplicaElectionResult(topic=tp.topic))
        topic.partition_result.append(result)
    return list(topics.values())
