"""Copies partitions from one leader, over one connection.

Source: ``AbstractFetcherThread`` of Kafka 3.9. Waiting here is I/O time.
"""

from __future__ import annotations

import heapq
import logging
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final

import trio

from pybroker.instruments.pace import Pace
from pybroker.model.errors import ErrorCode
from pybroker.model.ids import ZERO_TOPIC_ID, BrokerId, TopicId, TopicPartition
from pybroker.protocol import messages
from pybroker.replication.disk import flush
from pybroker.replication.following import Following, Progress
from pybroker.replication.leader_session import Asked, LeaderSession, SessionRequest
from pybroker.replication.peer import Peer, PeerSettings, PeerUnreachable
from pybroker.storage.errors import StorageError

if TYPE_CHECKING:  # app/warming.py says what is late
    from pybroker.replication.fetchers import FetcherPort
    from pybroker.replication.partition import Partition

logger = logging.getLogger(__name__)

FETCH_VERSION: Final = 17
FETCH_VERSION_WITHOUT_TOPIC_IDS: Final = 12
LIST_OFFSETS_VERSION: Final = 9
LATEST, EARLIEST = -1, -2
IDLE_S: Final = 10.0
"""A fetcher that has nothing to copy for so long is gone."""


_SESSION_IS_GONE: Final = (
    ErrorCode.FETCH_SESSION_ID_NOT_FOUND,
    ErrorCode.INVALID_FETCH_SESSION_EPOCH,
    ErrorCode.FETCH_SESSION_TOPIC_ID_ERROR,
)


