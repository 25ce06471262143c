"""Loading: ``server.properties``, ``--override`` options and ``KAFKA_*`` variables become one BrokerConfig.

An option wins over a variable, a variable over the file, as in the apache/kafka image. With none of a file, a
Kafka variable and a ZooKeeper to join, the built-in profile of a single node is the base, otherwise the
table.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

from pybroker.config.broker import BrokerConfig
from pybroker.config.definitions import broker_keys, find_broker_key, kraft_key_names
from pybroker.config.values import HIDDEN, InvalidConfig, InvalidValue
from pybroker.model.values import Value

SINGLE_NODE: Final[Mapping[str, str]] = {
    "broker.id": "0",
    "listeners": "PLAINTEXT://127.0.0.1:9092",
    "log.dirs": "./pybroker-data",
    "offsets.topic.replication.factor": "1",
    "transaction.state.log.replication.factor": "1",
    "transaction.state.log.min.isr": "1",
    "group.initial.rebalance.delay.ms": "0",
}
"""What Kafka's own ``config/server.properties`` changes for one node, with our address and data directory."""

# Variables of the image that are for the JVM, the scripts or the logs, not properties.
_NOT_PROPERTIES: Final = frozenset(
    f"KAFKA_{name}"
    for name in (
        "VERSION",
        "HEAP_OPTS",
        "LOG4J_OPTS",
        "OPTS",
        "JMX_OPTS",
        "JVM_PERFORMANCE_OPTS",
        "GC_LOG_OPTS",
        "LOG4J_ROOT_LOGLEVEL",
        "LOG4J_LOGGERS",
        "TOOLS_LOG4J_LOGLEVEL",
        "JMX_HOSTNAME",
    )
)
_KRAFT_KEYS_WITH_EFFECT: Final = frozenset({"node.id", "process.roles", "controller.listener.names"})


class ConfigurationError(Exception):
    """The configuration cannot be used. The message is one line for the person who wrote it."""


class Setting(Value):
    """One key as somebody gave it, and where: a file's name, ``--override`` or a variable's name."""

    __repr__ = object.__repr__  # the text may be a password

    name: str
    text: str
    origin: str


class Loaded(Value):
    """A usable configuration and what its writer should know: lines for the log, worst first."""

    config: BrokerConfig
    warnings: tuple[str, ...]
    notices: tuple[str, ...]


def load_broker_config(file: Path | None, overrides: Iterable[str], environ: Mapping[str, str]) -> Loaded:
    """Reads and checks everything that configures a broker.

    Args:
        file: a ``server.properties``, or ``None``.
        overrides: texts of the form ``key=value``; the last one of a key wins.
        environ: the process's environment.

    Raises:
        ConfigurationError: the file cannot be read, a text is malformed, or a value is not allowed.
    """
    from_options = [_parse_override(text) for text in overrides]
    from_environ = read_environment(environ)
    from_file = [] if file is None else _read_file(file)
    given = {setting.name: setting for setting in (*from_file, *from_environ, *from_options)}
    base = SINGLE_NODE if _is_plain_start(file, from_environ, given) else {}
    properties = {**base, **{name: setting.text for name, setting in given.items()}}
    _map_node_id(properties, given)
    return Loaded(
        config=_build(properties, given),
        warnings=tuple(_warnings(given.values())),
        notices=tuple(_notices(given)),
    )


def read_environment(environ: Mapping[str, str]) -> list[Setting]:
    """The properties in the variables of the apache/kafka image: ``KAFKA_LOG_DIRS`` is ``log.dirs``; two
    underscores stand for one, three for a dash. Without ``KAFKA_LISTENERS`` the advertised listeners are
    opened on every address.
    """
    settings = [
        Setting(_property_of_variable(variable), text, variable)
        for variable, text in sorted(environ.items())
        if variable.startswith("KAFKA_") and variable not in _NOT_PROPERTIES
    ]
    names = {setting.name: setting for setting in settings}
    advertised = names.get("advertised.listeners")
    if advertised is not None and "listeners" not in names:
        settings.append(Setting("listeners", _on_every_address(advertised.text), advertised.origin))
    return settings


