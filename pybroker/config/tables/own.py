"""Keys outside Kafka's table: pybroker's own, which begin with ``pybroker.``, and those of the authorizer."""

from pybroker.config.keys import BOOLEAN, INT, LIST, MEDIUM, PASSWORD, READ_ONLY, STRING, ConfigKey
from pybroker.config.validators import between, cluster_id_or_empty, host_and_port, one_of
from pybroker.model.personas import PERSONAS

# fmt: off
own_keys = (
    ConfigKey("pybroker.cluster.id", STRING, "", MEDIUM, READ_ONLY, cluster_id_or_empty,
              "The id of a cluster that this broker is the first of; empty: a random one. A cluster keeps "
              "the id that it has."),
    ConfigKey("pybroker.record.validation", STRING, "structure", MEDIUM, READ_ONLY,
              one_of("header", "structure", "full"),
              "How deep produced batches are checked: header, structure (record lengths too), or full as "
              "Kafka does."),
    ConfigKey("pybroker.zookeeper.auth", PASSWORD, None, MEDIUM, READ_ONLY, None,
              "Who this broker is to ZooKeeper, as sasl:USER:PASSWORD or digest:USER:PASSWORD; Kafka reads "
              "it from a JAAS file."),
)

# What clients are told that this broker is; no part of what they see of its configuration.
persona_keys = (
    ConfigKey("pybroker.persona", STRING, None, MEDIUM, READ_ONLY, one_of(*PERSONAS),
              "The Kafka version whose APIs and features the broker offers; without it all that it has.",
              internal=True),
    ConfigKey("pybroker.api.versions", LIST, (), MEDIUM, READ_ONLY, None,
              "The last version that the broker offers of single APIs, as Produce=9,Fetch=11.",
              internal=True),
)

# For test brokers; they are no part of what a client sees of the broker's configuration.
testing_keys = (
    ConfigKey("pybroker.control.listener", STRING, "", MEDIUM, READ_ONLY, host_and_port,
              "Address of the HTTP API by which tests control the broker, as 127.0.0.1:8082; off when empty.",
              internal=True),
    ConfigKey("pybroker.control.token", PASSWORD, None, MEDIUM, READ_ONLY, None,
              "What clients of the HTTP API must show; needed when it does not listen on the loopback.",
              internal=True),
    ConfigKey("pybroker.seed.file", STRING, "", MEDIUM, READ_ONLY, None,
              "A YAML file with the topics, records, offsets and faults that there are at the beginning and "
              "after each reset.", internal=True),
    ConfigKey("pybroker.snapshot.dir", STRING, "", MEDIUM, READ_ONLY, None,
              "A snapshot of a test cluster that it begins with.", internal=True),
    ConfigKey("pybroker.brokers", INT, 1, MEDIUM, READ_ONLY, between(1, 100),
              "How many brokers a test cluster has in this process; the others take the next ids and ports.",
              internal=True),
    ConfigKey("pybroker.log.dirs.count", INT, 1, MEDIUM, READ_ONLY, between(1, 16),
              "How many log directories each broker of a test cluster has.", internal=True),
    ConfigKey("pybroker.racks", LIST, (), MEDIUM, READ_ONLY, None,
              "The racks of a test cluster's brokers, in their order.", internal=True),
)

# Kafka knows these only inside its authorizer, so DescribeConfigs does not list them.
authorizer_keys = (
    ConfigKey("allow.everyone.if.no.acl.found", BOOLEAN, False, MEDIUM, READ_ONLY, None,
              "Whether a resource that no rule names is open to everyone.", internal=True),
    ConfigKey("super.users", STRING, "", MEDIUM, READ_ONLY, None,
              "Principals, separated by semicolons, that may do everything.", internal=True),
)
# fmt: on
