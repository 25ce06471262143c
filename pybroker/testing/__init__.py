"""Brokers for tests: a real broker in a thread or a process of the test, under the test's control.

The classes are imported when they are first asked for: pytest loads this package's plugin at every start.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pybroker.testing.cluster import Fault, KafkaCluster

__all__ = ["Fault", "KafkaCluster"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        from pybroker.testing import cluster

        return getattr(cluster, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
