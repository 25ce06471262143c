"""Keys outside Kafka's table: pybroker's own, which begin with ``pybroker.``, and those of the authorizer."""

from pybroker.config.keys import BOOLEAN, MEDIUM, PASSWORD, READ_ONLY, STRING, ConfigKey
from pybroker.config.validators import cluster_id_or_empty, one_of

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
              "Who this broker is to ZooKeeper, as digest:USER:PASSWORD; Kafka reads it from a JAAS file."),
)

# Kafka knows these only inside its authorizer, so DescribeConfigs does not list them.
authorizer_keys = (
    ConfigKey("allow.everyone.if.no.acl.found", BOOLEAN, False, MEDIUM, READ_ONLY, None,
              "Whether a resource that no rule names is open to everyone.", internal=True),
    ConfigKey("super.users", STRING, "", MEDIUM, READ_ONLY, None,
              "Principals, separated by semicolons, that may do everything.", internal=True),
)
# fmt: on
