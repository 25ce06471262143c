"""Listeners as the configuration gives them: parsing, the checks between the keys, and what is advertised.

Source: ``SocketServerConfigs.listenerListToEndPoints``, ``CoreUtils.listenerListToEndPoints`` and the
listener part of ``KafkaConfig`` (3.9); the sentences are Kafka's.
"""

import ipaddress
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping

from msgspec.structs import replace

from pybroker.config.values import ConfigValue, InvalidConfig
from pybroker.model.endpoint import Endpoint, SecurityProtocol
from pybroker.model.values import Value

_ENDPOINT = re.compile(r"(.*)://\[?([0-9a-zA-Z\-%._:]*)\]?:(-?[0-9]+)")
_COMMA = re.compile(r"\s*,\s*")
_SECURE_NAMES = frozenset({"SSL", "SASL_SSL", "SASL_PLAINTEXT"})


class Listeners(Value):
    """Every listener of the broker. An empty host of an endpoint is the wildcard address.

    ``bound`` are the addresses to listen on, ``advertised`` those that clients are told; controller listeners
    of a KRaft configuration are in neither. ``control_plane`` names a listener kept for the controller, if
    any.
    """

    bound: tuple[Endpoint, ...]
    advertised: tuple[Endpoint, ...]
    inter_broker: str
    inter_broker_protocol: SecurityProtocol
    control_plane: str | None
    protocols: Mapping[str, SecurityProtocol]

    @property
    def needs_hostname(self) -> bool:
        """Whether a listener advertises whatever this machine is called."""
        return any(not endpoint.host for endpoint in self.advertised)

    def resolve_advertised(self, ports: Mapping[str, int], hostname: str) -> tuple[Endpoint, ...]:
        """What to register: port 0 becomes the port that was bound, the wildcard host becomes
        ``hostname``.
        """
        return tuple(
            replace(
                endpoint,
                host=endpoint.host or hostname,
                port=endpoint.port or ports.get(endpoint.listener, 0),
            )
            for endpoint in self.advertised
        )


def read_listeners(values: Mapping[str, ConfigValue], given: Iterable[str]) -> Listeners:
    """The listeners of a broker.

    Args:
        values: the value of every key.
        given: names of the keys that somebody set; defaults are not among them.

    Raises:
        InvalidConfig: an entry cannot be parsed, or the keys contradict each other.
    """
    given = frozenset(given)
    controllers = frozenset(split_list(_text(values, "controller.listener.names")))
    protocols = _protocol_map(values, given, controllers)
    all_bound = parse_endpoints(_text(values, "listeners"), protocols)
    advertised_text = values["advertised.listeners"]
    all_advertised = (
        all_bound
        if advertised_text is None
        else parse_endpoints(str(advertised_text), protocols, distinct_ports=False)
    )
    inter_broker, inter_broker_protocol = _inter_broker(values, given, protocols)
    listeners = Listeners(
        bound=tuple(endpoint for endpoint in all_bound if endpoint.listener not in controllers),
        advertised=tuple(endpoint for endpoint in all_advertised if endpoint.listener not in controllers),
        inter_broker=inter_broker,
        inter_broker_protocol=inter_broker_protocol,
        control_plane=_control_plane(values, protocols),
        protocols=protocols,
    )
    _check(listeners)
    return listeners


def parse_endpoints(
    text: str, protocols: Mapping[str, SecurityProtocol], *, distinct_ports: bool = True
) -> tuple[Endpoint, ...]:
    """A list like ``PLAINTEXT://:9092,SSL://host:9093``.

    Raises:
        InvalidConfig: an entry is malformed, its name has no security protocol, or names or ports clash.
    """
    try:
        endpoints = tuple(_parse_endpoint(entry, protocols) for entry in split_list(text.strip()))
    except InvalidConfig as error:
        raise InvalidConfig(f"Error creating broker listeners from '{text}': {error}") from None
    if len({endpoint.listener for endpoint in endpoints}) != len(endpoints):
        raise InvalidConfig(f"Each listener must have a different name, listeners: {text}")
    if distinct_ports:
        _check_ports(endpoints, text)
    return endpoints


def split_list(text: str) -> tuple[str, ...]:
    """The non-empty items of a comma-separated text."""
    return tuple(item for item in _COMMA.split(text) if item)


def split_map(name: str, text: str) -> dict[str, str]:
    """``a:1,b:2`` as a mapping; the last colon of an item divides it.

    Raises:
        InvalidConfig: an item has no colon.
    """
    pairs = {}
    for item in _COMMA.split(text) if text else ():
        key, colon, value = item.rpartition(":")
        if not colon:
            raise InvalidConfig(f"Error parsing configuration property '{name}': '{item}' is not name:value")
        pairs[key.strip()] = value.strip()
    return pairs


def _text(values: Mapping[str, ConfigValue], name: str) -> str:
    value = values[name]
    return "" if value is None else str(value)


def _parse_endpoint(entry: str, protocols: Mapping[str, SecurityProtocol]) -> Endpoint:
    matched = _ENDPOINT.fullmatch(entry)
    if matched is None:
        raise InvalidConfig(f"Unable to parse {entry} to a broker endpoint")
    listener = _normalised(matched.group(1))
    port = int(matched.group(3)[:20])
    if not -1 <= port <= 65535:
        raise InvalidConfig(
            f"Unable to parse {entry} to a broker endpoint: the port is above 65535 or negative"
        )
    protocol = protocols.get(listener)
    if protocol is None:
        raise InvalidConfig(f"No security protocol defined for listener {listener}")
    return Endpoint(listener, matched.group(2), port, protocol)


