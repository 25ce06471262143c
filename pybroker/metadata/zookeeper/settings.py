"""How a broker reaches ZooKeeper, read from its configuration."""

import ssl

from attrs import field, frozen

from pybroker.config.broker import BrokerConfig
from pybroker.config.values import InvalidConfig
from pybroker.metadata.zookeeper.tls import tls_context

DIGEST = "digest"


@frozen
class ZooKeeperSettings:
    """``hosts`` is host:port,host:port; ``chroot`` is empty or begins with a slash.

    ``auth`` are pairs of ZooKeeper's scheme and credential; ``max_in_flight`` bounds the requests that wait
    for their answer at once.
    """

    hosts: str
    chroot: str = ""
    session_timeout_ms: int = 18_000
    connection_timeout_ms: int = 18_000
    max_in_flight: int = 10
    set_acl: bool = False
    auth: tuple[tuple[str, str], ...] = field(default=(), repr=False)
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
    if config.zookeeper_set_acl and not auth and not has_certificate:
        raise InvalidConfig(
            "zookeeper.set.acl=true: ZooKeeper must know this broker; set pybroker.zookeeper.auth="
            "digest:USER:PASSWORD, or zookeeper.ssl.client.enable=true and zookeeper.ssl.keystore.location"
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


def _auth(text: object) -> tuple[tuple[str, str], ...]:
    if text is None:
        return ()
    scheme, _, credential = str(text).partition(":")
    if scheme != DIGEST or not credential.partition(":")[0] or not credential.partition(":")[2]:
        raise InvalidConfig("pybroker.zookeeper.auth: is not of the form digest:USER:PASSWORD")
    return ((scheme, credential),)
