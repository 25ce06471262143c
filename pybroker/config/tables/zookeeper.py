"""How the broker reaches ZooKeeper."""

from pybroker.config.keys import BOOLEAN, HIGH, INT, LIST, LOW, MEDIUM, PASSWORD, READ_ONLY, STRING, ConfigKey
from pybroker.config.validators import at_least

# fmt: off
zookeeper_keys = (
    ConfigKey("zookeeper.clientCnxnSocket", STRING, None, MEDIUM, READ_ONLY, None,
              "Java class of the connection to ZooKeeper; kept for compatibility."),
    ConfigKey("zookeeper.connect", STRING, None, HIGH, READ_ONLY, None,
              "ZooKeeper servers as host:port,host:port/chroot; unset keeps metadata in the data directory."),
    ConfigKey("zookeeper.connection.timeout.ms", INT, None, HIGH, READ_ONLY, None,
              "Milliseconds to wait for the first connection to ZooKeeper; unset takes the session time- "
              "out."),
    ConfigKey("zookeeper.max.in.flight.requests", INT, 10, HIGH, READ_ONLY, at_least(1),
              "Requests to ZooKeeper that may wait for their answer at once."),
    ConfigKey("zookeeper.metadata.migration.enable", BOOLEAN, False, HIGH, READ_ONLY, None,
              "Whether metadata is moved from ZooKeeper to KRaft; not possible here."),
    ConfigKey("zookeeper.metadata.migration.min.batch.size", INT, 200, MEDIUM, READ_ONLY, at_least(1),
              "Records per batch when metadata is moved from ZooKeeper to KRaft.", internal=True),
    ConfigKey("zookeeper.session.timeout.ms", INT, 18000, HIGH, READ_ONLY, None,
              "Milliseconds without contact after which ZooKeeper drops the broker's registration."),
    ConfigKey("zookeeper.set.acl", BOOLEAN, False, HIGH, READ_ONLY, None,
              "Whether nodes in ZooKeeper are protected by access rules."),
    ConfigKey("zookeeper.ssl.cipher.suites", LIST, None, LOW, READ_ONLY, None,
              "Cipher suites for TLS to ZooKeeper."),
    ConfigKey("zookeeper.ssl.client.enable", BOOLEAN, False, MEDIUM, READ_ONLY, None,
              "Whether ZooKeeper is reached over TLS."),
    ConfigKey("zookeeper.ssl.crl.enable", BOOLEAN, False, LOW, READ_ONLY, None,
              "Whether revocation lists are checked for ZooKeeper's certificates."),
    ConfigKey("zookeeper.ssl.enabled.protocols", LIST, None, LOW, READ_ONLY, None,
              "TLS versions allowed to ZooKeeper."),
    ConfigKey("zookeeper.ssl.endpoint.identification.algorithm", STRING, "HTTPS", LOW, READ_ONLY, None,
              "How the name in ZooKeeper's certificate is checked; empty is not at all."),
    ConfigKey("zookeeper.ssl.keystore.location", STRING, None, MEDIUM, READ_ONLY, None,
              "File with the key and certificates for TLS to ZooKeeper."),
    ConfigKey("zookeeper.ssl.keystore.password", PASSWORD, None, MEDIUM, READ_ONLY, None,
              "Password of the key store for TLS to ZooKeeper."),
    ConfigKey("zookeeper.ssl.keystore.type", STRING, None, MEDIUM, READ_ONLY, None,
              "Format of the key store for TLS to ZooKeeper."),
    ConfigKey("zookeeper.ssl.ocsp.enable", BOOLEAN, False, LOW, READ_ONLY, None,
              "Whether OCSP is asked about ZooKeeper's certificates."),
    ConfigKey("zookeeper.ssl.protocol", STRING, "TLSv1.2", LOW, READ_ONLY, None,
              "TLS version for ZooKeeper."),
    ConfigKey("zookeeper.ssl.truststore.location", STRING, None, MEDIUM, READ_ONLY, None,
              "File with the certificates trusted for ZooKeeper."),
    ConfigKey("zookeeper.ssl.truststore.password", PASSWORD, None, MEDIUM, READ_ONLY, None,
              "Password of the trust store for ZooKeeper."),
    ConfigKey("zookeeper.ssl.truststore.type", STRING, None, MEDIUM, READ_ONLY, None,
              "Format of the trust store for ZooKeeper."),
)
# fmt: on
