"""A topic's own keys, each with the broker keys its default is taken from."""

from pybroker.config.keys import (
    BOOLEAN,
    CLUSTER_WIDE,
    DOUBLE,
    INT,
    LIST,
    LONG,
    LOW,
    MAX_LONG,
    MEDIUM,
    STRING,
    TopicKey,
)
from pybroker.config.validators import (
    at_least,
    between,
    gzip_level,
    list_of,
    metadata_version,
    one_of,
    throttled_replicas,
)

# fmt: off
topic_keys = (
    TopicKey("cleanup.policy", LIST, ("delete",), MEDIUM, CLUSTER_WIDE, list_of("compact", "delete"),
             "What happens to old segments: delete, compact, or both.", synonyms=("log.cleanup.policy",)),
    TopicKey("compression.gzip.level", INT, -1, MEDIUM, CLUSTER_WIDE, gzip_level,
             "Level used when the broker itself compresses with "
             "gzip; -1 is the codec's own default.", synonyms=("compression.gzip.level",)),
    TopicKey("compression.lz4.level", INT, 9, MEDIUM, CLUSTER_WIDE, between(1, 17),
             "Level used when the broker itself compresses with lz4.", synonyms=("compression.lz4.level",)),
    TopicKey("compression.type", STRING, "producer", MEDIUM, CLUSTER_WIDE,
             one_of("uncompressed", "zstd", "lz4", "snappy", "gzip", "producer"),
             "Codec in which batches are stored; producer keeps the one "
             "they arrive in.", synonyms=("compression.type",)),
    TopicKey("compression.zstd.level", INT, 3, MEDIUM, CLUSTER_WIDE, between(-131072, 22),
             "Level used when the broker itself compresses with zstd.", synonyms=("compression.zstd.level",)),
    TopicKey("delete.retention.ms", LONG, 86400000, MEDIUM, CLUSTER_WIDE, at_least(0),
             "Milliseconds that deletion marks of a "
             "compacted topic stay readable.", synonyms=("log.cleaner.delete.retention.ms",)),
    TopicKey("file.delete.delay.ms", LONG, 60000, MEDIUM, CLUSTER_WIDE, at_least(0),
             "Milliseconds between taking a segment out of the "
             "log and deleting its files.", synonyms=("log.segment.delete.delay.ms",)),
    TopicKey("flush.messages", LONG, MAX_LONG, MEDIUM, CLUSTER_WIDE, at_least(1),
             "Records after which the log is forced to disk.", synonyms=("log.flush.interval.messages",)),
    TopicKey("flush.ms", LONG, MAX_LONG, MEDIUM, CLUSTER_WIDE, at_least(0),
             "Milliseconds after "
             "which the log is "
             "forced to disk.", synonyms=("log.flush.interval.ms", "log.flush.scheduler.interval.ms")),
    TopicKey("follower.replication.throttled.replicas", LIST, (), MEDIUM, CLUSTER_WIDE, throttled_replicas,
             "Replicas whose followers are throttled, as partition:broker pairs or * for all."),
    TopicKey("index.interval.bytes", INT, 4096, MEDIUM, CLUSTER_WIDE, at_least(0),
             "Bytes of records between two entries of a segment's "
             "offset index.", synonyms=("log.index.interval.bytes",)),
    TopicKey("leader.replication.throttled.replicas", LIST, (), MEDIUM, CLUSTER_WIDE, throttled_replicas,
             "Replicas whose leaders are throttled, as partition:broker pairs or * for all."),
    TopicKey("local.retention.bytes", LONG, -2, MEDIUM, CLUSTER_WIDE, at_least(-2),
             "Bytes of a partition kept on local disk when it is "
             "tiered; -2 takes retention.bytes.", synonyms=("log.local.retention.bytes",)),
    TopicKey("local.retention.ms", LONG, -2, MEDIUM, CLUSTER_WIDE, at_least(-2),
             "Milliseconds that segments stay on local disk when "
             "they are tiered; -2 takes retention.ms.", synonyms=("log.local.retention.ms",)),
    TopicKey("max.compaction.lag.ms", LONG, MAX_LONG, MEDIUM, CLUSTER_WIDE, at_least(1),
             "Milliseconds after which a record must be "
             "open to compaction.", synonyms=("log.cleaner.max.compaction.lag.ms",)),
    TopicKey("max.message.bytes", INT, 1048588, MEDIUM, CLUSTER_WIDE, at_least(0),
             "Bytes of the largest batch that is accepted.", synonyms=("message.max.bytes",)),
    TopicKey("message.downconversion.enable", BOOLEAN, True, LOW, CLUSTER_WIDE, None,
             "Whether records are converted for consumers "
             "that only know older formats.", synonyms=("log.message.downconversion.enable",)),
    TopicKey("message.format.version", STRING, "3.0-IV1", MEDIUM, CLUSTER_WIDE, metadata_version,
             "Deprecated record format setting; ignored since "
             "version 3.0.", synonyms=("log.message.format.version",)),
    TopicKey("message.timestamp.after.max.ms", LONG, MAX_LONG, MEDIUM, CLUSTER_WIDE, at_least(0),
             "Milliseconds that a record's timestamp may "
             "lie ahead of the broker's clock.", synonyms=("log.message.timestamp.after.max.ms",)),
    TopicKey("message.timestamp.before.max.ms", LONG, MAX_LONG, MEDIUM, CLUSTER_WIDE, at_least(0),
             "Milliseconds that a record's timestamp "
             "may lie behind the broker's clock.", synonyms=("log.message.timestamp.before.max.ms",)),
    TopicKey("message.timestamp.difference.max.ms", LONG, MAX_LONG, MEDIUM, CLUSTER_WIDE, at_least(0),
             "Deprecated: both of the bounds before "
             "and after the broker's clock at once.", synonyms=("log.message.timestamp.difference.max.ms",)),
    TopicKey("message.timestamp.type", STRING, "CreateTime", MEDIUM, CLUSTER_WIDE,
             one_of("CreateTime", "LogAppendTime"),
             "Whose time a record carries: the producer's "
             "(CreateTime) or the broker's (LogAppendTime).", synonyms=("log.message.timestamp.type",)),
    TopicKey("min.cleanable.dirty.ratio", DOUBLE, 0.5, MEDIUM, CLUSTER_WIDE, between(0, 1),
             "Least fraction of uncleaned bytes at which "
             "the log is cleaned.", synonyms=("log.cleaner.min.cleanable.ratio",)),
    TopicKey("min.compaction.lag.ms", LONG, 0, MEDIUM, CLUSTER_WIDE, at_least(0),
             "Milliseconds for which a record is safe "
             "from compaction.", synonyms=("log.cleaner.min.compaction.lag.ms",)),
    TopicKey("min.insync.replicas", INT, 1, MEDIUM, CLUSTER_WIDE, at_least(1),
             "In-sync replicas without which a write with acks=all is "
             "refused.", synonyms=("min.insync.replicas",)),
    TopicKey("preallocate", BOOLEAN, False, MEDIUM, CLUSTER_WIDE, None,
             "Whether a new segment's file is made at full size.", synonyms=("log.preallocate",)),
    TopicKey("remote.log.copy.disable", BOOLEAN, False, MEDIUM, CLUSTER_WIDE, None,
             "Whether segments are no longer copied to tiered storage; not allowed with ZooKeeper."),
    TopicKey("remote.log.delete.on.disable", BOOLEAN, False, MEDIUM, CLUSTER_WIDE, None,
             "Whether switching tiered storage off deletes what is there; not allowed with ZooKeeper."),
    TopicKey("remote.storage.enable", BOOLEAN, False, MEDIUM, CLUSTER_WIDE, None,
             "Whether the topic uses tiered storage."),
    TopicKey("retention.bytes", LONG, -1, MEDIUM, CLUSTER_WIDE, None,
             "Bytes of a partition above which old segments are "
             "deleted; -1 is no limit.", synonyms=("log.retention.bytes",)),
    TopicKey("retention.ms", LONG, 604800000, MEDIUM, CLUSTER_WIDE, at_least(-1),
             "Milliseconds "
             "that a "
             "segment is "
             "kept; -1 is "
             "for ever.", synonyms=("log.retention.ms", "log.retention.minutes", "log.retention.hours")),
    TopicKey("segment.bytes", INT, 1073741824, MEDIUM, CLUSTER_WIDE, at_least(14),
             "Bytes at which a segment is closed and the next one begun.", synonyms=("log.segment.bytes",)),
    TopicKey("segment.index.bytes", INT, 10485760, MEDIUM, CLUSTER_WIDE, at_least(4),
             "Most bytes of a segment's index.", synonyms=("log.index.size.max.bytes",)),
    TopicKey("segment.jitter.ms", LONG, 0, MEDIUM, CLUSTER_WIDE, at_least(0),
             "Most milliseconds by which closing "
             "a segment is randomly brought "
             "forward.", synonyms=("log.roll.jitter.ms", "log.roll.jitter.hours")),
    TopicKey("segment.ms", LONG, 604800000, MEDIUM, CLUSTER_WIDE, at_least(1),
             "Milliseconds after which a segment is closed "
             "even if it is not full.", synonyms=("log.roll.ms", "log.roll.hours")),
    TopicKey("unclean.leader.election.enable", BOOLEAN, False, MEDIUM, CLUSTER_WIDE, None,
             "Whether a replica out of sync may become "
             "leader when no other is left, losing records.", synonyms=("unclean.leader.election.enable",)),
)
# fmt: on
