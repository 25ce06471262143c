"""What the configuration table is made of: one :class:`ConfigKey` per row."""

from enum import Enum

from pybroker.config.validators import Validator
from pybroker.config.values import ConfigType, ConfigValue, parse_value
from pybroker.model.values import Value


class Importance(Enum):
    HIGH = "high"
    MEDIUM = "medium"
    LOW = "low"


class UpdateMode(Enum):
    """Whether a running broker takes a new value of the key, and where that value is stored."""

    READ_ONLY = "read-only"
    PER_BROKER = "per-broker"
    CLUSTER_WIDE = "cluster-wide"


class ConfigKey(Value):
    """One row of the table.

    ``internal`` keys work but are not shown by DescribeConfigs. ``default`` is a parsed value; ``None`` is
    null.
    """

    name: str
    type: ConfigType
    default: ConfigValue
    importance: Importance
    mode: UpdateMode
    validator: Validator | None
    doc: str
    internal: bool = False

    @property
    def sensitive(self) -> bool:
        """Passwords are never shown, neither in logs nor in replies."""
        return self.type is ConfigType.PASSWORD

    def parse(self, text: str) -> ConfigValue:
        """The checked value that a text stands for.

        Raises:
            InvalidValue: the text is not of the key's type, or its validator refuses it.
        """
        value = parse_value(self.name, text, self.type)
        if self.validator is not None:
            self.validator.check(self.name, value)
        return value

    def allowed(self) -> str:
        """What the key takes, for people: the type and, when there is one, the rule."""
        kind = self.type.name.lower()
        return kind if self.validator is None else f"{kind} {self.validator.describe()}"


class TopicKey(ConfigKey):
    """A topic's key. ``synonyms`` are the broker keys its default is taken from, the first one set wins; a
    name that ends in ``.hours`` or ``.minutes`` counts in that unit while the topic's key counts
    milliseconds.
    """

    synonyms: tuple[str, ...] = ()


BOOLEAN = ConfigType.BOOLEAN
STRING = ConfigType.STRING
INT = ConfigType.INT
SHORT = ConfigType.SHORT
LONG = ConfigType.LONG
DOUBLE = ConfigType.DOUBLE
LIST = ConfigType.LIST
CLASS = ConfigType.CLASS
PASSWORD = ConfigType.PASSWORD
HIGH = Importance.HIGH
MEDIUM = Importance.MEDIUM
LOW = Importance.LOW
READ_ONLY = UpdateMode.READ_ONLY
PER_BROKER = UpdateMode.PER_BROKER
CLUSTER_WIDE = UpdateMode.CLUSTER_WIDE

MAX_INT = 2**31 - 1
MAX_LONG = 2**63 - 1
MAX_DOUBLE = 1.7976931348623157e308
"""Java's largest values; as a default they mean "no limit"."""
