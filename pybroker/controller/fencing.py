"""Writes of a controller that fail as soon as another one was elected."""

from collections.abc import Sequence

from pybroker.metadata.store import (
    BadVersion,
    Check,
    ConnectionLost,
    MultiFailed,
    NoNode,
    Op,
    OpResult,
    Store,
    StoreError,
)
from pybroker.metadata.znodes import ControllerEpochZNode


class ControllerMoved(Exception):
    """Another controller was elected: this one writes nothing more and resigns."""


class FencedStore:
    """Puts the check of the controller's epoch before every write."""

    def __init__(self, store: Store, epoch_version: int) -> None:
        self._store = store
        self._check = Check(ControllerEpochZNode.path, epoch_version)

    async def multi_all(self, multis: Sequence[Sequence[Op]]) -> list[list[OpResult] | StoreError]:
        """As :meth:`Store.multi_all`; results and indexes of failures are those of the operations given.

        Raises:
            ControllerMoved: the epoch is not ours any more; what comes after was not written.
            ConnectionLost: an answer never came. The controller has to read everything again.
        """
        if not multis:
            return []
        answers: list[list[OpResult] | StoreError] = []
        for answer in await self._store.multi_all([[self._check, *ops] for ops in multis]):
            if isinstance(answer, MultiFailed):
                if answer.index == 0 and isinstance(answer.error, BadVersion | NoNode):
                    raise ControllerMoved
                answers.append(MultiFailed(answer.index - 1, answer.error))
            elif isinstance(answer, ConnectionLost):
                raise answer
            elif isinstance(answer, StoreError):
                answers.append(answer)
            else:
                answers.append(answer[1:])
        return answers

    async def multi(self, ops: Sequence[Op]) -> list[OpResult]:
        """As :meth:`Store.multi`.

        Raises:
            ControllerMoved: the epoch is not ours any more; nothing was written.
            MultiFailed: an operation was refused.
        """
        (answer,) = await self.multi_all([ops])
        if isinstance(answer, StoreError):
            raise answer
        return answer