class Fetcher:
    """Copies partitions from one leader."""

    def __init__(self, port: FetcherPort, leader: BrokerId, number: int) -> None:
        self.key = (leader, number)
        self._port = port
        self._leader = leader
        self._followings: dict[TopicPartition, Following] = {}
        self._names: dict[TopicId, str] = {}
        self._changed: set[TopicPartition] = set()
        self._delayed: list[tuple[float, TopicPartition]] = []
        self._has_news = trio.Event()
        self._session = LeaderSession()
        self._peer: Peer | None = None
        self._without_topic_id: set[TopicPartition] = set()

    def add(self, partition: Partition) -> None:
        tp = partition.tp
        try:
            self._followings[tp] = Following.begin(partition)
        except StorageError as error:
            logger.error("%s cannot follow broker %d: %s", tp, self._leader, error)
            return
        if partition.topic_id is None:
            self._without_topic_id.add(tp)
        else:
            self._without_topic_id.discard(tp)
            self._names[partition.topic_id] = tp.topic
        self._note_change(tp)

    def remove(self, tp: TopicPartition) -> None:
        self._followings.pop(tp, None)
        self._without_topic_id.discard(tp)
        self._note_change(tp)

    def _note_change(self, tp: TopicPartition) -> None:
        self._changed.add(tp)
        self._has_news.set()

    # -- the task --------------------------------------------------------------------------------------

    async def run(self) -> bool:
        """Copies until there has been nothing to copy for a while. False after a failure that is a bug: the
        other partitions need copying all the same."""
        try:
            while self._followings or not await self._is_idle():
                await self._round()
        except Exception:  # logged, and tried again
            logger.exception("copying from broker %d failed", self._leader)
            self._session.broke()
            return False
        finally:
            if self._peer is not None:
                await self._peer.aclose()
        return True

    async def _is_idle(self) -> bool:
        self._has_news = trio.Event()
        with trio.move_on_after(IDLE_S):
            await self._has_news.wait()
        return not self._followings

    async def _round(self) -> None:
        """One fetch, if there is somebody to ask for anything."""
        now_s = trio.current_time()
        self._end_delays(now_s)
        request = self._next_request()
        if not self._session.asked:
            await self._until_news()
            return
        try:
            response = await self._fetch(request)
        except PeerUnreachable as error:
            self._session.broke()
            logger.info("broker %d cannot be fetched from: %s", self._leader, error)
            await trio.sleep(self._backoff_s)
            return
        code = ErrorCode(response.error_code)
        if self._session.answered(code, response.session_id):
            await self._take(response)
        elif code not in _SESSION_IS_GONE:
            logger.warning("broker %d refuses a fetch: %s", self._leader, code.name)
            await trio.sleep(self._backoff_s)

    def _end_delays(self, now_s: float) -> None:
        while self._delayed and self._delayed[0][0] <= now_s:
            self._note_change(heapq.heappop(self._delayed)[1])

    async def _until_news(self) -> None:
        self._has_news = trio.Event()
        wake_at_s = self._delayed[0][0] if self._delayed else trio.current_time() + IDLE_S
        with trio.move_on_at(wake_at_s):
            await self._has_news.wait()

    @property
    def _backoff_s(self) -> float:
        return self._port.config().replica_fetch_backoff_ms / 1000

    # -- asking ----------------------------------------------------------------------------------------

    def _next_request(self) -> SessionRequest:
        """Costs time in proportion to what has changed, but for the first request of a session."""
        by_id = not self._without_topic_id
        changed, self._changed = self._changed, set()
        session = self._session
        if session.is_new or session.uses_topic_ids != by_id:
            topics = {following.partition.topic_id: tp.topic for tp, following in self._followings.items()}
            self._names = {topic_id: name for topic_id, name in topics.items() if topic_id is not None}
            return session.begin(self._wanted(self._followings), uses_topic_ids=by_id)
        wanted = self._wanted(changed)
        return session.go_on(wanted, (tp for tp in changed if tp not in wanted))

    def _wanted(self, among: Iterable[TopicPartition]) -> dict[TopicPartition, Asked]:
        now_s = trio.current_time()
        wanted = {}
        for tp in among:
            following = self._followings.get(tp)
            if following is None or following.retry_at_s > now_s:
                continue
            if self._is_held_back(following):
                self._delay(following)
            else:
                wanted[tp] = following.asked()
        return wanted

    def _is_held_back(self, following: Following) -> bool:
        return not following.is_in_sync and following.is_throttled and self._port.throttle.is_exceeded

    def _delay(self, following: Following) -> None:
        following.retry_at_s = trio.current_time() + self._backoff_s
        heapq.heappush(self._delayed, (following.retry_at_s, following.partition.tp))

    async def _fetch(self, request: SessionRequest) -> messages.FetchResponse:
        config = self._port.config()
        by_id = self._session.uses_topic_ids
        message = messages.FetchRequest(
            max_wait_ms=config.replica_fetch_wait_max_ms,
            min_bytes=config.replica_fetch_min_bytes,
            max_bytes=config.replica_fetch_response_max_bytes,
            session_id=request.session_id,
            session_epoch=request.session_epoch,
            topics=_topics(request.asked, config.replica_fetch_max_bytes, by_id=by_id),
            forgotten_topics_data=_forgotten(request.forgotten, by_id=by_id),
        )
        if by_id:
            message.replica_state = messages.FetchRequest.ReplicaState(
                replica_id=self._port.broker_id, replica_epoch=self._port.broker_epoch()
            )
            version = FETCH_VERSION
        else:
            message.replica_id = self._port.broker_id
            version = FETCH_VERSION_WITHOUT_TOPIC_IDS
        response: messages.FetchResponse = await self._ask(message, version)
        return response

    async def _ask(self, message: messages.FetchRequest | messages.ListOffsetsRequest, version: int) -> Any:
        endpoint = self._port.endpoint_of(self._leader)
        if endpoint is None:
            raise PeerUnreachable(f"broker {self._leader} is not known")
        if self._peer is None or self._peer.endpoint != endpoint:
            if self._peer is not None:
                await self._peer.aclose()
            self._peer = Peer(endpoint, self._peer_settings())
        return await self._peer.ask(message, version)

    def _peer_settings(self) -> PeerSettings:
        config = self._port.config()
        return PeerSettings(
            client_id=f"broker-{self._port.broker_id}-fetcher-{self.key[1]}",
            request_timeout_s=config.replica_socket_timeout_ms / 1000,
            connect_timeout_s=config.socket_connection_setup_timeout_ms / 1000,
            max_backoff_s=config.replica_fetch_backoff_ms / 1000,
        )

    # -- taking over -------------------------------------------------------------------------------------

    async def _take(self, response: messages.FetchResponse) -> None:
        """In slices: others have their turn between the partitions of a large response."""
        pace = Pace()
        out_of_range = []
        by_id = self._session.uses_topic_ids
        for topic in response.responses:
            name = self._names.get(bytes(topic.topic_id), "") if by_id else topic.topic
            for data in topic.partitions:
                following = self._answered(TopicPartition(name, data.partition_index))
                if following is None:
                    continue
                progress = following.take(data)
                if data.records and following.is_throttled:
                    self._port.throttle.record(len(data.records))
                if progress is Progress.GO_ON and following.partition.log.flush_is_due:
                    progress = await _make_durable(following)
                if progress is Progress.OUT_OF_RANGE:
                    out_of_range.append(following)
                else:
                    self._settle(following, progress)
                if pace.is_over:
                    await pace.rest()
        for following in out_of_range:
            await self._find_range(following)

    def _answered(self, tp: TopicPartition) -> Following | None:
        """The partition, if what was asked for it is still what it wants."""
        following = self._followings.get(tp)
        asked = self._session.asked.get(tp)
        if following is None or asked is None or following.is_over:
            return None
        is_current = (
            asked.fetch_offset == following.offset and asked.current_leader_epoch == following.leader_epoch
        )
        return following if is_current else None

    def _settle(self, following: Following, progress: Progress) -> None:
        tp = following.partition.tp
        if self._followings.get(tp) is not following:
            return
        if progress is Progress.FAILED:
            del self._followings[tp]
        elif progress is Progress.RETRY_LATER:
            self._delay(following)
        self._changed.add(tp)

    async def _find_range(self, following: Following) -> None:
        try:
            leader_end = await self._list_offset(following, LATEST)
            leader_start = await self._list_offset(following, EARLIEST)
        except PeerUnreachable as error:
            logger.info("%s: its leader's range is unknown: %s", following.partition.tp, error)
            self._settle(following, Progress.RETRY_LATER)
            return
        if following.is_over:
            return
        if leader_end is None or leader_start is None:
            self._settle(following, Progress.RETRY_LATER)
            return
        try:
            following.adapt(leader_start, leader_end)
        except StorageError as error:
            self._settle(following, following.failed(error))
            return
        self._settle(following, Progress.GO_ON)

    async def _list_offset(self, following: Following, timestamp: int) -> int | None:
        """The leader's first or next offset, None when it does not say."""
        tp = following.partition.tp
        request = messages.ListOffsetsRequest(
            replica_id=self._port.broker_id,
            topics=[
                messages.ListOffsetsRequest.ListOffsetsTopic(
                    name=tp.topic,
                    partitions=[
                        messages.ListOffsetsRequest.ListOffsetsPartition(
                            partition_index=tp.partition,
                            current_leader_epoch=following.leader_epoch,
                            timestamp=timestamp,
                        )
                    ],
                )
            ],
        )
        response: messages.ListOffsetsResponse = await self._ask(request, LIST_OFFSETS_VERSION)
        answer = response.topics[0].partitions[0]
        return answer.offset if answer.error_code == ErrorCode.NONE else None


