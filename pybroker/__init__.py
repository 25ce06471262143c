"""pybroker: a Kafka broker in Python that stock Kafka clients and tools use unchanged."""

__version__ = "0.1.0"
