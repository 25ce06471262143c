"""Changes of configurations at run time: what AlterConfigs and IncrementalAlterConfigs make of stored values.

Source: ``ConfigAdminManager.prepareIncrementalConfigs`` and ``DynamicBrokerConfig.validateConfigs`` of Kafka
3.9, whose sentences these are. Pure functions; a refusal is an :class:`InvalidConfig`.
"""

import logging
from collections.abc import Iterable, Mapping
from enum import IntEnum

from pybroker.config.broker import BrokerConfig
from pybroker.config.definitions import LISTENER_PREFIX, broker_keys, broker_quota_keys, find_broker_key
from pybroker.config.keys import ConfigKey, UpdateMode
from pybroker.config.values import ConfigType, InvalidConfig, format_value
from pybroker.model.values import Value

logger = logging.getLogger(__name__)

_ONLY_PER_LISTENER = frozenset(
    f"ssl.{name}"
    for name in (
        "keystore.type",
        "keystore.location",
        "keystore.password",
        "key.password",
        "truststore.type",
        "truststore.location",
        "truststore.password",
        "keystore.certificate.chain",
        "keystore.key",
        "truststore.certificates",
    )
)
_THREADS = (
    "num.io.threads",
    "num.replica.fetchers",
    "num.recovery.threads.per.data.dir",
    "background.threads",
)


class Operation(IntEnum):
    """What is done to one key; the numbers of IncrementalAlterConfigs."""

    SET = 0
    DELETE = 1
    APPEND = 2
    SUBTRACT = 3


class Change(Value):
    """One step of an incremental change. ``text`` is not used by DELETE."""

    operation: Operation
    name: str
    text: str = ""


def apply_changes(
    stored: Mapping[str, str], changes: Iterable[Change], rows: Mapping[str, ConfigKey]
) -> dict[str, str]:
    """The stored values after the changes, which are made in their order. APPEND and SUBTRACT work on lists,
    and begin with the key's default when nothing is stored.

    Raises:
        InvalidConfig: APPEND or SUBTRACT of a key that is unknown or no list.
    """
    result = dict(stored)
    for change in changes:
        match change.operation:
            case Operation.SET:
                result[change.name] = change.text
            case Operation.DELETE:
                result.pop(change.name, None)
            case Operation.APPEND:
                old = _old_list(result, change, rows)
                new = [item for item in change.text.split(",") if item not in old]
                result[change.name] = ",".join([*old, *new])
            case Operation.SUBTRACT:
                result[change.name] = ",".join(
                    _without(_old_list(result, change, rows), change.text.split(","))
                )
    return result


def check_broker_update(
    broker: BrokerConfig, configs: Mapping[str, str], *, for_this_broker: bool
) -> BrokerConfig:
    """Whether these values may replace what was set at run time, for this broker or for all; returns
    the configuration that they would give.

    Raises:
        InvalidConfig: a key cannot be changed at run time, or not in this place, or a value is not allowed.
    """
    read_only = [name for name, row in broker_keys.items() if row.mode is UpdateMode.READ_ONLY]
    _refuse_any(configs, read_only, "Cannot update these configs dynamically")
    _refuse_any(
        configs,
        _ONLY_PER_LISTENER,
        "These security configs can be dynamically updated only per-listener using the listener prefix",
    )
    for name, text in configs.items():
        row = find_broker_key(name)
        if row is not None:
            row.parse(text)
    if not for_this_broker:
        _refuse_any(
            configs,
            [name for name in configs if _is_per_broker(name)],
            "Cannot update these configs at default cluster level, broker id must be specified",
        )
    changed = (
        broker.with_layers(dynamic_broker=configs)
        if for_this_broker
        else broker.with_layers(dynamic_default=configs)
    )
    _check_components(broker, changed)
    return changed


