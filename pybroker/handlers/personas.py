"""Personas: the broker answers as one of an older Kafka, or with versions of its own choice.

A persona limits what ApiVersions tells and what clients may send. What the brokers ask of each other goes on
in the versions that they know: like Kafka's own brokers they ask without looking at ApiVersions.
"""

from collections.abc import Iterable, Mapping

from msgspec import field
from msgspec.structs import replace

from pybroker.handlers.routes import Route
from pybroker.model.errors import StartupError
from pybroker.model.personas import PERSONAS
from pybroker.model.values import Value
from pybroker.protocol.apis import api_by_key

Versions = tuple[int, int]
"""First and last version of an API, both inclusive."""

# The versions of each Kafka, in the order of PERSONAS: what ApiKeys of its kafka-clients (0.11.0.3, 1.1.1,
# 2.8.2, 3.9.1, 4.1.0) says of a broker, with ZooKeeper up to 3.9 and without since. A dash: no such API.
_TABLE = """
Produce                         0-3   0-5   0-9   0-11  3-13
Fetch                           0-5   0-7   0-12  0-17  4-18
ListOffsets                     0-2   0-2   0-6   0-9   1-10
Metadata                        0-4   0-5   0-11  0-12  0-13
LeaderAndIsr                    0-0   0-1   0-5   0-7   -
StopReplica                     0-0   0-0   0-3   0-4   -
UpdateMetadata                  0-3   0-4   0-7   0-8   -
ControlledShutdown              1-1   0-1   0-3   0-3   -
OffsetCommit                    0-3   0-3   0-8   0-9   2-9
OffsetFetch                     0-3   0-3   0-7   0-9   1-9
FindCoordinator                 0-1   0-1   0-3   0-6   0-6
JoinGroup                       0-2   0-2   0-7   0-9   0-9
Heartbeat                       0-1   0-1   0-4   0-4   0-4
LeaveGroup                      0-1   0-1   0-4   0-5   0-5
SyncGroup                       0-1   0-1   0-5   0-5   0-5
DescribeGroups                  0-1   0-1   0-5   0-5   0-6
ListGroups                      0-1   0-1   0-4   0-5   0-5
SaslHandshake                   0-0   0-1   0-1   0-1   0-1
ApiVersions                     0-1   0-1   0-3   0-4   0-4
CreateTopics                    0-2   0-2   0-7   0-7   2-7
DeleteTopics                    0-1   0-1   0-6   0-6   1-6
DeleteRecords                   0-0   0-0   0-2   0-2   0-2
InitProducerId                  0-0   0-0   0-4   0-5   0-5
OffsetForLeaderEpoch            0-0   0-0   0-4   0-4   2-4
AddPartitionsToTxn              0-0   0-0   0-3   0-5   0-5
AddOffsetsToTxn                 0-0   0-0   0-3   0-4   0-4
EndTxn                          0-0   0-0   0-3   0-4   0-5
WriteTxnMarkers                 0-0   0-0   0-1   0-1   1-1
TxnOffsetCommit                 0-0   0-0   0-3   0-4   0-5
DescribeAcls                    0-0   0-0   0-2   0-3   1-3
CreateAcls                      0-0   0-0   0-2   0-3   1-3
DeleteAcls                      0-0   0-0   0-2   0-3   1-3
DescribeConfigs                 0-0   0-1   0-4   0-4   1-4
AlterConfigs                    0-0   0-0   0-2   0-2   0-2
AlterReplicaLogDirs             -     0-0   0-2   0-2   1-2
DescribeLogDirs                 -     0-0   0-2   0-4   1-4
SaslAuthenticate                -     0-0   0-2   0-2   0-2
CreatePartitions                -     0-0   0-3   0-3   0-3
CreateDelegationToken           -     0-0   0-2   0-3   1-3
RenewDelegationToken            -     0-0   0-2   0-2   1-2
ExpireDelegationToken           -     0-0   0-2   0-2   1-2
DescribeDelegationToken         -     0-0   0-2   0-3   1-3
DeleteGroups                    -     0-0   0-2   0-2   0-2
ElectLeaders                    -     -     0-2   0-2   0-2
IncrementalAlterConfigs         -     -     0-1   0-1   0-1
AlterPartitionReassignments     -     -     0-0   0-0   0-1
ListPartitionReassignments      -     -     0-0   0-0   0-0
OffsetDelete                    -     -     0-0   0-0   0-0
DescribeClientQuotas            -     -     0-1   0-1   0-1
AlterClientQuotas               -     -     0-1   0-1   0-1
DescribeUserScramCredentials    -     -     0-0   0-0   0-0
AlterUserScramCredentials       -     -     0-0   0-0   0-0
DescribeQuorum                  -     -     -     -     0-2
AlterPartition                  -     -     0-0   0-3   -
UpdateFeatures                  -     -     0-0   0-1   0-2
Envelope                        -     -     -     0-0   -
DescribeCluster                 -     -     0-0   0-1   0-2
DescribeProducers               -     -     0-0   0-0   0-0
UnregisterBroker                -     -     -     -     0-0
DescribeTransactions            -     -     -     0-0   0-0
ListTransactions                -     -     -     0-1   0-2
AllocateProducerIds             -     -     -     0-0   -
ConsumerGroupHeartbeat          -     -     -     0-0   0-1
ConsumerGroupDescribe           -     -     -     0-0   0-1
GetTelemetrySubscriptions       -     -     -     -     0-0
PushTelemetry                   -     -     -     -     0-0
ListConfigResources             -     -     -     -     0-1
DescribeTopicPartitions         -     -     -     -     0-0
ShareGroupHeartbeat             -     -     -     -     1-1
ShareGroupDescribe              -     -     -     -     1-1
ShareFetch                      -     -     -     -     1-1
ShareAcknowledge                -     -     -     -     1-1
InitializeShareGroupState       -     -     -     -     0-0
ReadShareGroupState             -     -     -     -     0-0
WriteShareGroupState            -     -     -     -     0-0
DeleteShareGroupState           -     -     -     -     0-0
ReadShareGroupStateSummary      -     -     -     -     0-0
DescribeShareGroupOffsets       -     -     -     -     0-0
AlterShareGroupOffsets          -     -     -     -     0-0
DeleteShareGroupOffsets         -     -     -     -     0-0
"""

