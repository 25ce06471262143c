"""The settings that transactions obey."""

from collections.abc import Callable

from pybroker.config.broker import BrokerConfig
from pybroker.model.values import Value


class TransactionRules(Value):
    """Times in milliseconds.

    Attributes:
        record_version: in which version values are stored: 0, or 1 while the cluster has finalized
            ``transaction.version``.
        max_timeout_ms: the longest time-out that a producer may ask for (inclusive).
        id_expiration_ms: after so long without news a transactional id is forgotten.
        abort_interval_ms: between two searches for transactions that ran out of time.
        expiry_interval_ms: between two searches for expired ids.
    """

    record_version: Callable[[], int] = lambda: 0
    max_timeout_ms: int = 900_000
    id_expiration_ms: int = 604_800_000
    abort_interval_ms: int = 10_000
    expiry_interval_ms: int = 3_600_000

    @classmethod
    def of(cls, config: BrokerConfig, record_version: Callable[[], int]) -> "TransactionRules":
        return cls(
            record_version=record_version,
            max_timeout_ms=config.transaction_max_timeout_ms,
            id_expiration_ms=config.transactional_id_expiration_ms,
            abort_interval_ms=config.transaction_abort_timed_out_transaction_cleanup_interval_ms,
            expiry_interval_ms=config.transaction_remove_expired_transaction_cleanup_interval_ms,
        )
