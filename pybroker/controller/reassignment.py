"""Moves partitions to other brokers (KIP-455)."""

from collections.abc import Collection

from pybroker.controller.term import Term
from pybroker.model.ids import BrokerId


async def resume_on(term: Term, broker_ids: Collection[BrokerId]) -> None:
    """Goes on with reassignments whose target brokers came up."""


async def resume_all(term: Term) -> None:
    """Goes on with all reassignments after a failover."""
