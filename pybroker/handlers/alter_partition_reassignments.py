"""AlterPartitionReassignments (key 45), version 0. Only the active controller answers (KIP-455).

- Starts moving each partition to a list of replicas, or with null takes back a move that is under way.
- Answers as soon as the wishes are written down, not when the replicas have moved.
- Refused: no replicas, a replica twice, unknown or dead brokers as new replicas
  (INVALID_REPLICA_ASSIGNMENT), nothing to take back (NO_REASSIGNMENT_IN_PROGRESS).

Left out: version 1, which may forbid a change of the replication factor (KIP-860, Kafka 4.1).
"""

from collections.abc import Sequence

from pybroker.controller.api import ControllerApi
from pybroker.handlers.context import RequestContext
from pybroker.model.errors import ApiError, ErrorCode
from pybroker.model.ids import BrokerId, TopicPartition
from pybroker.model.values import Value
from pybroker.protocol.messages import AlterPartitionReassignmentsRequest, AlterPartitionReassignmentsResponse

NOTHING_TO_TAKE_BACK = "No partition reassignment is in progress."
NOT_CONTROLLER = "This is not the correct controller for this cluster."


class AlterPartitionReassignmentsHandler(Value):
    controller: ControllerApi

    async def __call__(
        self,
        ctx: RequestContext,  # noqa: ARG002
        request: AlterPartitionReassignmentsRequest,
    ) -> AlterPartitionReassignmentsResponse:
        wishes: dict[TopicPartition, Sequence[BrokerId] | None] = {
            TopicPartition(topic.name, partition.partition_index): partition.replicas
            for topic in request.topics
            for partition in topic.partitions
        }
        try:
            outcomes = await self.controller.alter_reassignments(wishes)
        except ApiError as error:
            return AlterPartitionReassignmentsResponse(
                error_code=error.code, error_message=error.message or NOT_CONTROLLER
            )
        topics: dict[str, AlterPartitionReassignmentsResponse.ReassignableTopicResponse] = {}
        for tp, outcome in outcomes.items():
            topic = topics.setdefault(
                tp.topic, AlterPartitionReassignmentsResponse.ReassignableTopicResponse(name=tp.topic)
            )
            topic.partitions.append(_reply(tp, outcome))
        return AlterPartitionReassignmentsResponse(responses=list(topics.values()))


def _reply(
    tp: TopicPartition, error: ApiError | None
) -> AlterPartitionReassignmentsResponse.ReassignablePartitionResponse:
    reply = AlterPartitionReassignmentsResponse.ReassignablePartitionResponse(
        partition_index=tp.partition, error_message=None
    )
    if error is not None:
        reply.error_code = error.code
        nothing = error.code is ErrorCode.NO_REASSIGNMENT_IN_PROGRESS
        reply.error_message = NOTHING_TO_TAKE_BACK if nothing else error.message
    return reply
