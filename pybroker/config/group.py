"""The configuration of one consumer group: how often its members tell that they live, and how often they are
assigned anew."""

from collections.abc import Mapping
from typing import Any

from msgspec.structs import replace

from pybroker.config.broker import BrokerConfig
from pybroker.config.definitions import group_keys
from pybroker.config.values import InvalidConfig, InvalidValue
from pybroker.model.values import Value

SESSION_TIMEOUT = "consumer.session.timeout.ms"
HEARTBEAT_INTERVAL = "consumer.heartbeat.interval.ms"
ASSIGNMENT_INTERVAL = "consumer.assignment.interval.ms"


class GroupTimeouts(Value):
    """Milliseconds, and the bounds (inclusive) that the broker sets for every group."""

    session_timeout_ms: int = 45000
    heartbeat_interval_ms: int = 5000
    session_bounds_ms: tuple[int, int] = (45000, 60000)
    heartbeat_bounds_ms: tuple[int, int] = (5000, 15000)
    assignment_interval_ms: int = 0
    assignment_bounds_ms: tuple[int, int] = (0, 15000)

    @classmethod
    def of(cls, config: BrokerConfig) -> "GroupTimeouts":
        return cls(
            config.group_consumer_session_timeout_ms,
            config.group_consumer_heartbeat_interval_ms,
            (config.group_consumer_min_session_timeout_ms, config.group_consumer_max_session_timeout_ms),
            (
                config.group_consumer_min_heartbeat_interval_ms,
                config.group_consumer_max_heartbeat_interval_ms,
            ),
            config.group_consumer_assignment_interval_ms,
            (
                config.group_consumer_min_assignment_interval_ms,
                config.group_consumer_max_assignment_interval_ms,
            ),
        )

    def with_overrides(self, overrides: Mapping[str, str]) -> "GroupTimeouts":
        """With what is configured for one group; the bounds may have become narrower since."""
        if not overrides:
            return self
        changes: dict[str, Any] = {}
        session = _stored(overrides, SESSION_TIMEOUT)
        if session is not None:
            changes["session_timeout_ms"] = _within(session, self.session_bounds_ms)
        interval = _stored(overrides, HEARTBEAT_INTERVAL)
        if interval is not None:
            changes["heartbeat_interval_ms"] = _within(interval, self.heartbeat_bounds_ms)
        between = _stored(overrides, ASSIGNMENT_INTERVAL)
        if between is not None:
            changes["assignment_interval_ms"] = _within(between, self.assignment_bounds_ms)
        return replace(self, **changes)


def _stored(overrides: Mapping[str, str], name: str) -> int | None:
    """A stored value; None if there is none, or none that anybody would take."""
    text = overrides.get(name)
    try:
        value = None if text is None else group_keys[name].parse(text)
    except InvalidValue:
        return None
    return value if isinstance(value, int) else None


def _within(value: int, bounds: tuple[int, int]) -> int:
    return min(max(value, bounds[0]), bounds[1])


def check_group_overrides(config: BrokerConfig, overrides: Mapping[str, str]) -> None:
    """Whether a group may be configured so.

    Raises:
        InvalidConfig: a key is not known, or its value is not allowed.
    """
    known = GroupTimeouts.of(config)
    values: dict[str, Any] = {}
    for name, text in overrides.items():
        if name not in group_keys:
            raise InvalidConfig(f"Unknown group config name: {name}")
        values[name] = group_keys[name].parse(text)
    session = values.get(SESSION_TIMEOUT, known.session_timeout_ms)
    interval = values.get(HEARTBEAT_INTERVAL, known.heartbeat_interval_ms)
    between = values.get(ASSIGNMENT_INTERVAL, known.assignment_interval_ms)
    _check_bounds(HEARTBEAT_INTERVAL, interval, known.heartbeat_bounds_ms, "heartbeat.interval.ms")
    _check_bounds(SESSION_TIMEOUT, session, known.session_bounds_ms, "session.timeout.ms")
    _check_bounds(ASSIGNMENT_INTERVAL, between, known.assignment_bounds_ms, "assignment.interval.ms")
    if session <= interval:
        raise InvalidConfig(f"{SESSION_TIMEOUT} must be greater than {HEARTBEAT_INTERVAL}")


def _check_bounds(name: str, value: int, bounds: tuple[int, int], of_broker: str) -> None:
    if value < bounds[0]:
        raise InvalidConfig(f"{name} must be greater than or equal to group.consumer.min.{of_broker}")
    if value > bounds[1]:
        raise InvalidConfig(f"{name} must be less than or equal to group.consumer.max.{of_broker}")
