"""Takes changes of ISRs to the controller, and its answers back to the partitions (KIP-497).

One request is on its way at a time; what comes up meanwhile goes with the next one. Source:
``AlterPartitionManager`` of Kafka 3.9.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Final

import trio

from pybroker.instruments.pace import Pace
from pybroker.model.errors import ErrorCode
from pybroker.model.ids import ZERO_TOPIC_ID, BrokerEpoch, BrokerId, TopicId, TopicPartition
from pybroker.model.values import Value
from pybroker.protocol import messages
from pybroker.replication.peer import ControllerPort, PeerUnreachable

if TYPE_CHECKING:  # app/warming.py says what is late
    from pybroker.instruments.clock import Clock, TimerQueue
    from pybroker.replication.isr import Answer, Proposal
    from pybroker.replication.partition import Partition

logger = logging.getLogger(__name__)

VERSION: Final = 3
RETRY_AFTER_S: Final = 0.05
RECOVERED: Final = 0
ANY_EPOCH: Final = -1
"""ISR members are sent without their broker epochs, as brokers with ZooKeeper do."""


class _Change(Value):
    partition: Partition
    proposal: Proposal

    @property
    def topic_id(self) -> TopicId:
        return self.partition.topic_id or ZERO_TOPIC_ID


class IsrChanges:
    """The changes of one broker's partitions that wait for the controller. :meth:`run` is its task."""

    def __init__(
        self,
        broker_id: BrokerId,
        broker_epoch: Callable[[], BrokerEpoch],
        controller: ControllerPort,
        clock: Clock,
        timers: TimerQueue,
        max_lag_ms: int,
    ) -> None:
        self._broker_id = broker_id
        self._broker_epoch = broker_epoch
        self._controller = controller
        self._clock = clock
        self._timers = timers
        self._max_lag_ms = max_lag_ms
        self._waiting: dict[TopicPartition, _Change] = {}
        self._has_work = trio.Event()
        self._looks_soon = trio.Event()

    def submit(self, partition: Partition, proposal: Proposal) -> None:
        """Take a proposal to the controller. It replaces an earlier one of the partition's."""
        self._waiting[partition.tp] = _Change(partition, proposal)
        self._has_work.set()

    def look_soon(self) -> None:
        """Some broker came or went: whoever waits for one that is gone shall not wait any longer."""
        self._looks_soon.set()

    async def run(self, partitions: Callable[[], Iterable[Partition]]) -> None:
        """Sends what is submitted, and looks for followers that lag, until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._send_all)
            nursery.start_soon(self._look_now_and_then, partitions)

    async def _look_now_and_then(self, partitions: Callable[[], Iterable[Partition]]) -> None:
        while True:
            due_ms = self._clock.now_ms() + self._max_lag_ms // 2
            timer = self._timers.schedule("isr shrink", due_ms, self.look_soon)
            await self._looks_soon.wait()
            self._looks_soon = trio.Event()
            timer.cancel()
            pace = Pace()
            for partition in tuple(partitions()):
                partition.reconsider_followers()
                if pace.is_over:
                    await pace.rest()

    async def _send_all(self) -> None:
        while True:
            await self._has_work.wait()
            self._has_work = trio.Event()
            while self._waiting:
                if not await self._send(tuple(self._waiting.values())):
                    await trio.sleep(RETRY_AFTER_S)

    async def _send(self, changes: tuple[_Change, ...]) -> bool:
        """False when some of them must be sent again."""
        try:
            response = await self._controller.ask(self._request(changes), VERSION)
        except PeerUnreachable as error:
            logger.debug("the controller is not reachable: %s", error)
            return False
        assert isinstance(response, messages.AlterPartitionResponse)
        if response.error_code != ErrorCode.NONE:
            logger.info("the controller refuses ISR changes: %s", ErrorCode(response.error_code).name)
            return False
        from pybroker.replication.isr import Settled

        answers = dict(_answers(response))
        is_done = True
        for change in changes:
            answer = answers.get((change.topic_id, change.partition.tp.partition))
            if answer is None or change.partition.settle(change.proposal, answer) is Settled.RETRY:
                is_done = False
            elif self._waiting.get(change.partition.tp) is change:
                del self._waiting[change.partition.tp]
        return is_done

    def _request(self, changes: Iterable[_Change]) -> messages.AlterPartitionRequest:
        topics: dict[TopicId, messages.AlterPartitionRequest.TopicData] = {}
        for change in changes:
            topic = topics.setdefault(
                change.topic_id, messages.AlterPartitionRequest.TopicData(topic_id=change.topic_id)
            )
            proposal = change.proposal
            topic.partitions.append(
                messages.AlterPartitionRequest.PartitionData(
                    partition_index=change.partition.tp.partition,
                    leader_epoch=proposal.leader_epoch,
                    new_isr_with_epochs=[
                        messages.AlterPartitionRequest.BrokerState(broker_id=member, broker_epoch=ANY_EPOCH)
                        for member in proposal.isr
                    ],
                    leader_recovery_state=RECOVERED,
                    partition_epoch=proposal.partition_epoch,
                )
            )
        return messages.AlterPartitionRequest(
            broker_id=self._broker_id, broker_epoch=self._broker_epoch(), topics=list(topics.values())
        )


def _answers(response: messages.AlterPartitionResponse) -> Iterator[tuple[tuple[TopicId, int], Answer]]:
    from pybroker.replication.isr import Answer

    for topic in response.topics:
        for data in topic.partitions:
            answer = Answer(
                ErrorCode(data.error_code), data.leader_epoch, data.partition_epoch, tuple(data.isr)
            )
            yield (bytes(topic.topic_id), data.partition_index), answer
