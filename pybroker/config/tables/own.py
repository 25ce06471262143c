"""Keys that Kafka does not have. They all begin with ``pybroker.``."""

from pybroker.config.keys import MEDIUM, READ_ONLY, STRING, ConfigKey
from pybroker.config.validators import one_of

# fmt: off
own_keys = (
    ConfigKey("pybroker.record.validation", STRING, "structure", MEDIUM, READ_ONLY,
              one_of("header", "structure", "full"),
              ""),
)
# fmt: on
