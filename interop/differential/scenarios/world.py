"""What scenarios share: topics on both servers, and the way in which every API is exercised."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from msgspec import Struct

from interop.differential.frames import RIGHT_FRAMES, WRONG_FRAMES, Twist
from interop.differential.mutations import mutations, sample
from interop.differential.pair import Pair, Tally
from interop.differential.refs import Ref, numbered
from interop.differential.wire import CLIENT_ID
from interop.support.waiting import wait_until
from pybroker.protocol.apis import api_by_key
from pybroker.protocol.message_classes import Message
from pybroker.protocol.messages import (
    CreateTopicsRequest,
    DeleteTopicsRequest,
    FindCoordinatorRequest,
    HeartbeatRequest,
    InitProducerIdRequest,
    MetadataRequest,
)

Labelled = tuple[str, Message]
MUTATIONS_WHOLE = 60
MUTATIONS_QUICK = 12
CREATE_TIMEOUT_MS = 30_000
COORDINATOR_VERSION = 2
PRODUCER_ID_VERSION = 1
REBALANCE_IN_PROGRESS = 27
TOPIC_ID_VERSION = 12
DELETE_VERSION = 3


class World(Struct):
    """The pair, and how much of everything is asked."""

    pair: Pair
    quick: bool
    _number: int = 0

    def versions(self, key: int) -> Sequence[int]:
        """The versions of an API to go through: all, or first, middle and last in a quick run."""
        shared = self.pair.versions[key]
        if not self.quick:
            return shared
        return sorted({shared[0], shared[len(shared) // 2], shared[-1]})

    def latest(self, key: int) -> int:
        return self.pair.versions[key][-1]

    def prepare(self) -> None:
        """Both have their first block of producer ids and, if both have groups, their offsets topic."""
        wait_until(self._producer_ids_are_there, "the first producer ids", 60)
        if 10 in self.pair.versions and 11 in self.pair.versions:
            wait_until(self._coordinators_are_found, "the group coordinators", 60)

    def _producer_ids_are_there(self) -> bool:
        request = InitProducerIdRequest(transactional_id=None, transaction_timeout_ms=1)
        return self._both_answer(request, PRODUCER_ID_VERSION)

    def _coordinators_are_found(self) -> bool:
        return self._both_answer(FindCoordinatorRequest(key="warm-up", key_type=0), COORDINATOR_VERSION)

    def _both_answer(self, request: Message, version: int, code: int = 0) -> bool:
        """Whether both answer with a code."""
        return self.quietly(request, version, lambda reply: bool(reply.error_code == code))

    def quietly(self, request: Message, version: int, done: Callable[[Any], bool]) -> bool:
        """Whether both are so far; asked without comparing, as it is a matter of time."""
        tally, self.pair.tally = self.pair.tally, Tally()
        replies = self.pair.ask("waiting", request, version)
        self.pair.tally = tally
        return all(reply is not None and done(reply) for reply in replies)

    def create_topic(self, name: str, partitions: int = 1, configs: Mapping[str, str] | None = None) -> None:
        """A topic on both; its ids are captured as ``id of <name>``."""
        request = CreateTopicsRequest(
            topics=[
                CreateTopicsRequest.CreatableTopic(
                    name=name,
                    num_partitions=partitions,
                    replication_factor=1,
                    configs=[
                        CreateTopicsRequest.CreatableTopicConfig(name=key, value=value)
                        for key, value in (configs or {}).items()
                    ],
                )
            ],
            timeout_ms=CREATE_TIMEOUT_MS,
        )
        self.pair.ask(f"create {name}", request, self.latest(19))
        self.pair.ask(
            f"id of {name}",
            MetadataRequest(
                topics=[MetadataRequest.MetadataRequestTopic(name=name)], allow_auto_topic_creation=False
            ),
            TOPIC_ID_VERSION,
            capture={f"id of {name}": lambda reply: reply.topics[0].topic_id},
        )

    def delete_topic(self, name: str) -> None:
        """Removes a topic whose log differs for a listed reason, so that later requests do not see it."""
        request = DeleteTopicsRequest(topic_names=[name], timeout_ms=CREATE_TIMEOUT_MS)
        self.pair.ask(f"delete {name}", request, DELETE_VERSION)

    def producer_id(self, name: str) -> Ref:
        """A new idempotent producer on both; its id is captured under the name."""
        request = InitProducerIdRequest(transactional_id=None, transaction_timeout_ms=60_000)
        self.pair.ask("init", request, PRODUCER_ID_VERSION, capture={name: lambda reply: reply.producer_id})
        return Ref(name)

    def until_rebalancing(self, heartbeat: HeartbeatRequest, version: int) -> None:
        """Wait until both tell a member to join again; how many heartbeats that takes is chance."""
        wait_until(lambda: self._both_answer(heartbeat, version, REBALANCE_IN_PROGRESS), "the rebalance", 10)

    def topic_id(self, name: str) -> Ref:
        return Ref(f"id of {name}")

    def exercise(
        self,
        key: int,
        make: Callable[[int], Sequence[Labelled]],
        *,
        wrong: Callable[[int], Sequence[Labelled]] = lambda _version: (),
        limit: int | None = None,
        mutate: int = 1,
    ) -> None:
        """Ask an API in every version: right requests, wrong ones by hand, mutations, broken frames.

        ``{n}`` in a string of a request is a new number each time; ``mutate`` is how many of the right
        requests are mutated, ``limit`` how many mutations of each are taken in a whole run.
        """
        for version in self.versions(key):
            right = make(version)
            for label, message in right:
                self._ask(label, message, version)
            for label, message in wrong(version):
                self._ask(label, message, version, wrong=True)
            for label, message in right[:mutate]:
                self._mutate(key, version, label, message, limit)
            self._break_frames(*right[0], version)

    def _mutate(self, key: int, version: int, label: str, message: Message, limit: int | None) -> None:
        count = MUTATIONS_QUICK if self.quick else limit or MUTATIONS_WHOLE
        seed = f"{api_by_key[key].name} v{version} {label}"
        for mutation in sample(mutations(message, version), count, seed):
            self._ask(f"{label}: {mutation.label}", mutation.message, version, wrong=True)

    def _break_frames(self, label: str, message: Message, version: int) -> None:
        for name, twist in WRONG_FRAMES.items():
            self._ask(f"{label}: {name}", message, version, wrong=True, twist=twist)
        for name, twist in RIGHT_FRAMES.items():
            self._ask(f"{label}: {name}", message, version, twist=twist)
        self._ask(f"{label}: null client id", message, version, client_id=None)
        self._ask(f"{label}: empty client id", message, version, client_id="")

    def _ask(
        self,
        label: str,
        message: Message,
        version: int,
        *,
        wrong: bool = False,
        twist: Twist | None = None,
        client_id: str | None = CLIENT_ID,
    ) -> None:
        self._number += 1
        self.pair.ask(
            label, numbered(message, self._number), version, wrong=wrong, twist=twist, client_id=client_id
        )
