"""What old producers are told instead of codes that came after them."""

from pybroker.handlers.context import RequestContext
from pybroker.model.errors import ErrorCode


def in_words_of(ctx: RequestContext, code: ErrorCode, first_version_with_fenced: int) -> ErrorCode:
    """PRODUCER_FENCED came with KIP-588; before it INVALID_PRODUCER_EPOCH says the same."""
    if code is ErrorCode.PRODUCER_FENCED and ctx.api_version < first_version_with_fenced:
        return ErrorCode.INVALID_PRODUCER_EPOCH
    return code
