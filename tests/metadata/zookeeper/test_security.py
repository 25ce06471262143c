"""TLS to a real ZooKeeper, who this broker is to it, and what it lets others do with the nodes it makes."""

import pytest
import trio
import trustme
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from kazoo.client import KazooClient
from kazoo.exceptions import NoAuthError
from kazoo.security import make_digest_acl_credential
from msgspec.structs import replace

from interop.support.process import free_port
from interop.support.zookeeper import ZooKeeperServer
from pybroker.config.broker import BrokerConfig
from pybroker.metadata.store import ConnectionLost, StoreError
from pybroker.metadata.zookeeper.session import ZooKeeperSession
from pybroker.metadata.zookeeper.settings import Credential, settings_of
from tests.metadata.stores import chroot_settings, zookeeper_under_test

READ, ALL = 1, 31
CREDENTIAL = Credential("digest", "broker", "secret")


def acl_of(server, path, auth=()):
    client = KazooClient(server.address, auth_data=list(auth))
    client.start()
    try:
        return sorted((acl.perms, acl.id.scheme, acl.id.id) for acl in client.get_acls(path)[0])
    finally:
        client.stop()
        client.close()


def read_as_stranger(server, path):
    client = KazooClient(server.address)
    client.start()
    try:
        return client.get(path)[0]
    finally:
        client.stop()
        client.close()


async def test_nodes_are_open_to_everybody_unless_access_lists_are_asked_for(zookeeper):
    settings = chroot_settings(zookeeper, auth=CREDENTIAL)
    async with zookeeper_under_test(settings) as under_test:
        session = await under_test.session()
        await session.create("/a")
        assert acl_of(zookeeper, f"{settings.chroot}/a") == [(ALL, "world", "anyone")]


async def test_with_access_lists_only_the_creator_writes_and_secrets_are_not_read(zookeeper):
    ours = ("digest", make_digest_acl_credential(CREDENTIAL.user, CREDENTIAL.password))
    settings = chroot_settings(zookeeper, auth=CREDENTIAL, set_acl=True)
    async with zookeeper_under_test(settings) as under_test:
        session = await under_test.session()
        for path in ("/consumers", "/config/users/secret", "/config/brokers/1", "/config/topics/t"):
            await session.create(path, b"data", make_parents=True)
        stranger = await zookeeper_stranger(under_test)
        with pytest.raises(StoreError, match=r"no permission for /config/topics/t"):
            await stranger.set("/config/topics/t", b"changed")
        assert (await stranger.get("/config/topics/t"))[0] == b"data"
        with pytest.raises(StoreError, match=r"no permission for /config/users/secret"):
            await stranger.get("/config/users/secret")
        await stranger.set("/consumers", b"open")
        await stranger.create("/consumers/old")
    auth = [("digest", "broker:secret")]
    readable = [(READ, "world", "anyone"), (ALL, *ours)]
    for path, expected in {
        "": readable,
        "/consumers": [(ALL, "world", "anyone")],
        "/config": readable,
        "/config/topics/t": readable,
        "/config/users": [(ALL, *ours)],
        "/config/users/secret": [(ALL, *ours)],
        "/config/brokers/1": [(ALL, *ours)],
    }.items():
        assert acl_of(zookeeper, settings.chroot + path, auth) == expected, path
    with pytest.raises(NoAuthError):
        read_as_stranger(zookeeper, f"{settings.chroot}/config/users/secret")


async def zookeeper_stranger(under_test):
    under_test.settings = replace(under_test.settings, auth=None, set_acl=False)
    return await under_test.session()


@pytest.fixture(scope="module")
def authority():
    return trustme.CA()


def pkcs8(key: bytes) -> bytes:
    """The only form of a private key that Java reads."""
    return load_pem_private_key(key, None).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


@pytest.fixture(scope="module")
def pem(authority, tmp_path_factory):
    """Key and trust stores of a server that is called localhost, and of a client."""
    folder = tmp_path_factory.mktemp("tls")
    authority.cert_pem.write_to_path(folder / "trust.pem")
    for name in ("localhost", "broker"):
        issued = authority.issue_cert(name, common_name=name)
        chain = b"".join(pem.bytes() for pem in issued.cert_chain_pems)
        (folder / f"{name}.pem").write_bytes(pkcs8(issued.private_key_pem.bytes()) + chain)
    stranger = trustme.CA()
    stranger.cert_pem.write_to_path(folder / "stranger.pem")
    stranger.issue_cert("broker").private_key_and_cert_chain_pem.write_to_path(folder / "other.pem")
    return folder


