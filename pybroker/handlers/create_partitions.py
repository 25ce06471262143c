"""CreatePartitions (key 37), versions 0 to 3. Only the active controller answers, others say NOT_CONTROLLER.

- Grows each topic on its own to a number of partitions; the replicas of the new ones may be given.
- Answers when every new partition has a leader here, or REQUEST_TIMED_OUT after the client's time-out.
- ``validate_only`` checks everything and writes nothing.
- A topic named twice is refused once; a topic that is being deleted cannot grow.

Versions: 3 may be throttled with an error code (KIP-599).
"""

from collections import Counter
from collections.abc import Callable, Sequence

from pybroker.controller.topic_creation import Result
from pybroker.controller.topics_admin import NewPartitions, TopicsAdmin
from pybroker.handlers.context import RequestContext
from pybroker.model.errors import ErrorCode
from pybroker.model.values import Value
from pybroker.protocol.messages import CreatePartitionsRequest, CreatePartitionsResponse


class CreatePartitionsHandler(Value):
    topics: TopicsAdmin
    is_controller: Callable[[], bool]

    async def __call__(
        self,
        ctx: RequestContext,  # noqa: ARG002
        request: CreatePartitionsRequest,
    ) -> CreatePartitionsResponse:
        counts = Counter(topic.name for topic in request.topics)
        if not self.is_controller():
            results = dict.fromkeys(counts, Result(ErrorCode.NOT_CONTROLLER))
        else:
            results = await self.topics.create_partitions(
                [_new_partitions(topic) for topic in request.topics if counts[topic.name] == 1],
                request.timeout_ms,
                validate_only=request.validate_only,
            )
        twice = Result(ErrorCode.INVALID_REQUEST, "Duplicate topic in request.")
        return CreatePartitionsResponse(results=[_reply(name, results.get(name, twice)) for name in counts])


def _new_partitions(topic: CreatePartitionsRequest.CreatePartitionsTopic) -> NewPartitions:
    assignments: Sequence[Sequence[int]] | None = None
    if topic.assignments is not None:
        assignments = [assignment.broker_ids for assignment in topic.assignments]
    return NewPartitions(topic.name, topic.count, assignments)


def _reply(name: str, result: Result) -> CreatePartitionsResponse.CreatePartitionsTopicResult:
    return CreatePartitionsResponse.CreatePartitionsTopicResult(
        name=name, error_code=result.error, error_message=result.message
    )
