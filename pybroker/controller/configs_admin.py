"""Changes configurations on behalf of clients: checks them, writes them to the store, tells all brokers.

Any broker may do so for topics and for the defaults of all brokers; its own configuration and its loggers
only a broker itself. The sentences are those of ``ConfigAdminManager`` and ``ZkAdminManager`` of Kafka 3.9.
"""

import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence

import trio

from pybroker.config.alter import Change, Operation, apply_changes, check_broker_update, usable_updates
from pybroker.config.broker import BrokerConfig
from pybroker.config.definitions import broker_keys, find_broker_key, group_keys, topic_keys
from pybroker.config.group import check_group_overrides
from pybroker.config.resources import ConfigResource, ResourceType, node_id
from pybroker.config.topic import TopicConfig
from pybroker.config.values import InvalidConfig, InvalidValue, NotSupported
from pybroker.instruments import loggers
from pybroker.metadata.config_store import write_config
from pybroker.metadata.publisher import Publisher
from pybroker.metadata.store import NoNode, Store
from pybroker.metadata.znodes import DEFAULT_ENTITY, ConfigEntityZNode, ConfigType, sanitize
from pybroker.model.errors import ApiError, ErrorCode
from pybroker.model.features import GROUP_VERSION
from pybroker.model.ids import BrokerId
from pybroker.model.topics import topic_name_problem
from pybroker.model.values import Value

log = logging.getLogger(__name__)

_STORED_AS = {
    ResourceType.TOPIC: ConfigType.TOPIC,
    ResourceType.BROKER: ConfigType.BROKER,
    ResourceType.GROUP: ConfigType.GROUP,
}
_OPERATIONS = frozenset(int(one) for one in Operation)

Reread = Callable[[list[tuple[ConfigType, str]]], Awaitable[None]]
"""Reads entities again and publishes them, so that whoever changed one sees the change at once."""


class Wish(Value):
    """One entry of a request, as it came. ``operation`` is a number of :class:`Operation`, if it is known."""

    name: str
    value: str | None
    operation: int = Operation.SET


