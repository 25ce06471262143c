"""How a broker reaches ZooKeeper, read from its configuration."""

import ssl
from typing import Final

from pybroker.config.broker import BrokerConfig
from pybroker.config.values import InvalidConfig
from pybroker.metadata.zookeeper.tls import tls_context
from pybroker.model.values import Value

DIGEST: Final = "digest"
SASL: Final = "sasl"


class Credential(Value):
    """Who this broker is to ZooKeeper: ``scheme`` is digest, or sasl for DIGEST-MD5 as Kafka's brokers do."""

    scheme: str
    user: str
    password: str

    def __repr__(self) -> str:
        return f"Credential({self.scheme!r}, {self.user!r})"


class ZooKeeperSettings(Value):
    """``hosts`` is host:port,host:port; ``chroot`` is empty or begins with a slash.

    ``max_in_flight`` bounds the requests that wait for their answer at once.
    """

    hosts: str
    chroot: str = ""
    session_timeout_ms: int = 18_000
    connection_timeout_ms: int = 18_000
    max_in_flight: int = 10
    set_acl: bool = False
    auth: Credential | None = None
    tls: ssl.SSLContext | None = None

    @property
    def address(self) -> str:
        """As ``zookeeper.connect`` has it."""
        return self.hosts + self.chroot


def settings_of(config: BrokerConfig) -> ZooKeeperSettings:
    """The settings in a configuration that names a ZooKeeper.

    Raises:
        InvalidConfig: the address is malformed, the TLS files cannot be used, or ``zookeeper.set.acl`` is on
        and nothing says who this broker is.
    """
    hosts, chroot = split_address(config.zookeeper_connect or "")
    tls = tls_context(config) if config.get("zookeeper.ssl.client.enable") else None
    auth = _auth(config.get("pybroker.zookeeper.auth"))
    has_certificate = tls is not None and config.get("zookeeper.ssl.keystore.location") is not None
    if config.zookeeper_set_acl and auth is None and not has_certificate:
        raise InvalidConfig(
            "zookeeper.set.acl=true: ZooKeeper must know this broker; set pybroker.zookeeper.auth="
            "sasl:USER:PASSWORD or digest:USER:PASSWORD, or zookeeper.ssl.client.enable=true and "
            "zookeeper.ssl.keystore.location"
        )
    return ZooKeeperSettings(
        hosts=hosts,
        chroot=chroot,
        session_timeout_ms=config.zookeeper_session_timeout_ms,
        connection_timeout_ms=config.zookeeper_connection_timeout_ms,
        max_in_flight=config.zookeeper_max_in_flight_requests,
        set_acl=config.zookeeper_set_acl,
        auth=auth,
        tls=tls,
    )


def split_address(connect: str) -> tuple[str, str]:
    """``HOST:PORT[,HOST:PORT…][/CHROOT]`` as hosts and chroot.

    Raises:
        InvalidConfig: a host is empty, or a port is none.
    """
    hosts, slash, chroot = connect.partition("/")
    for host in hosts.split(","):
        if not _is_host_and_port(host.strip()):
            raise InvalidConfig(
                f"zookeeper.connect={connect}: {host!r} is not host:port; allowed: "
                "host:port[,host:port...][/chroot]"
            )
    return hosts, (slash + chroot).rstrip("/")


def _is_host_and_port(text: str) -> bool:
    """The port may be left out: then it is ZooKeeper's own."""
    host, colon, port = text.rpartition(":")
    if not colon or text.endswith("]"):
        return bool(text)
    return bool(host) and port.isdecimal() and 0 < int(port) < 65536


def _auth(text: object) -> Credential | None:
    if text is None:
        return None
    scheme, _, rest = str(text).partition(":")
    user, _, password = rest.partition(":")
    if scheme not in (DIGEST, SASL) or not user or not password:
        raise InvalidConfig(
            "pybroker.zookeeper.auth: is of neither form, sasl:USER:PASSWORD nor digest:USER:PASSWORD"
        )
    return Credential(scheme, user, password)
