"""Names of the features whose levels the brokers of a cluster agree on (KIP-584)."""

GROUP_VERSION = "group.version"
"""1: groups of the consumer protocol (KIP-848)."""

TRANSACTION_VERSION = "transaction.version"
"""2: a new epoch for each transaction, and partitions that the broker adds itself (KIP-890)."""
