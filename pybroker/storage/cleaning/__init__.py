"""Compaction: which log to clean, and how; the worker process that does it.

Reading order: ``selection`` (which log), ``job`` (what the worker is told), ``cleaner`` (one clean),
``batch_filter`` (which records stay), ``swap`` (how the broker takes over the result).
Source: ``LogCleaner`` and ``LogCleanerManager`` of Kafka 3.9.
"""
