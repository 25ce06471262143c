"""CreateTopics (key 19), versions 0 to 7. Only the active controller answers, others say NOT_CONTROLLER.

- Each topic is created on its own, with numbers of partitions and replicas or with an assignment.
- Answers when every partition has a leader here, or REQUEST_TIMED_OUT after the client's time-out.
- ``validate_only`` checks everything and writes nothing.

Versions: 1 validate_only and error messages; 4 defaults by -1 (KIP-464); 5 the configuration in the reply
(KIP-525); 7 topic ids.
"""

from collections import Counter
from collections.abc import Callable, Mapping

from pybroker.config.broker import BrokerConfig
from pybroker.config.describe import describe_topic
from pybroker.config.topic import TopicConfig
from pybroker.controller.topic_creation import NewTopic, Result
from pybroker.controller.topics_admin import TopicsAdmin
from pybroker.handlers.context import RequestContext
from pybroker.model.errors import ErrorCode
from pybroker.model.ids import ZERO_TOPIC_ID, TopicId
from pybroker.model.topics import CLUSTER_METADATA
from pybroker.model.values import Value
from pybroker.protocol.messages import CreateTopicsRequest, CreateTopicsResponse


class CreateTopicsHandler(Value):
    topics: TopicsAdmin
    is_controller: Callable[[], bool]
    broker_config: Callable[[], BrokerConfig]

    async def __call__(self, ctx: RequestContext, request: CreateTopicsRequest) -> CreateTopicsResponse:  # noqa: ARG002
        if not self.is_controller():
            return CreateTopicsResponse(
                topics=[_failed(topic.name, ErrorCode.NOT_CONTROLLER) for topic in request.topics]
            )
        counts = Counter(topic.name for topic in request.topics)
        refused = {name: refusal for name, count in counts.items() if (refusal := _refusal(name, count))}
        created = await self.topics.create_topics(
            [_new_topic(topic) for topic in request.topics if topic.name not in refused],
            request.timeout_ms,
            validate_only=request.validate_only,
        )
        described = _Described(self.broker_config())
        return CreateTopicsResponse(
            topics=[
                refused[topic.name]
                if topic.name in refused
                else _reply(topic.name, created[topic.name], described)
                for topic in request.topics
            ]
        )


class _Described:
    """The configurations of the topics of one request. To describe one takes 0.1 ms, and most often all of
    them have the same: those share a list."""

    def __init__(self, broker: BrokerConfig) -> None:
        self._broker = broker
        self._known: dict[frozenset[tuple[str, str]], list[CreateTopicsResponse.CreatableTopicConfigs]] = {}

    def __call__(self, overrides: Mapping[str, str]) -> list[CreateTopicsResponse.CreatableTopicConfigs]:
        key = frozenset(overrides.items())
        if key not in self._known:
            self._known[key] = [
                CreateTopicsResponse.CreatableTopicConfigs(
                    name=described.name,
                    value=described.value,
                    read_only=described.read_only,
                    config_source=described.source,
                    is_sensitive=described.sensitive,
                )
                for described in describe_topic(
                    TopicConfig.from_overrides(self._broker, overrides), self._broker
                )
            ]
        return self._known[key]


def _reply(name: str, result: Result, described: _Described) -> CreateTopicsResponse.CreatableTopicResult:
    if result.error is not ErrorCode.NONE:
        return _failed(name, result.error, result.message, result.topic_id)
    return CreateTopicsResponse.CreatableTopicResult(
        name=name,
        topic_id=result.topic_id,
        error_message=None,
        num_partitions=result.num_partitions,
        replication_factor=result.replication_factor,
        configs=described(result.configs),
    )


def _new_topic(topic: CreateTopicsRequest.CreatableTopic) -> NewTopic:
    return NewTopic(
        topic.name,
        topic.num_partitions,
        topic.replication_factor,
        {one.partition_index: tuple(one.broker_ids) for one in topic.assignments},
        tuple((config.name, config.value) for config in topic.configs),
    )


def _refusal(name: str, count: int) -> CreateTopicsResponse.CreatableTopicResult | None:
    if name == CLUSTER_METADATA:
        return _failed(
            name, ErrorCode.INVALID_REQUEST, f"Creation of internal topic {CLUSTER_METADATA} is prohibited."
        )
    if count > 1:
        return _failed(name, ErrorCode.INVALID_REQUEST, "Found multiple entries for this topic.")
    return None


def _failed(
    name: str, code: ErrorCode, message: str | None = None, topic_id: TopicId = ZERO_TOPIC_ID
) -> CreateTopicsResponse.CreatableTopicResult:
    return CreateTopicsResponse.CreatableTopicResult(
        name=name,
        topic_id=topic_id,
        error_code=code,
        error_message=message,
        num_partitions=-1,
        replication_factor=-1,
        configs=[],
    )
