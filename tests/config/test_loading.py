"""File, variables and options together give one configuration, or one line that says what is wrong."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from pybroker.config.loading import ConfigurationError, Loaded, Setting, load_broker_config, read_environment
from pybroker.model.endpoint import Endpoint


def load(
    text: str | None = None,
    *,
    options: Sequence[str] = (),
    environ: Mapping[str, str] | None = None,
    folder: Path | None = None,
) -> Loaded:
    file = None
    if text is not None:
        assert folder is not None
        file = folder / "server.properties"
        file.write_bytes(text.encode("latin-1"))
    return load_broker_config(file, options, environ or {})


def test_with_nothing_given_a_single_node_profile_is_used() -> None:
    config = load().config
    assert config.broker_id == 0
    assert config.listeners.bound == (Endpoint("PLAINTEXT", "127.0.0.1", 9092),)
    assert config.log_dirs == ("./pybroker-data",)
    assert config.offsets_topic_replication_factor == 1
    assert config.transaction_state_log_replication_factor == 1
    assert config.transaction_state_log_min_isr == 1
    assert config.group_initial_rebalance_delay_ms == 0
    assert config.uses_embedded_metadata


def test_options_change_the_profile_and_the_last_one_wins() -> None:
    config = load(options=["num.partitions=2", "num.partitions=3", "broker.rack= a=b "]).config
    assert config.num_partitions == 3
    assert config.broker_rack == "a=b"
    assert config.offsets_topic_replication_factor == 1


@pytest.mark.parametrize(
    ("options", "environ"),
    [
        (["zookeeper.connect=zk:2181"], {}),
        ([], {"KAFKA_NUM_PARTITIONS": "1"}),
    ],
)
def test_a_cluster_and_the_images_environment_use_the_table(
    options: list[str], environ: dict[str, str]
) -> None:
    assert load(options=options, environ=environ).config.offsets_topic_replication_factor == 3


def test_stray_variables_do_not_turn_the_profile_off() -> None:
    loaded = load(environ={"KAFKA_HOME": "/opt/kafka", "KAFKA_OPTS": "-Dx"})
    assert loaded.config.offsets_topic_replication_factor == 1
    assert loaded.warnings == ("KAFKA_HOME: unknown key home is ignored",)


def test_a_file_is_read_as_java_properties_over_the_table(tmp_path: Path) -> None:
    text = "# comment\nbroker.id = 7\nlog.dirs=/a,\\\n  /b\nbroker.rack=K\xf6ln \\u00e9\nnum.partitions:4\n"
    config = load(text, folder=tmp_path).config
    assert (config.broker_id, config.log_dirs, config.num_partitions) == (7, ("/a", "/b"), 4)
    assert config.broker_rack == "K\xf6ln \xe9"
    assert config.offsets_topic_replication_factor == 3


def test_an_option_wins_over_a_variable_and_a_variable_over_the_file(tmp_path: Path) -> None:
    text = "num.partitions=1\ndefault.replication.factor=1\nbroker.id=1\n"
    environ = {"KAFKA_NUM_PARTITIONS": "2", "KAFKA_DEFAULT_REPLICATION_FACTOR": "2"}
    config = load(text, options=["num.partitions=3"], environ=environ, folder=tmp_path).config
    assert (config.num_partitions, config.default_replication_factor, config.broker_id) == (3, 2, 1)


@pytest.mark.parametrize(
    ("variable", "name"),
    [
        ("KAFKA_LOG_DIRS", "log.dirs"),
        ("KAFKA_SASL_ENABLED__X", "sasl.enabled_x"),
        ("KAFKA_LISTENER_NAME_A___B_SSL_KEY_PASSWORD", "listener.name.a-b.ssl.key.password"),
    ],
)
def test_variables_are_mapped_as_in_the_apache_image(variable: str, name: str) -> None:
    assert read_environment({variable: "v", "PATH": "p", "KAFKA_HEAP_OPTS": "-Xmx1g"}) == [
        Setting(name, "v", variable)
    ]


def test_listeners_default_to_the_advertised_ones_on_every_address() -> None:
    environ = {"KAFKA_ADVERTISED_LISTENERS": "PLAINTEXT://localhost:9092,SSL://[::1]:9093"}
    config = load(environ=environ).config
    assert [(e.host, e.port) for e in config.listeners.bound] == [("0.0.0.0", 9092), ("0.0.0.0", 9093)]
    assert [(e.host, e.port) for e in config.listeners.advertised] == [("localhost", 9092), ("::1", 9093)]


def test_the_environment_of_a_kraft_container_is_understood() -> None:
    loaded = load(
        environ={
            "KAFKA_NODE_ID": "1",
            "KAFKA_PROCESS_ROLES": "broker,controller",
            "KAFKA_LISTENERS": "PLAINTEXT://:9092,BROKER://:9093,CONTROLLER://:9094",
            "KAFKA_ADVERTISED_LISTENERS": "PLAINTEXT://localhost:32768,BROKER://kafka:9093",
            "KAFKA_LISTENER_SECURITY_PROTOCOL_MAP": "PLAINTEXT:PLAINTEXT,BROKER:PLAINTEXT,CONTROLLER:SSL",
            "KAFKA_CONTROLLER_LISTENER_NAMES": "CONTROLLER",
            "KAFKA_CONTROLLER_QUORUM_VOTERS": "1@localhost:9094",
            "KAFKA_INTER_BROKER_LISTENER_NAME": "BROKER",
            "KAFKA_OFFSETS_TOPIC_REPLICATION_FACTOR": "1",
            "KAFKA_LOG_FLUSH_INTERVAL_MESSAGES": "9223372036854775807",
            "KAFKA_VERSION": "3.9.1",
        }
    )
    assert loaded.config.broker_id == 1
    assert [e.listener for e in loaded.config.listeners.bound] == ["PLAINTEXT", "BROKER"]
    assert loaded.config.listeners.inter_broker == "BROKER"
    assert loaded.config.uses_embedded_metadata
    assert loaded.warnings == ()
    assert loaded.notices == (
        "node.id=1 is taken as broker.id",
        "controller.listener.names=CONTROLLER: listeners of a KRaft controller are not opened",
        "controller.quorum.voters configures Kafka's own metadata quorum and has no effect here",
    )


def test_an_unknown_key_is_a_warning_with_its_place_and_a_guess(tmp_path: Path) -> None:
    loaded = load("log.segment.byte=5\n", options=["foo=1"], folder=tmp_path)
    assert loaded.warnings == (
        f"{tmp_path}/server.properties: unknown key log.segment.byte is ignored, did you mean "
        "log.segment.bytes?",
        "--override: unknown key foo is ignored",
    )


@pytest.mark.parametrize(
    ("options", "environ", "line"),
    [
        (
            ["log.segment.bytes=-5"],
            {},
            "--override: log.segment.bytes=-5: Value must be at least 14; allowed: int [14,...]",
        ),
        (
            [],
            {"KAFKA_NUM_PARTITIONS": "many"},
            "KAFKA_NUM_PARTITIONS: num.partitions=many: Not a number of type INT; allowed: int [1,...]",
        ),
        (
            ["auto.create.topics.enable=perhaps"],
            {},
            "--override: auto.create.topics.enable=perhaps: Expected value to be either true or false; "
            "allowed: boolean",
        ),
        (["num.partitions"], {}, "--override num.partitions: expected key=value"),
        (["=5"], {}, "--override =5: expected key=value"),
        (
            ["node.id=1", "broker.id=2"],
            {},
            "node.id=1: You must set `node.id` to the same value as `broker.id`, which is 2",
        ),
        (
            ["process.roles=controller"],
            {},
            "process.roles=controller: a node that is only a KRaft controller has no counterpart here; "
            "allowed: broker, or broker,controller",
        ),
        (
            ["listeners=NOPE://:1"],
            {},
            "Error creating broker listeners from 'NOPE://:1': "
            "No security protocol defined for listener NOPE",
        ),
    ],
)
def test_what_cannot_be_used_is_one_line(options: list[str], environ: dict[str, str], line: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        load(options=options, environ=environ)
    assert str(refused.value) == line


def test_a_file_that_cannot_be_read_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"missing\.properties: cannot be read: No such file"):
        load_broker_config(tmp_path / "missing.properties", (), {})
    broken = tmp_path / "broken.properties"
    broken.write_text("a=\\u12\n")
    with pytest.raises(ConfigurationError, match=r"broken\.properties: is not a properties file"):
        load_broker_config(broken, (), {})
