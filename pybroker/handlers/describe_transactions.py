"""DescribeTransactions (key 65), version 0 (KIP-664).

- State, producer, time-out, start and partitions of each transactional id, or why it cannot be told. While
  markers are being written the partitions are those that still lack one.
"""

from pybroker.coordination.runtime.transactions import TransactionCoordinator
from pybroker.handlers.context import RequestContext
from pybroker.model.errors import ApiError
from pybroker.model.values import Value
from pybroker.protocol.messages import DescribeTransactionsRequest, DescribeTransactionsResponse


class DescribeTransactionsHandler(Value):
    transactions: TransactionCoordinator

    async def __call__(
        self,
        ctx: RequestContext,  # noqa: ARG002
        request: DescribeTransactionsRequest,
    ) -> DescribeTransactionsResponse:
        return DescribeTransactionsResponse(
            transaction_states=[self._describe(one) for one in request.transactional_ids]
        )

    def _describe(self, transactional_id: str) -> DescribeTransactionsResponse.TransactionState:
        state = DescribeTransactionsResponse.TransactionState(transactional_id=transactional_id)
        try:
            found = self.transactions.describe(transactional_id)
        except ApiError as error:
            state.error_code = error.code
            return state
        topics: dict[str, list[int]] = {}
        for tp in sorted(found.partitions):
            topics.setdefault(tp.topic, []).append(tp.partition)
        state.transaction_state = found.state
        state.transaction_timeout_ms = found.timeout_ms
        state.transaction_start_time_ms = found.start_ms
        state.producer_id, state.producer_epoch = found.producer
        state.topics = [
            DescribeTransactionsResponse.TopicData(topic=name, partitions=indexes)
            for name, indexes in topics.items()
        ]
        return state