def _topics(
    asked: Mapping[TopicPartition, Asked], max_bytes: int, *, by_id: bool
) -> list[messages.FetchRequest.FetchTopic]:
    topics: dict[str, messages.FetchRequest.FetchTopic] = {}
    for tp, one in asked.items():
        topic = topics.get(tp.topic)
        if topic is None:
            topic = topics[tp.topic] = messages.FetchRequest.FetchTopic(
                topic="" if by_id else tp.topic, topic_id=one.topic_id if by_id else ZERO_TOPIC_ID
            )
        topic.partitions.append(
            messages.FetchRequest.FetchPartition(
                partition=tp.partition,
                current_leader_epoch=one.current_leader_epoch,
                fetch_offset=one.fetch_offset,
                last_fetched_epoch=one.last_fetched_epoch,
                log_start_offset=one.log_start_offset,
                partition_max_bytes=max_bytes,
            )
        )
    return list(topics.values())


async def _make_durable(following: Following) -> Progress:
    """``flush.messages`` counts on every replica: our next fetch tells the leader that we have them."""
    try:
        await flush(following.partition.log)
    except StorageError as error:
        return following.failed(error)
    return Progress.GO_ON


def _forgotten(
    forgotten: Mapping[TopicPartition, TopicId], *, by_id: bool
) -> list[messages.FetchRequest.ForgottenTopic]:
    topics: dict[tuple[str, TopicId], messages.FetchRequest.ForgottenTopic] = {}
    for tp, topic_id in forgotten.items():
        topic = topics.setdefault(
            (tp.topic, topic_id),
            messages.FetchRequest.ForgottenTopic(
                topic="" if by_id else tp.topic, topic_id=topic_id if by_id else ZERO_TOPIC_ID
            ),
        )
        topic.partitions.append(tp.partition)
    return list(topics.values())
