"""The Kafka modules of Testcontainers start the image of this checkout in place of the one they know.

The image only bears the name that the module expects; the module is unchanged and told nothing. A client of
the same language works with what it started.
"""

from collections.abc import Iterator

import pytest

from interop.containers.starters import LANGUAGES, MODULES, Module, StartedModule
from interop.support.client import GroupClient, GroupSettings, ProducerSettings
from interop.support.docker import Docker
from interop.support.group_journeys import (
    PARTITIONS,
    Members,
    check_partitions,
    consume,
    new_group,
    new_group_topic,
    settle,
)
from interop.support.journeys import check_topic, new_topic, produce
from interop.support.workload import make_messages

pytestmark = pytest.mark.whole


@pytest.fixture(scope="module", params=MODULES, ids=str)
def module(request: pytest.FixtureRequest) -> Module:
    found: Module = request.param
    return found


@pytest.fixture(scope="module")
def named(docker: Docker, image: str, module: Module) -> Iterator[Module]:
    """The module, while the engine has our image by the name that the module asks for."""
    assert not docker.has_image(module.image), f"{module.image} is another image here; use another engine"
    docker("tag", image, module.image)
    try:
        yield module
    finally:
        docker("rmi", module.image)


@pytest.fixture(scope="module")
def started(docker: Docker, named: Module) -> Iterator[StartedModule]:
    before = set(docker("ps", "-aq").split())
    container = StartedModule(named, docker.environment)
    try:
        yield container
    finally:
        container.close()
    left = set(docker("ps", "-aq").split()) - before
    assert not left, f"the module has left containers: {left}"


@pytest.fixture(scope="module")
def client(started: StartedModule, named: Module) -> Iterator[GroupClient]:
    client = LANGUAGES[named.language].client(started.bootstrap)
    yield client
    client.close()


def test_produce_and_read(client: GroupClient, scale: int) -> None:
    """What was produced is read from the earliest offset, each count and value checked."""
    topic = new_topic(client)
    messages = make_messages(scale, client.traits, seed=90)
    produce(client, topic, messages, ProducerSettings(codec="gzip"))
    check_topic(client, topic, messages)


def test_group(client: GroupClient, scale: int) -> None:
    """Two members share a topic and consume each record once."""
    topic = new_group_topic(client, "container")
    settings = GroupSettings(new_group(), (topic,), client.strategies[0])
    messages = make_messages(scale, client.traits, seed=91, partitions=PARTITIONS)
    with Members(client) as members:
        pair = [members.join(settings) for _ in range(2)]
        settle(pair, topic)
        produce(client, topic, messages, ProducerSettings())
        check_partitions(messages, consume(pair, len(messages)))
