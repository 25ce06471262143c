"""ListPartitionReassignments (key 46), version 0. Only the active controller answers (KIP-455).

- The moves of replicas that are under way, of the partitions named or, with null, of all. Partitions that
  are not being moved, or do not exist, are left out.
"""

from pybroker.controller.api import ControllerApi
from pybroker.handlers.alter_partition_reassignments import NOT_CONTROLLER
from pybroker.handlers.context import RequestContext
from pybroker.model.errors import ApiError
from pybroker.model.ids import TopicPartition
from pybroker.model.values import Value
from pybroker.protocol.messages import ListPartitionReassignmentsRequest, ListPartitionReassignmentsResponse


class ListPartitionReassignmentsHandler(Value):
    controller: ControllerApi

    async def __call__(
        self,
        ctx: RequestContext,  # noqa: ARG002
        request: ListPartitionReassignmentsRequest,
    ) -> ListPartitionReassignmentsResponse:
        try:
            running = await self.controller.reassignments(_asked(request))
        except ApiError as error:
            return ListPartitionReassignmentsResponse(
                error_code=error.code, error_message=error.message or NOT_CONTROLLER
            )
        topics: dict[str, ListPartitionReassignmentsResponse.OngoingTopicReassignment] = {}
        for tp, assignment in running.items():
            topic = topics.setdefault(
                tp.topic, ListPartitionReassignmentsResponse.OngoingTopicReassignment(name=tp.topic)
            )
            topic.partitions.append(
                ListPartitionReassignmentsResponse.OngoingPartitionReassignment(
                    partition_index=tp.partition,
                    replicas=list(assignment.replicas),
                    adding_replicas=list(assignment.adding),
                    removing_replicas=list(assignment.removing),
                )
            )
        return ListPartitionReassignmentsResponse(topics=list(topics.values()))


def _asked(request: ListPartitionReassignmentsRequest) -> list[TopicPartition] | None:
    if request.topics is None:
        return None
    return [
        TopicPartition(topic.name, index) for topic in request.topics for index in topic.partition_indexes
    ]
