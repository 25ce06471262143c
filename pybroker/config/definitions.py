"""The table of configuration keys, put together: every broker and topic key of Kafka 3.9, and pybroker's own.

The rows are in :mod:`pybroker.config.tables`, one module a subject. Loading, the typed views and the
DescribeConfigs and AlterConfigs APIs are all derived from them; nothing else in the project knows a default.
"""

import re
from collections.abc import Mapping
from typing import Final

from pybroker.config.keys import ConfigKey, TopicKey
from pybroker.config.tables.coordination import coordination_keys
from pybroker.config.tables.group import group_keys as _group_rows
from pybroker.config.tables.kraft import kraft_keys
from pybroker.config.tables.log import log_keys
from pybroker.config.tables.own import authorizer_keys, own_keys, persona_keys, testing_keys
from pybroker.config.tables.remote import remote_keys
from pybroker.config.tables.replication import replication_keys
from pybroker.config.tables.security import security_keys
from pybroker.config.tables.server import server_keys, server_quota_keys
from pybroker.config.tables.topic import topic_keys as _topic_rows
from pybroker.config.tables.zookeeper import zookeeper_keys

_SUBJECTS: Final[tuple[tuple[ConfigKey, ...], ...]] = (
    server_keys,
    log_keys,
    replication_keys,
    coordination_keys,
    security_keys,
    zookeeper_keys,
    kraft_keys,
    remote_keys,
    own_keys,
    persona_keys,
    testing_keys,
    authorizer_keys,
)

broker_keys: Final[Mapping[str, ConfigKey]] = {row.name: row for rows in _SUBJECTS for row in rows}
"""Every key of ``server.properties``."""

broker_quota_keys: Final[Mapping[str, ConfigKey]] = {row.name: row for row in server_quota_keys}
"""Keys of a broker that are only ever set through the API."""

topic_keys: Final[Mapping[str, TopicKey]] = {row.name: row for row in _topic_rows}

group_keys: Final[Mapping[str, TopicKey]] = {row.name: row for row in _group_rows}
"""Keys of a single group."""

kraft_key_names: Final = frozenset(row.name for row in kraft_keys)

MILLISECONDS_IN: Final[Mapping[str, int]] = {"hours": 3_600_000, "minutes": 60_000}

_UNIT_VARIANTS: Final = (
    ("log.roll.ms", "log.roll.hours"),
    ("log.roll.jitter.ms", "log.roll.jitter.hours"),
    ("log.retention.ms", "log.retention.minutes", "log.retention.hours"),
)
_SYNONYMS: Final[Mapping[str, tuple[str, ...]]] = {
    # The flush interval falls back to the scheduler's, but the scheduler's stands for itself alone.
    "log.flush.interval.ms": ("log.flush.interval.ms", "log.flush.scheduler.interval.ms"),
    **{name: names for names in _UNIT_VARIANTS for name in names},
}

LISTENER_PREFIX: Final = re.compile(r"listener\.name\.[^.]*\.(.*)", re.DOTALL)
_MECHANISM_KEYS: Final = (
    "sasl.jaas.config",
    "sasl.login.callback.handler.class",
    "sasl.login.class",
    "sasl.server.callback.handler.class",
    "connections.max.reauth.ms",
)


def synonyms_of_broker_key(name: str, *, match_listener: bool = True) -> tuple[str, ...]:
    """The keys that mean the same as ``name``, strongest first
    (``DynamicBrokerConfig.brokerConfigSynonyms``).

    A key of one listener (``listener.name.<listener>.[<mechanism>.]<key>``) falls back to the plain key,
    unless ``match_listener`` is false.
    """
    if name in _SYNONYMS:
        return _SYNONYMS[name]
    listener_key = LISTENER_PREFIX.fullmatch(name) if match_listener else None
    if listener_key is None:
        return (name,)
    base = listener_key.group(1)
    return (name, next((key for key in _MECHANISM_KEYS if base.endswith(key)), base))


def find_broker_key(name: str) -> ConfigKey | None:
    """The row that defines ``name``; for a key of one listener the row of the plain key. ``None`` if
    unknown.
    """
    for candidate in (name, *synonyms_of_broker_key(name)):
        row = broker_keys.get(candidate) or broker_quota_keys.get(candidate)
        if row is not None:
            return row
    return None
