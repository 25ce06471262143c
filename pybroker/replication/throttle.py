"""How fast throttled replicas may be copied (KIP-73), so that a reassignment leaves room for clients.

Pure. A replica is throttled by its topic's ``leader.replication.throttled.replicas`` and
``follower.replication.throttled.replicas``, the rate is the broker's; one that is in sync is never held back.
Source: ``ReplicationQuotaManager`` of Kafka 3.9, and the ``SimpleRate`` that it measures with.
"""

from collections import deque
from collections.abc import Callable, Sequence

ALL_REPLICAS = "*"


def names_replica(throttled: Sequence[str], partition: int, broker_id: int) -> bool:
    """Whether a list of ``partition:broker``, or ``*``, names a replica."""
    return bool(throttled) and (ALL_REPLICAS in throttled or f"{partition}:{broker_id}" in throttled)


class ReplicationThrottle:
    """The traffic of all throttled replicas of a broker in one direction.

    Args:
        rate: bytes per second that they may take together, as it is set at the moment.
        now_ms: broker time.
        samples, sample_ms: the rate is measured over so many samples of that length.
    """

    def __init__(
        self, rate: Callable[[], int], now_ms: Callable[[], int], samples: int, sample_ms: int
    ) -> None:
        self._rate = rate
        self._now_ms = now_ms
        self._max_samples = samples
        self._sample_ms = sample_ms
        self._samples: deque[tuple[int, int]] = deque()
        """Begin and bytes of each sample, the oldest first."""

    def record(self, size_in_bytes: int) -> None:
        """So much was sent, or has come."""
        now_ms = self._now_ms()
        begin_ms, sum_in_bytes = self._samples[-1] if self._samples else (-self._sample_ms, 0)
        if 0 <= now_ms - begin_ms < self._sample_ms:
            self._samples[-1] = (begin_ms, sum_in_bytes + size_in_bytes)
        else:
            self._samples.append((now_ms, size_in_bytes))

    @property
    def is_exceeded(self) -> bool:
        """Whether nothing more may be sent, or asked for, right now."""
        now_ms = self._now_ms()
        oldest_ms = now_ms - self._max_samples * self._sample_ms
        while self._samples and not oldest_ms < self._samples[0][0] <= now_ms:
            self._samples.popleft()
        if not self._samples:
            return False
        elapsed_ms = max(now_ms - self._samples[0][0], self._sample_ms)
        return sum(size for _, size in self._samples) * 1000 > self._rate() * elapsed_ms