class ConfigsAdmin:
    """One per broker.

    Args:
        store: the broker's session.
        publisher: whose image tells which topics there are.
        broker_id: this broker.
        config: its configuration as it is now.
        reread: see :data:`Reread`.
    """

    def __init__(
        self,
        store: Store,
        publisher: Publisher,
        broker_id: BrokerId,
        config: Callable[[], BrokerConfig],
        reread: Reread,
    ) -> None:
        self._store = store
        self._publisher = publisher
        self.broker_id = broker_id
        self._config = config
        self._reread = reread
        self._one_at_a_time = trio.Lock()

    async def replace(self, resource: ConfigResource, wishes: Sequence[Wish], *, validate_only: bool) -> None:
        """AlterConfigs: the wishes are all that is configured from now on.

        Raises:
            ApiError: nothing was changed.
        """
        _check_wishes(wishes)
        values = {wish.name: wish.value for wish in wishes if wish.value is not None}
        match resource.type:
            case ResourceType.TOPIC:
                entity = self._topic(resource)
                self._check_topic(resource, values)
            case ResourceType.BROKER:
                entity = self._broker(resource)
                self._check_broker(resource, values)
            case ResourceType.GROUP if self._serves_groups():
                entity = self._group(resource)
                self._check_group(values)
            case _:
                raise _wrong_type(resource)
        if not validate_only:
            await self._write(resource, entity, values)

    async def change(self, resource: ConfigResource, wishes: Sequence[Wish], *, validate_only: bool) -> None:
        """IncrementalAlterConfigs: each wish is one step.

        Raises:
            ApiError: nothing was changed.
        """
        _check_wishes(wishes)
        match resource.type:
            case ResourceType.TOPIC:
                async with self._one_at_a_time:
                    await self._change_topic(resource, wishes, validate_only=validate_only)
            case ResourceType.BROKER:
                async with self._one_at_a_time:
                    await self._change_broker(resource, wishes, validate_only=validate_only)
            case ResourceType.GROUP if self._serves_groups():
                async with self._one_at_a_time:
                    await self._change_group(resource, wishes, validate_only=validate_only)
            case ResourceType.BROKER_LOGGER:
                self._change_loggers(resource, wishes, validate_only=validate_only)
            case _:
                raise _wrong_type(resource)

    # -- topics

    async def _change_topic(
        self, resource: ConfigResource, wishes: Sequence[Wish], *, validate_only: bool
    ) -> None:
        if not resource.name:
            raise _no_default_topic()
        stored: Mapping[str, str] = {}
        if topic_name_problem(resource.name) is None:
            stored = await self._read(ConfigType.TOPIC, resource.name)
        values = _apply(lambda: apply_changes(stored, _changes(wishes), topic_keys))
        entity = self._topic(resource)
        self._check_topic(resource, values)
        if not validate_only:
            await self._write(resource, entity, values)

    def _topic(self, resource: ConfigResource) -> str:
        if not resource.name:
            raise _no_default_topic()
        if resource.name not in self._publisher.current.topics:
            raise ApiError(
                ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, f"The topic '{resource.name}' does not exist."
            )
        return resource.name

    def _check_topic(self, resource: ConfigResource, values: Mapping[str, str]) -> None:
        try:
            TopicConfig.from_overrides(self._config(), values)
        except (InvalidValue, NotSupported) as error:
            raise _invalid(resource, str(error)) from None
        except InvalidConfig as error:
            raise ApiError(ErrorCode.INVALID_CONFIG, str(error)) from None

    # -- brokers

    async def _change_broker(
        self, resource: ConfigResource, wishes: Sequence[Wish], *, validate_only: bool
    ) -> None:
        entity = self._broker(resource)
        stored = await self._read(ConfigType.BROKER, entity)
        before = usable_updates(stored, for_this_broker=bool(resource.name))
        values = _apply(lambda: apply_changes(before, _changes(wishes), broker_keys))
        self._check_broker(resource, values)
        if not validate_only:
            await self._write(resource, entity, values)

    def _broker(self, resource: ConfigResource) -> str:
        """The entity in the store; a broker changes only itself and the defaults of all."""
        if not resource.name:
            return DEFAULT_ENTITY
        self._check_node_id(resource.name, "Unexpected broker id, expected {}, but received {}")
        return str(self.broker_id)

    def _check_broker(self, resource: ConfigResource, values: Mapping[str, str]) -> None:
        for_this_broker = bool(resource.name)
        try:
            check_broker_update(self._config(), values, for_this_broker=for_this_broker)
        except InvalidConfig as error:
            # Well-formed but refused: Kafka says INVALID_REQUEST for a broker (KAFKA-13609).
            raise ApiError(ErrorCode.INVALID_REQUEST, str(error)) from None
        if any(_is_password(name) for name in values):
            problem = (
                "Password encoder secret not configured"
                if for_this_broker
                else "Password config can be defined only at broker level"
            )
            raise _invalid(resource, problem)

    def _check_node_id(self, name: str, sentence: str) -> None:
        number = node_id(name)
        if number is None:
            raise ApiError(ErrorCode.INVALID_REQUEST, f"Node id must be an integer, but it is: {name}")
        if number != self.broker_id:
            raise ApiError(ErrorCode.INVALID_REQUEST, sentence.format(self.broker_id, name))

    # -- groups

    def _serves_groups(self) -> bool:
        """While a broker of the cluster does not know configurations of groups, notes of them would stop it
        from reading any others."""
        return self._publisher.current.features.get(GROUP_VERSION, 0) > 0

    async def _change_group(
        self, resource: ConfigResource, wishes: Sequence[Wish], *, validate_only: bool
    ) -> None:
        entity = self._group(resource)
        stored = await self._read(ConfigType.GROUP, entity)
        values = _apply(lambda: apply_changes(stored, _changes(wishes), group_keys))
        self._check_group(values)
        if not validate_only:
            await self._write(resource, entity, values)

    def _group(self, resource: ConfigResource) -> str:
        """The entity in the store; the group need not exist yet."""
        if not resource.name:
            raise ApiError(ErrorCode.INVALID_REQUEST, "Default group resources are not allowed.")
        return sanitize(resource.name)

    def _check_group(self, values: Mapping[str, str]) -> None:
        try:
            check_group_overrides(self._config(), values)
        except InvalidConfig as error:
            raise ApiError(ErrorCode.INVALID_CONFIG, str(error)) from None

    # -- loggers

    def _change_loggers(
        self, resource: ConfigResource, wishes: Sequence[Wish], *, validate_only: bool
    ) -> None:
        self._check_node_id(resource.name, "Unexpected node id. Expected {0}, but received {0}")
        for wish in wishes:
            _check_logger(wish)
        if validate_only:
            return
        for wish in wishes:
            loggers.set_level(wish.name, wish.value if wish.operation == Operation.SET else None)
            log.warning("the level of logger %s is now %s", wish.name, wish.value)

    # -- the store

    async def _read(self, config_type: ConfigType, entity: str) -> Mapping[str, str]:
        path = ConfigEntityZNode.path(config_type, entity)
        try:
            data, _ = await self._store.get(path)
        except NoNode:
            return {}
        return ConfigEntityZNode.decode(path, data)

    async def _write(self, resource: ConfigResource, entity: str, values: Mapping[str, str]) -> None:
        config_type = _STORED_AS[resource.type]
        await write_config(self._store, config_type, entity, values)
        log.info("changed %s: %s", resource, ", ".join(values) or "nothing is set any more")
        await self._reread([(config_type, entity)])


