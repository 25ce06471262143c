"""DescribeConfigs (key 32), versions 0 to 4.

- Topics, read from the store: what another broker has just changed is there. This broker by its id; with an
  empty name what was set at run time for all brokers; this broker's loggers (KIP-412).
- Keys that are not named are left out, null or an empty list asks for all.
- Each entry has the layer its value comes from and, if asked, every place where a value was found, the one
  in force first. Secrets are null and say that they are.
- Another broker's id is INVALID_REQUEST; client metrics exist on KRaft clusters only.
- Consumer groups (KIP-848), as in Kafka 4, while all brokers of the cluster serve them.
- Unknown types refuse the whole request, as Kafka 3.9 does; so do groups where they are not served.

Versions: 0 has ``is_default``, which Kafka 3.9 leaves false; 1 sources and synonyms (KIP-226); 3 types and
documentation (KIP-569).
"""

import logging
from collections.abc import Callable, Container, Iterable

from pybroker.config.broker import BrokerConfig
from pybroker.config.describe import (
    ConfigEntry,
    describe_broker,
    describe_default_broker,
    describe_group,
    describe_topic,
)
from pybroker.config.layers import ConfigSource
from pybroker.config.resources import ResourceType, node_id
from pybroker.config.topic import TopicConfig
from pybroker.config.values import InvalidConfig
from pybroker.handlers.context import RequestContext
from pybroker.instruments import loggers
from pybroker.metadata.config_changes import ConfigChanges
from pybroker.metadata.image import ClusterImage
from pybroker.metadata.publisher import Publisher
from pybroker.metadata.store import StoreError
from pybroker.metadata.znodes import ConfigType, sanitize
from pybroker.model.errors import ApiError, ErrorCode
from pybroker.model.features import GROUP_VERSION
from pybroker.model.ids import BrokerId
from pybroker.model.topics import topic_name_problem
from pybroker.model.values import Value
from pybroker.protocol.messages import DescribeConfigsRequest, DescribeConfigsResponse

logger = logging.getLogger(__name__)

MALFORMED = (
    "This most likely occurs because of a request being malformed by the client library or the message was "
    "sent to an incompatible broker. See the broker logs for more details."
)

Result = DescribeConfigsResponse.DescribeConfigsResult
Entry = DescribeConfigsResponse.DescribeConfigsResourceResult