def usable_updates(stored: Mapping[str, str], *, for_this_broker: bool) -> dict[str, str]:
    """The stored run-time values that a broker obeys. The others, which this version refuses but another tool
    may have written, are logged and left out (``DynamicBrokerConfig.fromPersistentProps``).
    """
    usable = {}
    for name, text in stored.items():
        problem = _problem(name, text, for_this_broker=for_this_broker)
        if problem is None:
            usable[name] = text
        else:
            logger.error("the stored broker configuration %s is ignored: %s", name, problem)
    return usable


def _problem(name: str, text: str, *, for_this_broker: bool) -> str | None:
    row = broker_keys.get(name)
    if row is not None and row.mode is UpdateMode.READ_ONLY:
        return "it cannot be changed at run time"
    if name in _ONLY_PER_LISTENER:
        return "it can only be set for a listener"
    if not for_this_broker and _is_per_broker(name):
        return "it can only be set for one broker"
    found = find_broker_key(name)
    if found is not None and found.sensitive:
        return "passwords are stored encrypted, and there is no secret to decode them with"
    try:
        if found is not None:
            found.parse(text)
    except InvalidConfig as error:
        return str(error)
    return None


def _old_list(stored: Mapping[str, str], change: Change, rows: Mapping[str, ConfigKey]) -> list[str]:
    row = rows.get(change.name)
    if row is None:
        raise InvalidConfig(f"Unknown config name: {change.name}")
    if row.type is not ConfigType.LIST:
        verb = change.operation.name.lower()
        raise InvalidConfig(f"Config value {verb} is not allowed for config key: {change.name}")
    text = stored.get(change.name, format_value(row.default))
    return text.split(",") if text else []


def _without(items: list[str], removed: list[str]) -> list[str]:
    """The items that stay; each removed one takes one of its equals away."""
    left = list(items)
    for item in removed:
        if item in left:
            left.remove(item)
    return left


def _refuse_any(configs: Mapping[str, str], names: Iterable[str], sentence: str) -> None:
    refused = sorted(configs.keys() & set(names))
    if refused:
        raise InvalidConfig(f"{sentence}: Set({', '.join(refused)})")


def _is_per_broker(name: str) -> bool:
    listener_key = LISTENER_PREFIX.fullmatch(name)
    if listener_key is not None:
        row = broker_keys.get(listener_key.group(1))
        return row is None or row.mode is not UpdateMode.CLUSTER_WIDE
    row = broker_keys.get(name) or broker_quota_keys.get(name)
    return row is not None and row.mode is UpdateMode.PER_BROKER


def _check_components(current: BrokerConfig, changed: BrokerConfig) -> None:
    """What the parts of a running broker refuse."""
    for name in _THREADS:
        _check_thread_count(current, changed, name)
    old, new = current.log_cleaner_threads, changed.log_cleaner_threads
    if new < old // 2:
        raise _refused(f"Log cleaner threads cannot be reduced to less than half the current value {old}")
    if new > old * 2:
        raise _refused(f"Log cleaner threads cannot be increased to more than double the current value {old}")
    if changed.listeners != current.listeners:
        raise _refused("Listeners cannot be updated dynamically, restart broker for update")


def _check_thread_count(current: BrokerConfig, changed: BrokerConfig, name: str) -> None:
    """A pool may at most double or halve in one step."""
    old, new = current.get(name), changed.get(name)
    assert isinstance(old, int)
    assert isinstance(new, int)
    failed = f"Dynamic thread count update validation failed for {name}={new}"
    if new == old:
        return
    if new <= 0:
        raise _refused(f"{failed}, value should be at least 1")
    if new < old // 2:
        raise _refused(f"{failed}, value should be at least half the current value {old}")
    if new > old * 2:
        raise _refused(f"{failed}, value should not be greater than double the current value {old}")


def _refused(sentence: str) -> InvalidConfig:
    """Kafka passes the component's exception as if it were a value, and so it reads."""
    return InvalidConfig(
        f"Invalid value org.apache.kafka.common.config.ConfigException: {sentence} "
        "for configuration Invalid dynamic configuration"
    )