@pytest.fixture(scope="module")
def secure_zookeeper(zookeeper, pem):
    """One that asks its clients for certificates on one port, and lets them log in by SASL on the other."""
    secure_port = free_port()
    login = pem / "server.jaas"
    module = "org.apache.zookeeper.server.auth.DigestLoginModule required"
    login.write_text(f'Server {{ {module} user_broker="secret"; }};\n')
    server = ZooKeeperServer(
        settings={
            "secureClientPort": str(secure_port),
            "secureClientPortAddress": "127.0.0.1",
            "serverCnxnFactory": "org.apache.zookeeper.server.NettyServerCnxnFactory",
            "ssl.keyStore.location": str(pem / "localhost.pem"),
            "ssl.trustStore.location": str(pem / "trust.pem"),
            "ssl.clientAuth": "need",
            "authProvider.1": "org.apache.zookeeper.server.auth.X509AuthenticationProvider",
            "authProvider.2": "org.apache.zookeeper.server.auth.SASLAuthenticationProvider",
        },
        options={"java.security.auth.login.config": str(login)},
    )
    server.start()
    yield server, secure_port
    server.stop()


def tls_settings(port, pem, **keys):
    properties = {
        "zookeeper.connect": f"localhost:{port}/tls",
        "zookeeper.session.timeout.ms": "4000",
        "zookeeper.connection.timeout.ms": "10000",
        "zookeeper.ssl.client.enable": "true",
        "zookeeper.ssl.truststore.location": str(pem / "trust.pem"),
        "zookeeper.ssl.keystore.location": str(pem / "broker.pem"),
        "zookeeper.set.acl": "true",
        "broker.id": "1",
        "log.dirs": "/tmp/unused",
    }
    return settings_of(BrokerConfig.from_properties({**properties, **keys}))


async def test_over_tls_the_certificate_says_who_the_broker_is(secure_zookeeper, pem):
    server, port = secure_zookeeper
    session = await ZooKeeperSession.open(tls_settings(port, pem))
    await session.create("/a", b"x" * 200_000)
    assert len((await session.get("/a"))[0]) == 200_000
    with trio.fail_after(10):
        await session.close()
    (anyone, creator) = acl_of(server, "/tls/a")
    assert anyone == (READ, "world", "anyone")
    assert creator[:2] == (ALL, "x509")
    assert "CN=broker" in creator[2]


@pytest.mark.parametrize(
    ("connect", "keys", "reason"),
    [
        ("localhost", {"truststore.location": "stranger.pem"}, "certificate verify failed"),
        ("127.0.0.1", {}, "certificate verify failed: IP address mismatch"),
        ("localhost", {"keystore.location": "other.pem"}, "no ZooKeeper answers"),
    ],
    ids=["unknown authority", "another name", "a certificate of ours that it does not trust"],
)
async def test_who_is_not_trusted_is_not_talked_to(secure_zookeeper, pem, connect, keys, reason):
    _, port = secure_zookeeper
    settings = tls_settings(
        port,
        pem,
        **{"zookeeper.connect": f"{connect}:{port}", "zookeeper.connection.timeout.ms": "700"},
        **{f"zookeeper.ssl.{name}": str(pem / file) for name, file in keys.items()},
    )
    with pytest.raises(ConnectionLost, match=reason):
        await ZooKeeperSession.open(settings)


async def test_by_sasl_a_broker_is_who_kafkas_brokers_are(secure_zookeeper):
    server, _ = secure_zookeeper
    settings = chroot_settings(server, auth=Credential("sasl", "broker", "secret"), set_acl=True)
    async with zookeeper_under_test(settings) as under_test:
        session = await under_test.session()
        await session.create("/a")
        assert acl_of(server, f"{settings.chroot}/a") == [(READ, "world", "anyone"), (ALL, "sasl", "broker")]


async def test_a_wrong_password_is_told_as_such(secure_zookeeper):
    server, _ = secure_zookeeper
    settings = chroot_settings(server, auth=Credential("sasl", "broker", "guessed"))
    with pytest.raises(StoreError, match="ZooKeeper refused the credentials"):
        await ZooKeeperSession.open(settings)
