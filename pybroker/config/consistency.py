"""Rules that hold between several broker keys (``KafkaConfig.validateValues`` of Kafka 3.9, its sentences).

The rules about listeners are with the listeners, those about a topic's values with the topic.
"""

from collections.abc import Mapping, Sequence

from pybroker.config.definitions import MILLISECONDS_IN
from pybroker.config.values import ConfigValue, InvalidConfig

_MIB = 1024 * 1024

REPLICA_SELECTORS = (
    "org.apache.kafka.common.replica.LeaderSelector",
    "org.apache.kafka.common.replica.RackAwareReplicaSelector",
)
"""Kafka loads any class; these two come with it."""


def first_set_ms(values: Mapping[str, ConfigValue], names: Sequence[str]) -> int:
    """The first of several keys for the same thing that is not null, in milliseconds.

    A name that ends in ``.hours`` or ``.minutes`` counts in that unit. The last key must have a default.
    """
    name = next((name for name in names if values[name] is not None), names[-1])
    value = values[name]
    assert isinstance(value, int), name
    return value * MILLISECONDS_IN.get(name.rpartition(".")[2], 1)


def check_consistency(values: Mapping[str, ConfigValue], log_dirs: Sequence[str]) -> None:
    """Raises :class:`InvalidConfig` for the first rule that the values break."""
    _check_identity(values)
    _check_logs(values, log_dirs)
    _check_replication(values)
    _check_connections(values)
    _check_groups(values)
    _check_control(values)


def check_compaction_lags(min_lag_ms: int, max_lag_ms: int) -> None:
    """A record cannot have to be compacted before it may be. Raises :class:`InvalidConfig`."""
    _require(
        min_lag_ms <= max_lag_ms,
        f"conflict topic config setting min.compaction.lag.ms ({min_lag_ms}) > max.compaction.lag.ms "
        f"({max_lag_ms})",
    )


def _require(holds: bool, sentence: str) -> None:
    if not holds:
        raise InvalidConfig(sentence)


def _int(values: Mapping[str, ConfigValue], name: str) -> int:
    value = values[name]
    assert isinstance(value, int), name
    return value


def _check_identity(values: Mapping[str, ConfigValue]) -> None:
    broker_id = _int(values, "broker.id")
    if values["broker.id.generation.enable"]:
        _require(
            -1 <= broker_id <= _int(values, "reserved.broker.max.id"),
            "broker.id must be greater than or equal to -1 and not greater than reserved.broker.max.id",
        )
    else:
        _require(broker_id >= 0, "broker.id must be greater than or equal to 0")


def _check_logs(values: Mapping[str, ConfigValue], log_dirs: Sequence[str]) -> None:
    roll_ms = first_set_ms(values, ("log.roll.ms", "log.roll.hours"))
    jitter_ms = first_set_ms(values, ("log.roll.jitter.ms", "log.roll.jitter.hours"))
    retention_ms = first_set_ms(values, ("log.retention.ms", "log.retention.minutes", "log.retention.hours"))
    _require(roll_ms >= 1, "log.roll.ms must be greater than or equal to 1")
    _require(jitter_ms >= 0, "log.roll.jitter.ms must be greater than or equal to 0")
    _require(retention_ms != 0, "log.retention.ms must be unlimited (-1) or, greater than or equal to 1")
    _require(bool(log_dirs), "At least one log directory must be defined via log.dirs or log.dir.")
    threads = max(1, _int(values, "log.cleaner.threads"))
    _require(
        _int(values, "log.cleaner.dedupe.buffer.size") // threads > _MIB,
        "log.cleaner.dedupe.buffer.size must be at least 1MB per cleaner thread.",
    )
    check_compaction_lags(
        _int(values, "log.cleaner.min.compaction.lag.ms"), _int(values, "log.cleaner.max.compaction.lag.ms")
    )


def _check_replication(values: Mapping[str, ConfigValue]) -> None:
    wait_ms = _int(values, "replica.fetch.wait.max.ms")
    _require(
        wait_ms <= _int(values, "replica.socket.timeout.ms"),
        "replica.socket.timeout.ms should always be at least replica.fetch.wait.max.ms to prevent "
        "unnecessary socket timeouts",
    )
    _require(
        wait_ms <= _int(values, "replica.lag.time.max.ms"),
        "replica.fetch.wait.max.ms should always be less than or equal to replica.lag.time.max.ms to prevent "
        "frequent changes in ISR",
    )
    selector = values["replica.selector.class"]
    _require(
        not selector or selector in REPLICA_SELECTORS,
        f"replica.selector.class {selector} does not exist here; there are {' and '.join(REPLICA_SELECTORS)}",
    )


def _check_connections(values: Mapping[str, ConfigValue]) -> None:
    queued_bytes = _int(values, "queued.max.request.bytes")
    _require(
        queued_bytes <= 0 or queued_bytes >= _int(values, "socket.request.max.bytes"),
        "queued.max.request.bytes must be larger or equal to socket.request.max.bytes",
    )
    _require(
        values["max.connections.per.ip"] != 0 or bool(values["max.connections.per.ip.overrides"]),
        "max.connections.per.ip can be set to zero only if max.connections.per.ip.overrides property is set.",
    )
    idle_ms = _int(values, "connections.max.idle.ms")
    delay_ms = _int(values, "connection.failed.authentication.delay.ms")
    _require(
        idle_ms < 0 or delay_ms < idle_ms,
        f"connection.failed.authentication.delay.ms={delay_ms} should always be less than "
        f"connections.max.idle.ms={idle_ms} to prevent failed authentication responses from timing out",
    )


def _check_groups(values: Mapping[str, ConfigValue]) -> None:
    _require(
        -1
        <= _int(values, "offsets.commit.required.acks")
        <= _int(values, "offsets.topic.replication.factor"),
        "offsets.commit.required.acks must be greater or equal to -1 and less or equal to "
        "offsets.topic.replication.factor",
    )
    protocols = values["group.coordinator.rebalance.protocols"]
    assert isinstance(protocols, tuple)
    _require(
        "classic" in {protocol.lower() for protocol in protocols},
        "Disabling the 'classic' protocol is not supported.",
    )
    for kind in ("consumer", "share"):
        for subject in ("heartbeat.interval.ms", "session.timeout.ms"):
            _check_between_bounds(values, f"group.{kind}.", subject)
    _check_between_bounds(values, "group.consumer.", "assignment.interval.ms")


def _check_between_bounds(values: Mapping[str, ConfigValue], prefix: str, subject: str) -> None:
    name, lowest, highest = prefix + subject, f"{prefix}min.{subject}", f"{prefix}max.{subject}"
    value, minimum, maximum = _int(values, name), _int(values, lowest), _int(values, highest)
    _require(maximum >= minimum, f"{highest} must be greater than or equals to {lowest}")
    _require(value >= minimum, f"{name} must be greater than or equals to {lowest}")
    _require(value <= maximum, f"{name} must be less than or equals to {highest}")


def _check_control(values: Mapping[str, ConfigValue]) -> None:
    listener = str(values["pybroker.control.listener"])
    host = listener.rpartition(":")[0].strip("[]")
    is_local = host in ("", "localhost", "::1") or host.startswith("127.")
    _require(
        is_local or bool(values["pybroker.control.token"]),
        f"pybroker.control.listener={listener} can be reached from elsewhere: set pybroker.control.token, "
        "or listen on 127.0.0.1",
    )