def _property_of_variable(variable: str) -> str:
    dotted = variable.replace("KAFKA_", "").lower().replace("_", ".")
    return dotted.replace("...", "-").replace("..", "_")


def _on_every_address(listeners: str) -> str:
    opened = []
    for entry in listeners.split(","):
        name, scheme_end, address = entry.partition("://")
        port = address.rpartition(":")[2]
        opened.append(f"{name}{scheme_end}0.0.0.0:{port}")
    return ",".join(opened)


def _parse_override(text: str) -> Setting:
    name, equals, value = text.partition("=")
    if not equals or not name.strip():
        raise ConfigurationError(f"--override {text}: expected key=value")
    return Setting(name.strip(), value, "--override")


def _read_file(file: Path) -> list[Setting]:
    import javaproperties

    try:
        with file.open("rb") as stream:
            properties: dict[str, str] = javaproperties.load(stream)
    except OSError as error:
        raise ConfigurationError(f"{file}: cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise ConfigurationError(f"{file}: is not a properties file: {error}") from None
    return [Setting(name, text, str(file)) for name, text in properties.items()]


def _is_plain_start(file: Path | None, from_environ: Iterable[Setting], given: Mapping[str, Setting]) -> bool:
    """Whether nothing but a few options was given. Stray variables such as ``KAFKA_HOME`` do not count."""
    if file is not None or "zookeeper.connect" in given:
        return False
    return all(find_broker_key(setting.name) is None for setting in from_environ)


def _map_node_id(properties: dict[str, str], given: Mapping[str, Setting]) -> None:
    """``node.id`` and ``broker.id`` are one number under two names."""
    node, broker = given.get("node.id"), given.get("broker.id")
    if node is not None and broker is not None and node.text.strip() != broker.text.strip():
        raise ConfigurationError(
            f"node.id={node.text}: You must set `node.id` to the same value as `broker.id`, "
            f"which is {broker.text}"
        )
    if node is not None:
        properties["broker.id"] = node.text
    elif "broker.id" in properties:
        properties["node.id"] = properties["broker.id"]


def _build(properties: Mapping[str, str], given: Mapping[str, Setting]) -> BrokerConfig:
    try:
        config = BrokerConfig.from_properties(properties)
    except InvalidValue as error:
        raise ConfigurationError(_explain(error, given)) from None
    except InvalidConfig as error:
        raise ConfigurationError(_one_line(str(error))) from None
    if config.get("process.roles") == ("controller",):
        raise ConfigurationError(
            "process.roles=controller: a node that is only a KRaft controller has no counterpart here; "
            "allowed: broker, or broker,controller"
        )
    return config


def _explain(error: InvalidValue, given: Mapping[str, Setting]) -> str:
    row = find_broker_key(error.name)
    setting = given.get(error.name)
    origin = "" if setting is None else f"{setting.origin}: "
    text = str(error.value) if setting is None else setting.text
    if row is not None and row.sensitive:
        text = HIDDEN
    allowed = "" if row is None else f"; allowed: {row.allowed()}"
    return _one_line(f"{origin}{error.name}={text}: {error.reason}{allowed}")


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _warnings(given: Iterable[Setting]) -> Iterable[str]:
    for setting in given:
        if find_broker_key(setting.name) is None:
            yield f"{setting.origin}: unknown key {setting.name} is ignored{_suggestion(setting.name)}"


def _suggestion(name: str) -> str:
    import difflib

    close = difflib.get_close_matches(name, broker_keys, n=1, cutoff=0.85)
    return f", did you mean {close[0]}?" if close else ""


def _notices(given: Mapping[str, Setting]) -> Iterable[str]:
    if "node.id" in given and "broker.id" not in given:
        yield f"node.id={given['node.id'].text} is taken as broker.id"
    if "controller.listener.names" in given:
        names = given["controller.listener.names"].text
        yield f"controller.listener.names={names}: listeners of a KRaft controller are not opened"
    for name in sorted(kraft_key_names & given.keys() - _KRAFT_KEYS_WITH_EFFECT):
        yield f"{name} configures Kafka's own metadata quorum and has no effect here"
