"""Where a broker can be reached, by listener."""

from enum import IntEnum

from pybroker.model.values import Value


class SecurityProtocol(IntEnum):
    """Kafka's security protocols with the ids that UpdateMetadata carries."""

    PLAINTEXT = 0
    SSL = 1
    SASL_PLAINTEXT = 2
    SASL_SSL = 3


class Endpoint(Value):
    """One address of one listener of a broker."""

    listener: str
    host: str
    port: int
    security_protocol: SecurityProtocol = SecurityProtocol.PLAINTEXT

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.listener}://{host}:{self.port}"