def _normalised(listener: str) -> str:
    if not listener.strip():
        raise InvalidConfig("The provided listener name is null or empty string")
    return listener.upper()


def _check_ports(endpoints: tuple[Endpoint, ...], text: str) -> None:
    """Two listeners may share a port only as one IPv4 and one IPv6 address. Port 0 is free for all."""
    by_port: dict[int, list[Endpoint]] = defaultdict(list)
    for endpoint in endpoints:
        if endpoint.port:
            by_port[endpoint.port].append(endpoint)
    for port, sharing in by_port.items():
        families = [_ip_version(endpoint.host) for endpoint in sharing]
        unnamed = families.count(None)
        if len(sharing) == 1:
            continue
        if unnamed > 1:
            raise InvalidConfig(f"Each listener must have a different port, listeners: {text}")
        if len(sharing) - unnamed > 2:
            raise InvalidConfig(
                "Each listener must have a different port unless exactly one listener has an IPv4 address "
                f"and the other IPv6 address, listeners: {text}, port: {port}"
            )
        if sorted(family or 0 for family in families) != [4, 6]:
            raise InvalidConfig(
                "If you have two listeners on the same port then one needs to be IPv4 and the other IPv6, "
                f"listeners: {text}, port: {port}"
            )


def _ip_version(host: str) -> int | None:
    try:
        return ipaddress.ip_address(host).version
    except ValueError:
        return None


def _protocol(name: str, key: str) -> SecurityProtocol:
    try:
        return SecurityProtocol[name.upper()]
    except KeyError:
        raise InvalidConfig(f"Invalid security protocol `{name}` defined in {key}") from None


def _protocol_map(
    values: Mapping[str, ConfigValue], given: frozenset[str], controllers: frozenset[str]
) -> dict[str, SecurityProtocol]:
    key = "listener.security.protocol.map"
    protocols = {
        _normalised(listener): _protocol(protocol, key)
        for listener, protocol in split_map(key, _text(values, key)).items()
    }
    # A KRaft configuration without a map of its own gives its controllers plain text, unless it uses TLS or
    # SASL.
    if values["process.roles"] and key not in given:
        names = {entry.partition("://")[0].upper() for entry in split_list(_text(values, "listeners"))}
        if not _SECURE_NAMES & (names | controllers):
            protocols |= {name: SecurityProtocol.PLAINTEXT for name in controllers if name not in protocols}
    return protocols


def _inter_broker(
    values: Mapping[str, ConfigValue], given: frozenset[str], protocols: Mapping[str, SecurityProtocol]
) -> tuple[str, SecurityProtocol]:
    name = values["inter.broker.listener.name"]
    if name is None:
        protocol = _protocol(
            _text(values, "security.inter.broker.protocol"), "security.inter.broker.protocol"
        )
        return protocol.name, protocol
    if "security.inter.broker.protocol" in given:
        raise InvalidConfig(
            "Only one of inter.broker.listener.name and security.inter.broker.protocol should be set."
        )
    listener = _normalised(str(name))
    if listener not in protocols:
        raise InvalidConfig(
            f"Listener with name {listener} defined in inter.broker.listener.name not found in "
            "listener.security.protocol.map."
        )
    return listener, protocols[listener]


def _control_plane(
    values: Mapping[str, ConfigValue], protocols: Mapping[str, SecurityProtocol]
) -> str | None:
    name = values["control.plane.listener.name"]
    if name is None:
        return None
    listener = _normalised(str(name))
    if listener not in protocols:
        raise InvalidConfig(
            f"Listener with {listener} defined in control.plane.listener.name not found in "
            "listener.security.protocol.map."
        )
    return listener


def _check(listeners: Listeners) -> None:
    names = [endpoint.listener for endpoint in listeners.bound]
    advertised = [endpoint.listener for endpoint in listeners.advertised]
    shown = ",".join(advertised)
    if not advertised:
        raise InvalidConfig("There must be at least one broker advertised listener.")
    if listeners.inter_broker not in advertised:
        raise InvalidConfig(
            "inter.broker.listener.name must be a listener name defined in advertised.listeners. The valid "
            f"options based on currently configured listeners are {shown}"
        )
    if not set(advertised) <= set(names):
        raise InvalidConfig(
            "advertised.listeners listener names must be equal to or a subset of the ones defined in "
            f"listeners. Found {shown}. The valid options based on the current configuration are "
            f"{','.join(names)}"
        )
    if any(endpoint.host == "0.0.0.0" for endpoint in listeners.advertised):
        raise InvalidConfig(
            "advertised.listeners cannot use the nonroutable meta-address 0.0.0.0. Use a routable IP address."
        )
    if listeners.control_plane is None:
        return
    if listeners.control_plane not in advertised:
        raise InvalidConfig(
            "control.plane.listener.name must be a listener name defined in advertised.listeners. The valid "
            f"options based on currently configured listeners are {shown}"
        )
    if listeners.control_plane == listeners.inter_broker:
        raise InvalidConfig(
            "control.plane.listener.name, when defined, should have a different value from the inter broker "
            f"listener name. Currently they both have the value {listeners.control_plane}"
        )
