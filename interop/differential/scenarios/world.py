"""What scenarios share: topics on both servers, and the way in which every API is exercised."""

from collections.abc import Callable, Mapping, Sequence

from attrs import define

from interop.differential.frames import RIGHT_FRAMES, WRONG_FRAMES
from interop.differential.mutations import mutations, sample
from interop.differential.pair import Pair
from interop.differential.refs import Ref
from interop.support.waiting import wait_until
from pybroker.protocol.apis import api_by_key
from pybroker.protocol.message_classes import Message
from pybroker.protocol.messages import CreateTopicsRequest, FindCoordinatorRequest, MetadataRequest

Labelled = tuple[str, Message]
MUTATIONS_WHOLE = 60
MUTATIONS_QUICK = 12
CREATE_TIMEOUT_MS = 30_000
COORDINATOR_VERSION = 2
TOPIC_ID_VERSION = 12


@define
class World:
    """The pair, and how much of everything is asked."""

    pair: Pair
    quick: bool

    def versions(self, key: int) -> Sequence[int]:
        """The versions of an API to go through: all, or first, middle and last in a quick run."""
        shared = self.pair.versions[key]
        if not self.quick:
            return shared
        return sorted({shared[0], shared[len(shared) // 2], shared[-1]})

    def latest(self, key: int) -> int:
        return self.pair.versions[key][-1]

    def prepare(self) -> None:
        """Both have their offsets topic, when both have groups, before anything is compared."""
        if 10 in self.pair.versions and 11 in self.pair.versions:
            wait_until(self._coordinators_are_found, "the group coordinators", 60)

    def _coordinators_are_found(self) -> bool:
        request = FindCoordinatorRequest(key="warm-up", key_type=0)
        before = len(self.pair.tally.findings)
        replies = self.pair.ask("warm-up", request, COORDINATOR_VERSION)
        del self.pair.tally.findings[before:]
        return all(reply is not None and reply.error_code == 0 for reply in replies)

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

    def topic_id(self, name: str) -> Ref:
        return Ref(f"id of {name}")

    def exercise(
        self,
        key: int,
        make: Callable[[int], Sequence[Labelled]],
        *,
        wrong: Callable[[int], Sequence[Labelled]] = lambda _version: (),
        before: Callable[[], None] = lambda: None,
        limit: int | None = None,
        mutate: int = 1,
    ) -> None:
        """Ask an API in every version: right requests, wrong ones by hand, mutations, broken frames.

        ``before`` restores what a request uses up; ``mutate`` is how many of the right requests are mutated.
        """
        for version in self.versions(key):
            right = make(version)
            for label, message in right:
                before()
                self.pair.ask(label, message, version)
            for label, message in wrong(version):
                before()
                self.pair.ask(label, message, version, wrong=True)
            for label, message in right[:mutate]:
                self._mutate(key, version, label, message, before, limit)
            before()
            self._break_frames(*right[0], version, before)

    def _mutate(
        self,
        key: int,
        version: int,
        label: str,
        message: Message,
        before: Callable[[], None],
        limit: int | None,
    ) -> None:
        count = MUTATIONS_QUICK if self.quick else limit or MUTATIONS_WHOLE
        seed = f"{api_by_key[key].name} v{version} {label}"
        for mutation in sample(mutations(message, version), count, seed):
            before()
            self.pair.ask(f"{label}: {mutation.label}", mutation.message, version, wrong=True)

    def _break_frames(self, label: str, message: Message, version: int, before: Callable[[], None]) -> None:
        for name, twist in WRONG_FRAMES.items():
            before()
            self.pair.ask(f"{label}: {name}", message, version, wrong=True, twist=twist)
        for name, twist in RIGHT_FRAMES.items():
            before()
            self.pair.ask(f"{label}: {name}", message, version, twist=twist)
        before()
        self.pair.ask(f"{label}: null client id", message, version, client_id=None)
        before()
        self.pair.ask(f"{label}: empty client id", message, version, client_id="")
