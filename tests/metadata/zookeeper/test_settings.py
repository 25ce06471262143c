"""zookeeper.* keys become settings, or an error that names the key, the value and what is allowed."""

import ssl

import pytest
import trustme

from pybroker.config.broker import BrokerConfig
from pybroker.config.values import InvalidConfig
from pybroker.metadata.zookeeper.settings import Credential, settings_of


def settings(**keys):
    properties = {"zookeeper.connect": "localhost:2181", "log.dirs": "/tmp/x", "broker.id": "1"}
    properties |= {f"zookeeper.{name.replace('_', '.')}": value for name, value in keys.items()}
    if "pybroker" in keys:
        properties["pybroker.zookeeper.auth"] = properties.pop("zookeeper.pybroker")
    return settings_of(BrokerConfig.from_properties(properties))


@pytest.fixture(scope="module")
def pem(tmp_path_factory):
    """A folder with a key store and a trust store as PEM files."""
    folder = tmp_path_factory.mktemp("pem")
    authority = trustme.CA()
    authority.cert_pem.write_to_path(folder / "trust.pem")
    authority.issue_cert("broker").private_key_and_cert_chain_pem.write_to_path(folder / "key.pem")
    return folder


def tls(pem, **keys):
    return settings(
        **{
            "ssl_client_enable": "true",
            "ssl_truststore_location": str(pem / "trust.pem"),
            "ssl_keystore_location": str(pem / "key.pem"),
            **keys,
        }
    ).tls


@pytest.mark.parametrize(
    ("connect", "hosts", "chroot"),
    [
        ("zk1:2181,zk2:2182,zk3", "zk1:2181,zk2:2182,zk3", ""),
        ("zk1:2181/kafka", "zk1:2181", "/kafka"),
        ("zk1:2181,zk2/a/b/", "zk1:2181,zk2", "/a/b"),
        ("zk1:2181/", "zk1:2181", ""),
        ("[::1]:2181/kafka", "[::1]:2181", "/kafka"),
    ],
)
def test_the_address_is_hosts_and_a_chroot(connect, hosts, chroot):
    found = settings(connect=connect)
    assert (found.hosts, found.chroot) == (hosts, chroot)


@pytest.mark.parametrize("connect", ["zk1:port", "zk1:", "zk1:2181,,zk2", ":2181", "zk1:70000", "/kafka"])
def test_a_malformed_address_is_refused(connect):
    with pytest.raises(InvalidConfig, match=r"zookeeper\.connect="):
        settings(connect=connect)


def test_time_outs_and_limits_are_taken_over():
    found = settings(session_timeout_ms="6000", max_in_flight_requests="3")
    assert (found.session_timeout_ms, found.connection_timeout_ms, found.max_in_flight) == (6000, 6000, 3)
    assert settings(connection_timeout_ms="500").connection_timeout_ms == 500


def test_the_credential_is_not_shown():
    found = settings(pybroker="digest:broker:se:cret")
    assert found.auth == Credential("digest", "broker", "se:cret")
    assert "cret" not in repr(found)
    assert settings(pybroker="sasl:broker:secret").auth == Credential("sasl", "broker", "secret")


@pytest.mark.parametrize("text", ["broker:secret", "plain:broker:secret", "digest:broker", "sasl::x", ""])
def test_a_malformed_credential_is_refused_without_showing_it(text):
    with pytest.raises(InvalidConfig, match=r"pybroker\.zookeeper\.auth") as refused:
        settings(pybroker=text)
    assert "secret" not in str(refused.value)


def test_access_lists_need_somebody_to_name(pem):
    with pytest.raises(InvalidConfig, match=r"zookeeper\.set\.acl=true: .* pybroker\.zookeeper\.auth=sasl"):
        settings(set_acl="true")
    assert settings(set_acl="true", pybroker="digest:a:b").set_acl
    assert tls(pem, set_acl="true") is not None


def test_tls_is_off_until_it_is_asked_for(pem):
    assert settings(ssl_truststore_location=str(pem / "trust.pem")).tls is None
    context = tls(pem)
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname
    assert context.minimum_version is context.maximum_version is ssl.TLSVersion.TLSv1_2


def test_protocols_names_and_ciphers_are_kafkas(pem):
    context = tls(
        pem,
        ssl_enabled_protocols="TLSv1.2,TLSv1.3",
        ssl_endpoint_identification_algorithm="",
        ssl_cipher_suites="TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,TLS_RSA_WITH_AES_256_CBC_SHA256",
    )
    assert (context.minimum_version, context.maximum_version) == (
        ssl.TLSVersion.TLSv1_2,
        ssl.TLSVersion.TLSv1_3,
    )
    assert not context.check_hostname
    names = {cipher["name"] for cipher in context.get_ciphers() if not cipher["name"].startswith("TLS_")}
    assert names == {"ECDHE-RSA-AES128-GCM-SHA256", "AES256-SHA256"}


@pytest.mark.parametrize(
    ("keys", "reason"),
    [
        ({"ssl_crl_enable": "true"}, r"zookeeper\.ssl\.crl\.enable=true: .* not checked"),
        ({"ssl_ocsp_enable": "true"}, r"zookeeper\.ssl\.ocsp\.enable=true: .* not checked"),
        ({"ssl_truststore_location": "/x/trust.jks"}, r"truststore\.location=/x/trust\.jks: only PEM .* jks"),
        ({"ssl_keystore_type": "PKCS12"}, r"keystore\.location=.*: only PEM files can be used, not PKCS12"),
        ({"ssl_truststore_location": "/x/none.pem"}, r"truststore\.location=/x/none\.pem: cannot be used"),
        ({"ssl_keystore_location": "/x/none.pem"}, r"keystore\.location=/x/none\.pem: cannot be used"),
        ({"ssl_protocol": "SSLv3"}, r"zookeeper\.ssl\.protocol=SSLv3: is not a TLS version"),
        ({"ssl_cipher_suites": "NO_SUCH"}, r"zookeeper\.ssl\.cipher\.suites=NO_SUCH: OpenSSL knows none"),
    ],
)
def test_what_cannot_be_used_is_refused_by_name(pem, keys, reason):
    with pytest.raises(InvalidConfig, match=reason):
        tls(pem, **keys)
