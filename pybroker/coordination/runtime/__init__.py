"""The trio shell of the coordinators: it carries out what the pure state machines of this room decide.

``log_port`` is how a coordinator sees its log, ``partition_log`` that port over a hosted partition,
``shards`` the life of one state machine per partition (load, serve, unload), ``coordinator`` what both
coordinators have in common, ``groups`` and ``transactions`` what handlers call.
"""
