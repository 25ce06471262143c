"""Listeners are parsed and checked as in Kafka's ``KafkaConfig`` and ``SocketServerConfigs``."""

import pytest

from pybroker.config.broker import BrokerConfig
from pybroker.config.listeners import Listeners, split_map
from pybroker.config.values import InvalidConfig
from pybroker.model.endpoint import Endpoint, SecurityProtocol


def listeners(**properties: str) -> Listeners:
    """The listeners of a broker with these keys, written with underscores for dots."""
    return BrokerConfig.from_properties({k.replace("_", "."): v for k, v in properties.items()}).listeners


def test_the_default_is_plaintext_on_every_address() -> None:
    read = listeners()
    assert read.bound == (Endpoint("PLAINTEXT", "", 9092),)
    assert read.advertised == read.bound
    assert read.inter_broker == "PLAINTEXT"
    assert read.inter_broker_protocol is SecurityProtocol.PLAINTEXT
    assert read.control_plane is None


def test_names_are_upper_case_and_hosts_may_be_ipv6() -> None:
    read = listeners(listeners="plaintext://[::1]:9092 , ssl://host-1.example_a:0")
    assert read.bound == (
        Endpoint("PLAINTEXT", "::1", 9092),
        Endpoint("SSL", "host-1.example_a", 0, SecurityProtocol.SSL),
    )


def test_own_names_take_their_protocol_from_the_map() -> None:
    read = listeners(
        listeners="INSIDE://:9092,OUTSIDE://:9093",
        advertised_listeners="INSIDE://a:9092,OUTSIDE://b:19093",
        listener_security_protocol_map="INSIDE:PLAINTEXT,outside:sasl_ssl",
        inter_broker_listener_name="inside",
    )
    assert read.inter_broker == "INSIDE"
    assert read.advertised[1] == Endpoint("OUTSIDE", "b", 19093, SecurityProtocol.SASL_SSL)


def test_advertised_port_zero_and_wildcard_host_are_settled_after_binding() -> None:
    read = listeners(listeners="PLAINTEXT://:0")
    assert read.resolve_advertised({"PLAINTEXT": 40001}, "me.example") == (
        Endpoint("PLAINTEXT", "me.example", 40001),
    )


def test_one_port_may_serve_ipv4_and_ipv6() -> None:
    read = listeners(listeners="PLAINTEXT://127.0.0.1:9092,SSL://[::1]:9092")
    assert [endpoint.port for endpoint in read.bound] == [9092, 9092]


def test_advertised_listeners_may_share_a_port() -> None:
    read = listeners(listeners="PLAINTEXT://:1,SSL://:2", advertised_listeners="PLAINTEXT://a:9,SSL://b:9")
    assert len(read.advertised) == 2


def test_controller_listeners_of_a_kraft_configuration_are_left_out() -> None:
    read = listeners(
        process_roles="broker,controller",
        controller_listener_names="CONTROLLER",
        listeners="PLAINTEXT://127.0.0.1:9092,CONTROLLER://127.0.0.1:9093",
    )
    assert [endpoint.listener for endpoint in read.bound] == ["PLAINTEXT"]
    assert [endpoint.listener for endpoint in read.advertised] == ["PLAINTEXT"]


def test_a_control_plane_listener_is_one_of_the_advertised() -> None:
    read = listeners(
        listeners="PLAINTEXT://:9092,CONTROL://:9094",
        listener_security_protocol_map="PLAINTEXT:PLAINTEXT,CONTROL:PLAINTEXT",
        control_plane_listener_name="CONTROL",
    )
    assert read.control_plane == "CONTROL"


