"""How a coordinator sees the log that it keeps its state in."""

from typing import Protocol

from pybroker.model.ids import LeaderEpoch, Offset, ProducerEpoch, ProducerId


class CoordinatorLog(Protocol):
    """One partition of a coordinator's topic, while this broker may lead it."""

    @property
    def leader_epoch(self) -> LeaderEpoch: ...

    @property
    def log_start_offset(self) -> Offset: ...

    @property
    def log_end_offset(self) -> Offset: ...

    def read(self, offset: Offset, max_bytes: int) -> bytes:
        """Whole batches from the one that holds ``offset``: up to ``max_bytes``, but one at least. Empty at
        the end.

        Raises:
            StorageError: the log cannot be read.
        """
        ...

    def append(
        self, batch: bytes, *, all_replicas: bool, guard: object | None = None
    ) -> tuple[Offset, Offset]:
        """Append one batch; returns its first offset and the end (exclusive).

        Args:
            all_replicas: refuse when the ISR is too small for ``acks=-1``.
            guard: of a transactional batch, what :meth:`start_verification` gave.

        Raises:
            ApiError: what a producer would be told.
        """
        ...

    def start_verification(self, producer_id: ProducerId, producer_epoch: ProducerEpoch) -> object | None:
        """Before a batch of a transaction is appended: a guard if its coordinator has to be asked first, None
        if the transaction is open here already."""
        ...

    def is_committed(self, end_offset: Offset) -> bool:
        """Whether all before ``end_offset`` is committed, and so will stay."""
        ...

    async def committed(self, end_offset: Offset, timeout_s: float) -> None:
        """Wait until all before ``end_offset`` is committed.

        Raises:
            ApiError: NOT_LEADER_OR_FOLLOWER, NOT_ENOUGH_REPLICAS_AFTER_APPEND or REQUEST_TIMED_OUT.
        """
        ...
