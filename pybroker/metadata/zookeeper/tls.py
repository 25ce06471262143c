"""``zookeeper.ssl.*`` as Python's TLS settings. Key and trust stores are PEM files.

Source: ``ZKConfig`` and ``X509Util`` of ZooKeeper, whose names Kafka prefixes. Java's JKS, PKCS12 and BCFKS
stores, revocation lists and OCSP are refused by name: Python's ssl module knows none of them.
"""

import ssl
from pathlib import Path
from typing import Final

from pybroker.config.broker import BrokerConfig
from pybroker.config.values import InvalidConfig

_PEM: Final = "PEM"
_VERSIONS: Final = {
    "TLSv1": ssl.TLSVersion.TLSv1,
    "TLSv1.1": ssl.TLSVersion.TLSv1_1,
    "TLSv1.2": ssl.TLSVersion.TLSv1_2,
    "TLSv1.3": ssl.TLSVersion.TLSv1_3,
}
_NOT_SUPPORTED: Final = ("zookeeper.ssl.crl.enable", "zookeeper.ssl.ocsp.enable")


def tls_context(config: BrokerConfig) -> ssl.SSLContext:
    """The client's side of TLS to ZooKeeper.

    Raises:
        InvalidConfig: a key has a value that cannot be used here, or a file cannot be read.
    """
    for name in _NOT_SUPPORTED:
        if config.get(name):
            raise InvalidConfig(
                f"{name}=true: revocation of certificates is not checked here; set it to false"
            )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = bool(config.get("zookeeper.ssl.endpoint.identification.algorithm"))
    _limit_versions(context, config)
    _limit_ciphers(context, config)
    truststore = _store(config, "truststore")
    if truststore is None:
        context.load_default_certs(ssl.Purpose.SERVER_AUTH)
    else:
        try:
            context.load_verify_locations(truststore)
        except (OSError, ssl.SSLError) as error:
            raise _unusable("zookeeper.ssl.truststore.location", truststore, error) from error
    keystore = _store(config, "keystore")
    if keystore is not None:
        password = config.get("zookeeper.ssl.keystore.password")
        try:
            context.load_cert_chain(keystore, password=str(password or ""))
        except (OSError, ssl.SSLError) as error:
            raise _unusable("zookeeper.ssl.keystore.location", keystore, error) from error
    return context


def _store(config: BrokerConfig, name: str) -> Path | None:
    location = config.get(f"zookeeper.ssl.{name}.location")
    if location is None:
        return None
    path = Path(str(location))
    store_type = config.get(f"zookeeper.ssl.{name}.type") or path.suffix.removeprefix(".")
    if str(store_type).upper() != _PEM:
        raise InvalidConfig(
            f"zookeeper.ssl.{name}.location={path}: only PEM files can be used, not {store_type or 'this'}; "
            f"convert it with keytool and openssl, and name it *.pem or set zookeeper.ssl.{name}.type=PEM"
        )
    return path


def _limit_versions(context: ssl.SSLContext, config: BrokerConfig) -> None:
    name = "zookeeper.ssl.enabled.protocols"
    enabled = _list(config, name)
    if not enabled:
        name = "zookeeper.ssl.protocol"
        enabled = (str(config.get(name)),)
    versions = []
    for text in enabled:
        if text not in _VERSIONS:
            raise InvalidConfig(f"{name}={text}: is not a TLS version; allowed: {', '.join(_VERSIONS)}")
        versions.append(_VERSIONS[text])
    context.minimum_version = min(versions)
    context.maximum_version = max(versions)


def _limit_ciphers(context: ssl.SSLContext, config: BrokerConfig) -> None:
    suites = _list(config, "zookeeper.ssl.cipher.suites")
    if not suites:
        return
    try:
        context.set_ciphers(":".join(_openssl_name(suite) for suite in suites))
    except ssl.SSLError as error:
        raise InvalidConfig(
            f"zookeeper.ssl.cipher.suites={','.join(suites)}: OpenSSL knows none of them"
        ) from error


def _list(config: BrokerConfig, name: str) -> tuple[str, ...]:
    value = config.get(name)
    return value if isinstance(value, tuple) else ()


def _openssl_name(suite: str) -> str:
    """``TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256`` is ECDHE-RSA-AES128-GCM-SHA256 to OpenSSL."""
    exchange, found, cipher = suite.removeprefix("TLS_").partition("_WITH_")
    if not found:
        return suite
    cipher = (
        cipher.replace("AES_", "AES").replace("_CBC_SHA", "_SHA").replace("_POLY1305_SHA256", "_POLY1305")
    )
    exchange = "" if exchange == "RSA" else f"{exchange}-"
    return (exchange + cipher).replace("_", "-")


def _unusable(name: str, path: Path, error: Exception) -> InvalidConfig:
    return InvalidConfig(f"{name}={path}: cannot be used: {error}")
