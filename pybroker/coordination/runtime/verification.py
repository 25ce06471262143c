"""Before a partition takes the first batch of a transaction, the transaction's coordinator is asked whether
the partition is part of it (KIP-890), or is told that it is from now on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import Enum, auto
from typing import TYPE_CHECKING

import trio
from msgspec import field

from pybroker.model.errors import ApiError, ErrorCode
from pybroker.model.ids import BrokerId, TopicPartition
from pybroker.model.topics import TRANSACTION_STATE
from pybroker.model.values import Value

if TYPE_CHECKING:  # app/warming.py says what is late
    from pybroker.coordination.runtime.markers import OtherBrokers
    from pybroker.coordination.runtime.transactions import TransactionCoordinator
    from pybroker.coordination.transaction.calls import PartitionsCall, Producer
    from pybroker.metadata.image import ClusterImage
    from pybroker.protocol.messages import AddPartitionsToTxnRequest, AddPartitionsToTxnResponse

RETRY_EVERY_S = 0.02
RETRY_FOR_S = 0.1
"""How long a partition that is to be added waits for the transaction before it to be over
(``add.partitions.to.txn.retry.backoff.max.ms`` of Kafka 4)."""


class Support(Enum):
    """What a client understands, by the version of its request."""

    OLD_ERRORS = auto()
    """It has added the partition itself, and does not know TRANSACTION_ABORTABLE."""
    ABORTABLE = auto()
    """It has added the partition itself."""
    ADDS = auto()
    """It leaves the adding to the broker."""


class Verified(Value):
    """What a coordinator has said of partitions.

    Attributes:
        guards: what their logs want to see, as it was before the question.
        codes: one for each of them, in the words of this client's age. NONE: it may be written.
    """

    guards: Mapping[TopicPartition, object] = field(default_factory=dict)
    codes: Mapping[TopicPartition, ErrorCode] = field(default_factory=dict)


NOTHING_TO_VERIFY = Verified()


class TransactionVerifier(Value):
    """Asks coordinators, here or elsewhere.

    Attributes:
        is_enabled: ``transaction.partition.verification.enable`` now. Adding is always done.
    """

    broker_id: BrokerId
    image: Callable[[], ClusterImage]
    coordinator: TransactionCoordinator
    others: OtherBrokers
    is_enabled: Callable[[], bool]

    def concerns(self, support: Support) -> bool:
        """Whether anybody has to be asked."""
        return support is Support.ADDS or self.is_enabled()

    async def confirm(
        self,
        transactional_id: str,
        producer: Producer,
        start: Callable[[], Mapping[TopicPartition, object]],
        support: Support,
    ) -> Verified:
        """Ask about the partitions for which ``start`` gives a guard; it is called before each question.

        What a client leaves to the broker to add may have to wait for the marker of the transaction before.
        That takes the guards away: they are taken, and the question is asked, anew.
        """
        from pybroker.coordination.transaction.calls import TV_0, TV_2, PartitionsCall

        version = TV_2 if support is Support.ADDS else TV_0
        ends_s = trio.current_time() + (RETRY_FOR_S if support is Support.ADDS else 0)
        while guards := start():
            call = PartitionsCall(transactional_id, producer, frozenset(guards), version)
            codes = await self._ask(call, support)
            is_over = trio.current_time() >= ends_s
            if is_over or (ErrorCode.CONCURRENT_TRANSACTIONS not in codes.values() and start() == guards):
                return Verified(guards, {tp: _in_words_of(support, code) for tp, code in codes.items()})
            await trio.sleep(RETRY_EVERY_S)
        return NOTHING_TO_VERIFY

    async def _ask(self, call: PartitionsCall, support: Support) -> Mapping[TopicPartition, ErrorCode]:
        index = self.coordinator.partition_of(call.transactional_id)
        known = self.image().partition(TopicPartition(TRANSACTION_STATE, index))
        try:
            if known is None or known.leader < 0:
                raise ApiError(ErrorCode.COORDINATOR_NOT_AVAILABLE)
            if known.leader != self.broker_id:
                return await self._ask_other(known.leader, call, support)
            if support is Support.ADDS:
                return dict.fromkeys(call.partitions, await self.coordinator.add(call))
            return self.coordinator.verify(call)
        except ApiError as error:
            return dict.fromkeys(call.partitions, error.code)

    async def _ask_other(
        self, leader: BrokerId, call: PartitionsCall, support: Support
    ) -> Mapping[TopicPartition, ErrorCode]:
        response = await self.others.ask(leader, _request(call, verify_only=support is not Support.ADDS))
        if response.error_code:
            refused = ErrorCode(response.error_code)
            # The client has done nothing wrong; it is told only that nobody vouches for it.
            hidden = refused is ErrorCode.CLUSTER_AUTHORIZATION_FAILED
            return dict.fromkeys(call.partitions, ErrorCode.INVALID_TXN_STATE if hidden else refused)
        return {**dict.fromkeys(call.partitions, ErrorCode.NETWORK_EXCEPTION), **_codes(response)}


def _in_words_of(support: Support, code: ErrorCode) -> ErrorCode:
    if code is ErrorCode.PRODUCER_FENCED:
        return ErrorCode.INVALID_PRODUCER_EPOCH
    if code is ErrorCode.TRANSACTION_ABORTABLE and support is Support.OLD_ERRORS:
        return ErrorCode.INVALID_TXN_STATE
    return code


def _request(call: PartitionsCall, *, verify_only: bool) -> AddPartitionsToTxnRequest:
    from pybroker.protocol.messages import AddPartitionsToTxnRequest

    topics: dict[str, list[int]] = {}
    for tp in sorted(call.partitions):
        topics.setdefault(tp.topic, []).append(tp.partition)
    transaction = AddPartitionsToTxnRequest.AddPartitionsToTxnTransaction(
        transactional_id=call.transactional_id,
        producer_id=call.producer.producer_id,
        producer_epoch=call.producer.producer_epoch,
        verify_only=verify_only,
        topics=[
            AddPartitionsToTxnRequest.AddPartitionsToTxnTopic(name=name, partitions=indexes)
            for name, indexes in topics.items()
        ],
    )
    return AddPartitionsToTxnRequest(transactions=[transaction])


def _codes(response: AddPartitionsToTxnResponse) -> dict[TopicPartition, ErrorCode]:
    return {
        TopicPartition(topic.name, one.partition_index): ErrorCode(one.partition_error_code)
        for result in response.results_by_transaction
        for topic in result.topic_results
        for one in topic.results_by_partition
    }
