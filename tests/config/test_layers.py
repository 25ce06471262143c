"""Four layers decide a broker's value; DescribeConfigs shows each place where it was found."""

from pybroker.config.layers import ConfigSource, Layers, found_in_layers


def found(layers: Layers, name: str) -> list[tuple[str, str | None, ConfigSource]]:
    return [(synonym.name, synonym.value, synonym.source) for synonym in found_in_layers(layers, name)]


def test_the_order_is_this_broker_then_all_brokers_then_the_file_then_the_table() -> None:
    layers = Layers(
        static={"message.max.bytes": "1"},
        dynamic_default={"message.max.bytes": "2"},
        dynamic_broker={"message.max.bytes": "3"},
    )
    assert found(layers, "message.max.bytes") == [
        ("message.max.bytes", "3", ConfigSource.DYNAMIC_BROKER_CONFIG),
        ("message.max.bytes", "2", ConfigSource.DYNAMIC_DEFAULT_BROKER_CONFIG),
        ("message.max.bytes", "1", ConfigSource.STATIC_BROKER_CONFIG),
        ("message.max.bytes", "1048588", ConfigSource.DEFAULT_CONFIG),
    ]
    assert layers.merged() == {"message.max.bytes": "3"}


def test_other_units_of_a_key_are_synonyms_and_null_defaults_are_not_shown() -> None:
    layers = Layers(static={"log.retention.minutes": "5", "log.retention.ms": "60000"})
    assert found(layers, "log.retention.ms") == [
        ("log.retention.ms", "60000", ConfigSource.STATIC_BROKER_CONFIG),
        ("log.retention.minutes", "5", ConfigSource.STATIC_BROKER_CONFIG),
        ("log.retention.hours", "168", ConfigSource.DEFAULT_CONFIG),
    ]


def test_what_is_found_before_the_keys_own_first_entry_is_left_out() -> None:
    layers = Layers(static={"log.retention.ms": "60000"})
    assert found(layers, "log.retention.hours") == [
        ("log.retention.hours", "168", ConfigSource.DEFAULT_CONFIG)
    ]
    assert found(layers, "log.flush.interval.ms") == []


def test_a_listeners_key_falls_back_to_the_plain_one_but_not_the_other_way() -> None:
    name = "listener.name.out.ssl.keystore.type"
    layers = Layers(static={"ssl.keystore.type": "PEM"}, dynamic_broker={name: "PKCS12"})
    assert found(layers, name) == [
        (name, "PKCS12", ConfigSource.DYNAMIC_BROKER_CONFIG),
        ("ssl.keystore.type", "PEM", ConfigSource.STATIC_BROKER_CONFIG),
        ("ssl.keystore.type", "JKS", ConfigSource.DEFAULT_CONFIG),
    ]
    assert found(layers, "ssl.keystore.type")[0] == (
        "ssl.keystore.type",
        "PEM",
        ConfigSource.STATIC_BROKER_CONFIG,
    )
    assert layers.merged() == {"ssl.keystore.type": "PEM", name: "PKCS12"}


def test_a_stronger_layer_hides_other_units_of_the_weaker() -> None:
    layers = Layers(
        static={"log.retention.minutes": "5", "log.retention.ms": "1"},
        dynamic_broker={"log.retention.ms": "2"},
    )
    assert layers.merged() == {"log.retention.ms": "2"}


def test_passwords_are_found_but_not_shown() -> None:
    layers = Layers(static={"ssl.key.password": "secret"})
    (synonym,) = found_in_layers(layers, "ssl.key.password", sensitive=True)
    assert synonym.value is None
    assert synonym.source is ConfigSource.STATIC_BROKER_CONFIG
