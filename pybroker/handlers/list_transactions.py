"""ListTransactions (key 66), versions 0 to 2 (KIP-664).

- The transactional ids that this broker coordinates, filtered; a state that does not exist is told of, and
  when only such states are named nothing is listed.

Versions: 1 those that have run longer than so many milliseconds (KIP-994); 2 ids that match a pattern, as a
whole (KIP-1152), by a library without backtracking, because the pattern is a stranger's.
"""

import re2

from pybroker.coordination.runtime.transactions import TransactionCoordinator
from pybroker.coordination.transaction.calls import ListFilter, TransactionListing
from pybroker.coordination.transaction.states import BY_WORD
from pybroker.handlers.context import RequestContext
from pybroker.model.errors import ApiError, ErrorCode
from pybroker.model.values import Value
from pybroker.protocol.messages import ListTransactionsRequest, ListTransactionsResponse


class ListTransactionsHandler(Value):
    transactions: TransactionCoordinator

    async def __call__(
        self,
        ctx: RequestContext,  # noqa: ARG002
        request: ListTransactionsRequest,
    ) -> ListTransactionsResponse:
        wanted = ListFilter(
            frozenset(request.state_filters), frozenset(request.producer_id_filters), request.duration_filter
        )
        try:
            found = _matching(request.transactional_id_pattern, self.transactions.list_transactions(wanted))
        except ApiError as error:
            return ListTransactionsResponse(error_code=error.code)
        return ListTransactionsResponse(
            unknown_state_filters=[word for word in request.state_filters if word not in BY_WORD],
            transaction_states=[
                ListTransactionsResponse.TransactionState(
                    transactional_id=one.transactional_id,
                    producer_id=one.producer_id,
                    transaction_state=one.state,
                )
                for one in found
            ],
        )


def _matching(pattern: str | None, found: list[TransactionListing]) -> list[TransactionListing]:
    if not pattern:
        return found
    try:
        expression = re2.compile(pattern)
    except re2.error as error:
        raise ApiError(ErrorCode.INVALID_REGULAR_EXPRESSION, f"{pattern!r}: {error}") from error
    return [one for one in found if expression.fullmatch(one.transactional_id)]