def _check_wishes(wishes: Sequence[Wish]) -> None:
    if len({wish.name for wish in wishes}) < len(wishes):
        raise ApiError(ErrorCode.INVALID_REQUEST, "Error due to duplicate config keys")
    nulls = [wish.name for wish in wishes if wish.value is None and wish.operation != Operation.DELETE]
    if nulls:
        raise ApiError(ErrorCode.INVALID_REQUEST, f"Null value not supported for : {', '.join(nulls)}")


def _changes(wishes: Iterable[Wish]) -> list[Change]:
    changes = []
    for wish in wishes:
        if wish.operation not in _OPERATIONS:
            raise ApiError(ErrorCode.INVALID_REQUEST, f"Unknown operations type {wish.operation}")
        changes.append(Change(Operation(wish.operation), wish.name, wish.value or ""))
    return changes


def _apply(change: Callable[[], dict[str, str]]) -> dict[str, str]:
    try:
        return change()
    except InvalidConfig as error:
        raise ApiError(ErrorCode.INVALID_CONFIG, str(error)) from None


def _check_logger(wish: Wish) -> None:
    where = f"operation is not allowed for the {ResourceType.BROKER_LOGGER.name} resource"
    match wish.operation:
        case Operation.SET | Operation.DELETE:
            if not loggers.exists(wish.name):
                raise ApiError(ErrorCode.INVALID_CONFIG, f"Logger {wish.name} does not exist!")
        case Operation.APPEND | Operation.SUBTRACT:
            raise ApiError(ErrorCode.INVALID_REQUEST, f"{Operation(wish.operation).name} {where}")
        case unknown:
            raise ApiError(
                ErrorCode.INVALID_REQUEST,
                f"Unknown operation type {unknown} is not allowed for the "
                f"{ResourceType.BROKER_LOGGER.name} resource",
            )
    if wish.operation == Operation.SET and wish.value not in loggers.LEVELS:
        raise ApiError(
            ErrorCode.INVALID_CONFIG,
            f"Cannot set the log level of {wish.name} to {wish.value} as it is not a supported log level. "
            f"Valid log levels are {', '.join(loggers.LEVELS)}",
        )
    if wish.operation == Operation.DELETE and wish.name == loggers.ROOT:
        raise ApiError(
            ErrorCode.INVALID_REQUEST, f"Removing the log level of the {loggers.ROOT} logger is not allowed"
        )


def _is_password(name: str) -> bool:
    row = find_broker_key(name)
    return row is not None and row.sensitive


def _invalid(resource: ConfigResource, problem: str) -> ApiError:
    return ApiError(ErrorCode.INVALID_CONFIG, f"Invalid config value for resource {resource}: {problem}")


def _no_default_topic() -> ApiError:
    return ApiError(ErrorCode.INVALID_REQUEST, "Default topic resources are not allowed.")


def _wrong_type(resource: ConfigResource) -> ApiError:
    if resource.type is ResourceType.CLIENT_METRICS:
        return ApiError(
            ErrorCode.INVALID_REQUEST,
            "AlterConfigs is only supported for topics and brokers, but resource type is CLIENT_METRICS",
        )
    return ApiError(ErrorCode.INVALID_REQUEST, f"Unknown resource type {resource.number}")
