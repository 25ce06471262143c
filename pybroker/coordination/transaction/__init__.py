"""Transactions and the producer ids that they fence, as plain functions over plain state.

Reading order: ``states`` (the tables), ``calls`` (what goes in and comes out), ``transaction`` (the state),
``storing`` (how a decision becomes a record and then the state), ``initializing``, ``partitions``,
``ending``, ``completing`` and ``sweeps`` (the decisions), ``records`` and ``replay`` (what is kept),
``shard`` (all transactional ids of one partition of ``__transaction_state``).

Source of the rules: ``kafka.coordinator.transaction`` of Kafka 3.9; for clients that bump their epoch with
every transaction (KIP-890 part 2) that of Kafka 4.
"""
