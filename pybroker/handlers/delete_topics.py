"""DeleteTopics (key 20), versions 0 to 6. Only the active controller answers, others say NOT_CONTROLLER.

- By name or, since version 6, by topic id. Answers when the topic is gone from the cluster's metadata, or
  REQUEST_TIMED_OUT after the client's time-out; its files go later.
- ``delete.topic.enable=false`` refuses everything; a name together with an id refuses the whole request.

Versions: 3 has the code TOPIC_DELETION_DISABLED; 5 error messages; 6 topic ids (KIP-516).
"""

from collections.abc import Callable

from pybroker.controller.topics_admin import TopicsAdmin
from pybroker.handlers.context import RequestContext
from pybroker.metadata.image import ClusterImage
from pybroker.model.errors import ApiError, ErrorCode
from pybroker.model.ids import ZERO_TOPIC_ID
from pybroker.model.values import Value
from pybroker.protocol.messages import DeleteTopicsRequest, DeleteTopicsResponse

FIRST_VERSION_WITH_DELETION_DISABLED = 3
FIRST_VERSION_WITH_TOPIC_IDS = 6


class DeleteTopicsHandler(Value):
    topics: TopicsAdmin
    is_controller: Callable[[], bool]
    is_enabled: bool

    async def __call__(self, ctx: RequestContext, request: DeleteTopicsRequest) -> DeleteTopicsResponse:
        wanted = _wanted(ctx, request)
        refusal = self._refusal(ctx)
        if refusal is not ErrorCode.NONE:
            return DeleteTopicsResponse(
                responses=[_result(topic.name, topic.topic_id, refusal) for topic in wanted]
            )
        results = [_look_up(ctx.image, topic) for topic in wanted]
        names = [result.name for result in results if result.error_code == ErrorCode.NONE and result.name]
        deleted = await self.topics.delete_topics(dict.fromkeys(names), request.timeout_ms)
        for result in results:
            if result.error_code == ErrorCode.NONE and result.name is not None:
                result.error_code = deleted[result.name].error
        return DeleteTopicsResponse(responses=results)

    def _refusal(self, ctx: RequestContext) -> ErrorCode:
        if not self.is_controller():
            return ErrorCode.NOT_CONTROLLER
        if self.is_enabled:
            return ErrorCode.NONE
        if ctx.api_version < FIRST_VERSION_WITH_DELETION_DISABLED:
            return ErrorCode.INVALID_REQUEST
        return ErrorCode.TOPIC_DELETION_DISABLED


def _wanted(ctx: RequestContext, request: DeleteTopicsRequest) -> list[DeleteTopicsRequest.DeleteTopicState]:
    if ctx.api_version < FIRST_VERSION_WITH_TOPIC_IDS:
        return [DeleteTopicsRequest.DeleteTopicState(name=name) for name in request.topic_names]
    for topic in request.topics:
        if topic.name is not None and topic.topic_id != ZERO_TOPIC_ID:
            raise ApiError(ErrorCode.INVALID_REQUEST)
    return request.topics


def _look_up(
    image: ClusterImage, topic: DeleteTopicsRequest.DeleteTopicState
) -> DeleteTopicsResponse.DeletableTopicResult:
    if topic.topic_id == ZERO_TOPIC_ID:
        if topic.name is None:
            # Nobody is authorised to delete a topic without a name, not even where there is no authorizer.
            return _result(None, topic.topic_id, ErrorCode.TOPIC_AUTHORIZATION_FAILED)
        known = topic.name in image.topics
        code = ErrorCode.NONE if known else ErrorCode.UNKNOWN_TOPIC_OR_PARTITION
        return _result(topic.name, topic.topic_id, code)
    name = image.topic_names_by_id.get(topic.topic_id)
    return _result(name, topic.topic_id, ErrorCode.NONE if name is not None else ErrorCode.UNKNOWN_TOPIC_ID)


def _result(name: str | None, topic_id: bytes, code: ErrorCode) -> DeleteTopicsResponse.DeletableTopicResult:
    return DeleteTopicsResponse.DeletableTopicResult(name=name, topic_id=topic_id, error_code=code)
