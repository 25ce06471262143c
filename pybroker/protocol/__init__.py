"""Kafka's wire protocol: specs, messages, and the codecs made from them."""
