"""The broker's configuration as typed attributes, resolved from its layers and checked as a whole.

Source: ``KafkaConfig`` of Kafka 3.9. An attribute is the key with dots as underscores; keys without an
attribute are read with :meth:`BrokerConfig.get`, keys that a listener may override with
:meth:`BrokerConfig.listener_value`.
"""

from collections.abc import Mapping
from typing import Any, cast

from msgspec.structs import replace

from pybroker.config.consistency import check_consistency
from pybroker.config.definitions import broker_keys, broker_quota_keys, find_broker_key
from pybroker.config.layers import Layers
from pybroker.config.listeners import Listeners, read_listeners, split_list, split_map
from pybroker.config.tables.own import testing_keys
from pybroker.config.values import ConfigValue, InvalidConfig, InvalidValue
from pybroker.model.values import Value

_KEY_OF_ATTRIBUTE = {name.replace(".", "_"): name for name in broker_keys}


class BrokerConfig(Value, kw_only=True, eq=False):
    """Everything the broker was told, frozen. A change at run time makes a new one (:meth:`with_layers`).

    ``values`` has the value of every key of the table; ``layers`` says who set what.
    """

    __repr__ = object.__repr__  # passwords are among the values

    layers: Layers
    values: Mapping[str, ConfigValue]
    listeners: Listeners
    log_dirs: tuple[str, ...]

    # Identity
    broker_id: int
    broker_id_generation_enable: bool
    reserved_broker_max_id: int
    broker_rack: str | None
    # Listeners and sockets
    socket_send_buffer_bytes: int
    socket_receive_buffer_bytes: int
    socket_request_max_bytes: int
    socket_listen_backlog_size: int
    max_connections: int
    max_connections_per_ip: int
    max_connections_per_ip_overrides: Mapping[str, int]
    max_connection_creation_rate: int
    connections_max_idle_ms: int
    connection_failed_authentication_delay_ms: int
    queued_max_requests: int
    queued_max_request_bytes: int
    num_network_threads: int
    num_io_threads: int
    background_threads: int
    request_timeout_ms: int
    sasl_server_max_receive_size: int
    socket_connection_setup_timeout_ms: int
    socket_connection_setup_timeout_max_ms: int
    # Topics
    auto_create_topics_enable: bool
    delete_topic_enable: bool
    num_partitions: int
    default_replication_factor: int
    # Logs
    log_flush_scheduler_interval_ms: int
    log_flush_offset_checkpoint_interval_ms: int
    log_flush_start_offset_checkpoint_interval_ms: int
    log_retention_check_interval_ms: int
    log_dir_failure_timeout_ms: int
    log_initial_task_delay_ms: int
    num_recovery_threads_per_data_dir: int
    message_max_bytes: int
    min_insync_replicas: int
    unclean_leader_election_enable: bool
    log_message_downconversion_enable: bool
    log_cleaner_enable: bool
    log_cleaner_threads: int
    log_cleaner_dedupe_buffer_size: int
    log_cleaner_io_buffer_size: int
    log_cleaner_io_buffer_load_factor: float
    log_cleaner_io_max_bytes_per_second: float
    log_cleaner_backoff_ms: int
    # Replication and the controller
    replica_lag_time_max_ms: int
    replica_socket_timeout_ms: int
    replica_socket_receive_buffer_bytes: int
    replica_fetch_max_bytes: int
    replica_fetch_wait_max_ms: int
    replica_fetch_min_bytes: int
    replica_fetch_response_max_bytes: int
    replica_fetch_backoff_ms: int
    num_replica_fetchers: int
    num_replica_alter_log_dirs_threads: int | None
    replica_high_watermark_checkpoint_interval_ms: int
    replica_selector_class: str | None
    auto_leader_rebalance_enable: bool
    leader_imbalance_per_broker_percentage: int
    leader_imbalance_check_interval_seconds: int
    unclean_leader_election_interval_ms: int
    controller_socket_timeout_ms: int
    controlled_shutdown_enable: bool
    controlled_shutdown_max_retries: int
    controlled_shutdown_retry_backoff_ms: int
    inter_broker_protocol_version: str
    # Fetch
    fetch_max_bytes: int
    max_incremental_fetch_session_cache_slots: int
    max_request_partition_size_limit: int
    # Groups and offsets
    group_min_session_timeout_ms: int
    group_max_session_timeout_ms: int
    group_initial_rebalance_delay_ms: int
    group_max_size: int
    group_coordinator_rebalance_protocols: tuple[str, ...]
    group_consumer_session_timeout_ms: int
    group_consumer_min_session_timeout_ms: int
    group_consumer_max_session_timeout_ms: int
    group_consumer_heartbeat_interval_ms: int
    group_consumer_min_heartbeat_interval_ms: int
    group_consumer_max_heartbeat_interval_ms: int
    group_consumer_assignment_interval_ms: int
    group_consumer_min_assignment_interval_ms: int
    group_consumer_max_assignment_interval_ms: int
    group_consumer_max_size: int
    group_consumer_assignors: tuple[str, ...]
    group_consumer_migration_policy: str
    offset_metadata_max_bytes: int
    offsets_load_buffer_size: int
    offsets_topic_replication_factor: int
    offsets_topic_num_partitions: int
    offsets_topic_segment_bytes: int
    offsets_topic_compression_codec: int
    offsets_retention_minutes: int
    offsets_retention_check_interval_ms: int
    offsets_commit_timeout_ms: int
    offsets_commit_required_acks: int
    # Transactions and producer ids
    transactional_id_expiration_ms: int
    transaction_max_timeout_ms: int
    transaction_state_log_min_isr: int
    transaction_state_log_load_buffer_size: int
    transaction_state_log_replication_factor: int
    transaction_state_log_num_partitions: int
    transaction_state_log_segment_bytes: int
    transaction_abort_timed_out_transaction_cleanup_interval_ms: int
    transaction_remove_expired_transaction_cleanup_interval_ms: int
    transaction_partition_verification_enable: bool
    producer_id_expiration_ms: int
    producer_id_expiration_check_interval_ms: int
    # ZooKeeper
    zookeeper_connect: str | None
    zookeeper_session_timeout_ms: int
    zookeeper_connection_timeout_ms: int
    zookeeper_max_in_flight_requests: int
    zookeeper_set_acl: bool
    # Security
    authorizer_class_name: str
    delegation_token_max_lifetime_ms: int
    delegation_token_expiry_time_ms: int
    delegation_token_expiry_check_interval_ms: int
    delegation_token_secret_key: str | None
    # Quotas
    quota_window_num: int
    quota_window_size_seconds: int
    replication_quota_window_num: int
    replication_quota_window_size_seconds: int
    alter_log_dirs_replication_quota_window_num: int
    alter_log_dirs_replication_quota_window_size_seconds: int
    controller_quota_window_num: int
    controller_quota_window_size_seconds: int
    # Our own
    pybroker_cluster_id: str
    pybroker_record_validation: str
    pybroker_persona: str | None
    pybroker_api_versions: tuple[str, ...]
    # Test brokers
    pybroker_control_listener: str
    pybroker_control_token: str | None
    pybroker_seed_file: str
    pybroker_snapshot_dir: str
    pybroker_brokers: int
    pybroker_log_dirs_count: int
    pybroker_racks: tuple[str, ...]

    @property
    def is_test_cluster(self) -> bool:
        """Whether it asks for what only a cluster for tests has."""
        given = self.layers.merged()
        return any(key.name in given for key in testing_keys)

    @classmethod
    def from_properties(cls, properties: Mapping[str, str]) -> "BrokerConfig":
        """A broker that was started with these properties and the table's defaults.

        Raises:
            InvalidConfig: a value is wrong (then it is an :class:`InvalidValue`), or values contradict each
            other.
        """
        return cls.from_layers(Layers(static=dict(properties)))

    @classmethod
    def from_layers(cls, layers: Layers) -> "BrokerConfig":
        """The configuration in force, given what was set in each layer.

        Raises:
            InvalidConfig: as for :meth:`from_properties`.
        """
        texts = layers.merged()
        values = _parse_all(texts)
        special: dict[str, Any] = {
            "layers": layers,
            "values": values,
            "listeners": read_listeners(values, texts),
            "log_dirs": split_list(_log_dirs(values)),
            "max_connections_per_ip_overrides": _connection_overrides(values),
            "zookeeper_connection_timeout_ms": values["zookeeper.connection.timeout.ms"]
            or values["zookeeper.session.timeout.ms"],
        }
        plain = {
            name: values[_KEY_OF_ATTRIBUTE[name]] for name in cls.__struct_fields__ if name not in special
        }
        check_consistency(values, special["log_dirs"])
        return cls(**special, **cast("dict[str, Any]", plain))

    def with_layers(
        self,
        *,
        dynamic_default: Mapping[str, str] | None = None,
        dynamic_broker: Mapping[str, str] | None = None,
    ) -> "BrokerConfig":
        """The same broker after its run-time values were replaced; ``None`` leaves a layer as it is.

        Raises:
            InvalidConfig: the new values cannot be used; nothing has changed.
        """
        layers = self.layers
        if dynamic_default is not None:
            layers = replace(layers, dynamic_default=dict(dynamic_default))
        if dynamic_broker is not None:
            layers = replace(layers, dynamic_broker=dict(dynamic_broker))
        return self if layers == self.layers else type(self).from_layers(layers)

    def get(self, name: str) -> ConfigValue:
        """The value of any key of the table.

        Raises:
            KeyError: there is no such key.
        """
        return self.values[name]

    def replication_rate(self, name: str) -> int:
        """A throttle in bytes per second that is only ever set at run time, for instance
        ``leader.replication.throttled.rate``; the largest int64 when it is not.

        Raises:
            KeyError: there is no such key.
        """
        row = broker_quota_keys[name]
        layers = self.layers
        is_set = name in layers.dynamic_broker or name in layers.dynamic_default
        return cast("int", self.values[name] if is_set else row.default)

    def listener_value(self, listener: str, name: str, *, mechanism: str | None = None) -> ConfigValue:
        """The value of a key for one listener: ``listener.name.<listener>.[<mechanism>.]<name>`` if it was
        set, else the plain key. SASL keys may differ by mechanism as well.

        Raises:
            KeyError: ``name`` is not a key of the table.
        """
        prefix = f"listener.name.{listener.lower()}."
        if mechanism is not None:
            specific = f"{prefix}{mechanism.lower()}.{name}"
            if specific in self.values:
                return self.values[specific]
        return self.values.get(prefix + name, self.values[name])

    @property
    def uses_embedded_metadata(self) -> bool:
        """No ZooKeeper was named: metadata is kept in the broker's own data directory."""
        return not self.zookeeper_connect


def _parse_all(texts: Mapping[str, str]) -> dict[str, ConfigValue]:
    """The value of every key of the table, and of every listener's key that was set. Unknown keys are
    skipped.
    """
    values: dict[str, ConfigValue] = {name: row.default for name, row in broker_keys.items()}
    for name, text in texts.items():
        row = find_broker_key(name)
        if row is None:
            continue
        try:
            values[name] = row.parse(text)
        except InvalidValue as error:
            # The row of a listener's key carries the plain name; the sentence must show the one that was set.
            raise InvalidValue(name, error.value, error.reason) from None
    return values


def _log_dirs(values: Mapping[str, ConfigValue]) -> str:
    """``log.dirs`` where it is set, even to nothing, else ``log.dir``."""
    several = values["log.dirs"]
    return str(values["log.dir"] if several is None else several)


def _connection_overrides(values: Mapping[str, ConfigValue]) -> dict[str, int]:
    name = "max.connections.per.ip.overrides"
    overrides = {}
    for host, count in split_map(name, str(values[name] or "")).items():
        if not count.isdecimal():
            raise InvalidConfig(f"Error parsing configuration property '{name}': '{count}' is not a number")
        overrides[host] = int(count)
    return overrides
