"""Consumer groups of the classic protocol and their committed offsets, as plain functions over plain state.

Reading order: ``states`` (the tables), ``calls`` (what goes in and comes out), ``group`` and ``offsets`` (the
state), ``joining``, ``rebalance``, ``syncing``, ``leaving`` and ``commits`` (the decisions), ``records`` and
``replay`` (what is kept), ``shard`` (all groups of one partition of ``__consumer_offsets``).

Source of the rules: ``kafka.coordinator.group`` of Kafka 3.9, the coordinator of the ZooKeeper mode.
"""
