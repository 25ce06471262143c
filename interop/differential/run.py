"""A whole run: both servers, the versions they share, every scenario in its order."""

from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager

from interop.differential.frames import request_frame
from interop.differential.pair import Pair, Side, Tally
from interop.differential.refs import NotCaptured
from interop.differential.scenarios import SCENARIOS
from interop.differential.scenarios.world import World
from interop.differential.wire import Connection, Replied
from interop.support.servers import ApacheKafkaServer, PybrokerServer
from pybroker.protocol.codec import decode_exactly
from pybroker.protocol.messages import ApiVersionsRequest, ApiVersionsResponse

SETTINGS = {
    "broker.id": "0",
    "num.partitions": "1",
    "default.replication.factor": "1",
    # What Apache Kafka 3.9 serves with ZooKeeper; pybroker serves the consumer protocol too.
    "group.coordinator.rebalance.protocols": "classic",
    # Its moment would be a matter of chance; the clients' tests prove it.
    "auto.create.topics.enable": "false",
    # Records bear times of long ago.
    "log.retention.ms": "-1",
    "offsets.topic.num.partitions": "3",
    "offsets.topic.replication.factor": "1",
    "transaction.state.log.num.partitions": "3",
    "transaction.state.log.replication.factor": "1",
    "transaction.state.log.min.isr": "1",
    "group.initial.rebalance.delay.ms": "0",
    # Sessions that end during a run.
    "group.min.session.timeout.ms": "500",
    "group.max.size": "4",
}
"""What both are started with."""


@contextmanager
def both_servers() -> Iterator[tuple[ApacheKafkaServer, PybrokerServer]]:
    """Apache Kafka and pybroker, running."""
    apache, pybroker = ApacheKafkaServer(SETTINGS), PybrokerServer(SETTINGS)
    with ExitStack() as stack:
        for server in (apache, pybroker):
            stack.callback(server.stop)
            server.start()
        yield apache, pybroker


def compare(
    apache: ApacheKafkaServer, pybroker: PybrokerServer, keys: Collection[int] | None, *, quick: bool
) -> Tally:
    """Run the scenarios of the APIs with these keys (all when None)."""
    sides = Side("apache", apache.port), Side("pybroker", pybroker.port)
    served = [_served(side.port) for side in sides]
    shared = {
        key: range(max(versions[0], other[0]), min(versions[1], other[1]) + 1)
        for key, versions in served[0].items()
        if (other := served[1].get(key)) is not None
    }
    pair = Pair(*sides, versions=shared)
    world = World(pair, quick=quick)
    world.prepare()
    for name, needs, scenario in SCENARIOS:
        if needs <= shared.keys() and (keys is None or needs & set(keys)):
            pair.scenario = name
            try:
                scenario(world)
            except NotCaptured as error:
                pair.abandoned(str(error))
            except KeyboardInterrupt:
                break  # what was found so far is reported
    return pair.tally


def _served(port: int) -> dict[int, tuple[int, int]]:
    """First and last version of each API that a server names."""
    connection = Connection(port, 10.0)
    connection.send(request_frame(ApiVersionsRequest(), 0, None, None))
    outcome = connection.receive()
    connection.close()
    assert isinstance(outcome, Replied), f"no answer to ApiVersions: {outcome}"
    reply = decode_exactly(ApiVersionsResponse, 0, outcome.frame[4:])
    return {api.api_key: (api.min_version, api.max_version) for api in reply.api_keys}
