"""The log: Kafka's segment, index and checkpoint files, and everything that is promised about them.

Synchronous and single-threaded (one writer per log); all time is an argument, all I/O goes through
:mod:`pybroker.storage.files`. Knows nothing of the wire protocol.
"""
