"""The one way in which this room refuses bytes."""

from pybroker.model.errors import ErrorCode


class InvalidRecords(Exception):
    """Records that the broker must not append, with the code and words for the client.

    ``record_errors`` names single records: (index within the batch, why), as KIP-467 reports them.
    """

    def __init__(
        self, code: ErrorCode, message: str, record_errors: tuple[tuple[int, str], ...] = ()
    ) -> None:
        super().__init__(f"{code.name}: {message}")
        self.code = code
        self.message = message
        self.record_errors = record_errors


class UnfitForRequest(InvalidRecords):
    """Records that a Produce request of that version must not carry, whatever the log would say of them."""


class NothingToAppend(InvalidRecords):
    """An empty message set of an old Produce request.

    Kafka answers such a request with success and base offset -1, so the code is ``NONE``.
    """

    def __init__(self) -> None:
        super().__init__(ErrorCode.NONE, "the message set is empty")
