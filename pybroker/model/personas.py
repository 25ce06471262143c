"""The Kafka versions that a broker can answer as."""

PERSONAS = ("0.11", "1.1", "2.8", "3.9", "4.1")

PERSONAS_WITH_FEATURES = frozenset({"4.1"})
"""Those whose clusters agree on feature levels; with ZooKeeper none does."""