class DescribeConfigsHandler(Value):
    broker_id: BrokerId
    broker_config: Callable[[], BrokerConfig]
    publisher: Publisher
    configs: ConfigChanges

    async def __call__(self, ctx: RequestContext, request: DescribeConfigsRequest) -> DescribeConfigsResponse:
        refused = {ResourceType.UNKNOWN}
        if not ctx.image.features.get(GROUP_VERSION, 0):
            refused.add(ResourceType.GROUP)
        if any(ResourceType.of(asked.resource_type) in refused for asked in request.resources):
            raise ApiError(ErrorCode.INVALID_REQUEST, MALFORMED)
        await self._look_again(ctx.image, request)
        image = self.publisher.current
        return DescribeConfigsResponse(
            results=[self._describe(image, request, asked) for asked in request.resources]
        )

    async def _look_again(self, image: ClusterImage, request: DescribeConfigsRequest) -> None:
        """This broker may not have heard of the latest changes yet. Source: ``ZkConfigRepository``."""
        names = [
            asked.resource_name
            for asked in request.resources
            if ResourceType.of(asked.resource_type) is ResourceType.TOPIC
            and asked.resource_name in image.topics
        ]
        try:
            await self.configs.refresh_topics(names)
        except StoreError as error:
            logger.warning("topics are described as they were known: %r", error)

    def _describe(
        self,
        image: ClusterImage,
        request: DescribeConfigsRequest,
        asked: DescribeConfigsRequest.DescribeConfigsResource,
    ) -> Result:
        result = Result(resource_type=asked.resource_type, resource_name=asked.resource_name)
        keys = asked.configuration_keys or None
        try:
            match ResourceType.of(asked.resource_type):
                case ResourceType.TOPIC:
                    result.configs = _entries(request, self._topic(image, asked.resource_name, keys))
                case ResourceType.BROKER:
                    result.configs = _entries(request, self._broker(asked.resource_name, keys))
                case ResourceType.GROUP:
                    result.configs = _entries(request, self._group(image, asked.resource_name, keys))
                case ResourceType.BROKER_LOGGER:
                    result.configs = self._loggers(asked.resource_name, keys)
                case _:
                    raise _no_client_metrics(asked.resource_name)
        except ApiError as error:
            result.error_code = error.code
            result.error_message = error.message or ""
        return result

    def _topic(self, image: ClusterImage, name: str, keys: Container[str] | None) -> Iterable[ConfigEntry]:
        problem = topic_name_problem(name)
        if problem is not None:
            raise ApiError(ErrorCode.INVALID_TOPIC_EXCEPTION, problem)
        if name not in image.topics:
            raise ApiError(ErrorCode.UNKNOWN_TOPIC_OR_PARTITION)
        broker = self.broker_config()
        try:
            topic = TopicConfig.from_overrides(broker, image.config(ConfigType.TOPIC, name))
        except InvalidConfig as error:
            raise ApiError(ErrorCode.INVALID_CONFIG, str(error)) from None
        return describe_topic(topic, broker, keys)

    def _broker(self, name: str, keys: Container[str] | None) -> Iterable[ConfigEntry]:
        if not name:
            return describe_default_broker(self.broker_config(), keys)
        self._check_broker_id(name, f"expected {self.broker_id} or empty string,")
        return describe_broker(self.broker_config(), keys)

    def _group(self, image: ClusterImage, name: str, keys: Container[str] | None) -> Iterable[ConfigEntry]:
        if not name:
            raise ApiError(ErrorCode.INVALID_REQUEST, "Group name must not be empty")
        return describe_group(image.config(ConfigType.GROUP, sanitize(name)), self.broker_config(), keys)

    def _loggers(self, name: str, keys: Container[str] | None) -> list[Entry]:
        if not name:
            raise ApiError(ErrorCode.INVALID_REQUEST, "Broker id must not be empty")
        self._check_broker_id(name, f"expected {self.broker_id}")
        return [
            Entry(name=logger, value=level, config_source=ConfigSource.DYNAMIC_BROKER_LOGGER_CONFIG)
            for logger, level in loggers.levels().items()
            if keys is None or logger in keys
        ]

    def _check_broker_id(self, name: str, expected: str) -> None:
        number = node_id(name)
        if number is None:
            raise ApiError(ErrorCode.INVALID_REQUEST, f"Broker id must be an integer, but it is: {name}")
        if number != self.broker_id:
            raise ApiError(ErrorCode.INVALID_REQUEST, f"Unexpected broker id, {expected} but received {name}")


def _entries(request: DescribeConfigsRequest, described: Iterable[ConfigEntry]) -> list[Entry]:
    return [
        Entry(
            name=one.name,
            value=one.value,
            read_only=one.read_only,
            config_source=one.source,
            is_sensitive=one.sensitive,
            synonyms=[
                DescribeConfigsResponse.DescribeConfigsSynonym(
                    name=synonym.name, value=synonym.value, source=synonym.source
                )
                for synonym in one.synonyms
            ]
            if request.include_synonyms
            else [],
            config_type=one.type,
            documentation=one.doc if request.include_documentation else None,
        )
        for one in described
    ]


def _no_client_metrics(name: str) -> ApiError:
    if not name:
        return ApiError(ErrorCode.INVALID_REQUEST, "Client metrics subscription name must not be empty")
    return ApiError(
        ErrorCode.INVALID_REQUEST, "Config type client-metrics is only supported on KRaft clusters"
    )