_BETWEEN_BROKERS = frozenset(
    {
        "Fetch",
        "ListOffsets",
        "LeaderAndIsr",
        "StopReplica",
        "UpdateMetadata",
        "ControlledShutdown",
        "OffsetForLeaderEpoch",
        "AddPartitionsToTxn",
        "WriteTxnMarkers",
        "AlterPartition",
        "AllocateProducerIds",
    }
)
"""What brokers ask of each other."""


def _versions_of(persona: str) -> dict[int, Versions]:
    column = 1 + PERSONAS.index(persona)
    keys = {api.name: key for key, api in api_by_key.items()}
    found = {}
    for row in _TABLE.strip().splitlines():
        cells = row.split()
        if cells[column] != "-":
            first, last = cells[column].split("-")
            found[keys[cells[0]]] = (int(first), int(last))
    return found


class Persona(Value):
    """The limits of what clients see.

    Attributes:
        versions: by API key; an API that is not in it is not there. None: as this broker is.
        last: the highest version of single APIs, also where ``versions`` has more.
    """

    versions: Mapping[int, Versions] | None = None
    last: Mapping[int, int] = field(default_factory=dict)

    def told(self, routes: Iterable[Route]) -> tuple[Route, ...]:
        """What ApiVersions lists."""
        if self.versions is None and not self.last:
            return tuple(routes)
        limited = (self._limited(route) for route in routes)
        return tuple(route for route in limited if route is not None)

    def served(self, routes: Iterable[Route]) -> tuple[Route, ...]:
        """What requests are answered: what is told, and what other brokers ask."""
        routes = tuple(routes)
        told = {route.key: route for route in self.told(routes)}
        served = (
            route if api_by_key[route.key].name in _BETWEEN_BROKERS else told.get(route.key)
            for route in routes
        )
        return tuple(route for route in served if route is not None)

    def _limited(self, route: Route) -> Route | None:
        first, last = route.min_version, route.max_version
        if self.versions is not None:
            known = self.versions.get(route.key)
            if known is None:
                return None
            first, last = max(first, known[0]), min(last, known[1])
        last = min(last, self.last.get(route.key, last))
        return replace(route, min_version=first, max_version=last) if first <= last else None


def persona_of(name: str | None, api_versions: Iterable[str]) -> Persona:
    """The persona of ``pybroker.persona`` and ``pybroker.api.versions``.

    Args:
        name: one of PERSONAS, or None for the broker as it is.
        api_versions: ``API=last version`` for single APIs.

    Raises:
        StartupError: an API or a version is not there; the message says what is allowed.
    """
    last = dict(_chosen(each) for each in api_versions)
    return Persona(_versions_of(name) if name else None, last)


def _chosen(text: str) -> tuple[int, int]:
    name, _, version = text.partition("=")
    by_name = {api.name.lower(): api for api in api_by_key.values()}
    api = by_name.get(name.strip().lower())
    if api is None:
        raise _refused(text, f"there is no API {name!r}{_close(name)}; write API=version, as Produce=9")
    first, last = api.versions
    if not (version.strip().isdecimal() and first <= int(version) <= last):
        raise _refused(text, f"the last version of {api.name} must be a number from {first} to {last}")
    return api.key, int(version)


def _refused(text: str, reason: str) -> StartupError:
    return StartupError(f"pybroker.api.versions={text}: {reason}")


def _close(name: str) -> str:
    import difflib

    close = difflib.get_close_matches(name, [api.name for api in api_by_key.values()], n=3, cutoff=0.5)
    return f" (did you mean {' or '.join(close)}?)" if close else ""