@pytest.mark.parametrize(
    ("properties", "sentence"),
    [
        (
            {"listeners": "PLAINTEXT:9092"},
            "Error creating broker listeners from 'PLAINTEXT:9092': "
            "Unable to parse PLAINTEXT:9092 to a broker endpoint",
        ),
        (
            {"listeners": "FOO://:9092"},
            "Error creating broker listeners from 'FOO://:9092': "
            "No security protocol defined for listener FOO",
        ),
        ({"listeners": "PLAINTEXT://:70000"}, "the port is above 65535 or negative"),
        (
            {"listeners": "PLAINTEXT://:1,PLAINTEXT://:2"},
            "Each listener must have a different name, listeners: PLAINTEXT://:1,PLAINTEXT://:2",
        ),
        (
            {"listeners": "PLAINTEXT://:1,SSL://:1"},
            "Each listener must have a different port, listeners: PLAINTEXT://:1,SSL://:1",
        ),
        (
            {"listeners": "PLAINTEXT://127.0.0.1:1,SSL://127.0.0.2:1"},
            "If you have two listeners on the same port then one needs to be IPv4 and the other IPv6",
        ),
        (
            {"listeners": "PLAINTEXT://127.0.0.1:1,SSL://[::1]:1,SASL_SSL://127.0.0.2:1"},
            "Each listener must have a different port unless exactly one listener has an IPv4 address and "
            "the other IPv6 address",
        ),
        (
            {"listeners": "SSL://:9093"},
            "inter.broker.listener.name must be a listener name defined in advertised.listeners. The valid "
            "options based on currently configured listeners are SSL",
        ),
        (
            {"listeners": "PLAINTEXT://:1", "advertised.listeners": "PLAINTEXT://a:1,SSL://a:2"},
            "advertised.listeners listener names must be equal to or a subset of the ones defined in "
            "listeners. Found PLAINTEXT,SSL. The valid options based on the current configuration are "
            "PLAINTEXT",
        ),
        (
            {"listeners": "PLAINTEXT://0.0.0.0:9092"},
            "advertised.listeners cannot use the nonroutable meta-address 0.0.0.0. "
            "Use a routable IP address.",
        ),
        ({"listeners": ""}, "There must be at least one broker advertised listener."),
        (
            {"listener.security.protocol.map": "PLAINTEXT:PLAIN"},
            "Invalid security protocol `PLAIN` defined in listener.security.protocol.map",
        ),
        (
            {"inter.broker.listener.name": "PLAINTEXT", "security.inter.broker.protocol": "PLAINTEXT"},
            "Only one of inter.broker.listener.name and security.inter.broker.protocol should be set.",
        ),
        (
            {"inter.broker.listener.name": "NOPE"},
            "Listener with name NOPE defined in inter.broker.listener.name not found in "
            "listener.security.protocol.map.",
        ),
        (
            {"control.plane.listener.name": "NOPE"},
            "Listener with NOPE defined in control.plane.listener.name not found in "
            "listener.security.protocol.map.",
        ),
        (
            {"control.plane.listener.name": "SSL"},
            "control.plane.listener.name must be a listener name defined in advertised.listeners.",
        ),
        (
            {"control.plane.listener.name": "PLAINTEXT"},
            "control.plane.listener.name, when defined, should have a different value from the inter broker "
            "listener name. Currently they both have the value PLAINTEXT",
        ),
    ],
)
def test_contradictions_are_refused_in_kafkas_words(properties: dict[str, str], sentence: str) -> None:
    with pytest.raises(InvalidConfig) as refused:
        BrokerConfig.from_properties(properties)
    assert sentence in str(refused.value)


def test_a_kraft_controller_beside_tls_needs_a_map_of_its_own() -> None:
    with pytest.raises(InvalidConfig, match="No security protocol defined for listener CONTROLLER"):
        listeners(
            process_roles="broker,controller",
            controller_listener_names="CONTROLLER",
            listeners="PLAINTEXT://:9092,SSL://:9094,CONTROLLER://:9093",
        )


def test_a_map_item_is_divided_at_its_last_colon() -> None:
    assert split_map("k", "::1:5, host : 7") == {"::1": "5", "host": "7"}
    with pytest.raises(InvalidConfig) as refused:
        split_map("k", "x")
    assert str(refused.value) == "Error parsing configuration property 'k': 'x' is not name:value"
