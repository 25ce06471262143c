"""Compares ``protocol_specs/`` with Kafka's own message definitions: ``python -m interop.spec_check``."""
