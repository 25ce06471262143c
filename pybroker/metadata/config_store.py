"""Writes configurations to the store, the way every broker may, and tells all brokers."""

from collections.abc import Mapping

from pybroker.metadata.store import (
    BadVersion,
    Check,
    ConnectionLost,
    Create,
    MultiFailed,
    NodeExists,
    NoNode,
    Op,
    SetData,
    Store,
)
from pybroker.metadata.znodes import ConfigChangeZNode, ConfigEntityZNode, ConfigType, ControllerZNode
from pybroker.model.errors import ApiError, ErrorCode


async def config_ops(
    store: Store, config_type: ConfigType, values_of: Mapping[str, Mapping[str, str]]
) -> dict[str, list[Op]]:
    """Operations by entity that put its configuration in place, as long as the controller stays who it is.

    The controller is checked so that nothing is written any more once a KRaft migration began. Put those of
    an entity into one multi with what belongs to them; if that loses a race (:func:`lost_race`), make them
    anew.

    Raises:
        ApiError: STALE_CONTROLLER_EPOCH when there is no controller, or a KRaft one.
    """
    names = ", ".join(values_of)
    try:
        data, stat = await store.get(ControllerZNode.path)
    except NoNode:
        raise ApiError(
            ErrorCode.STALE_CONTROLLER_EPOCH,
            f"Cannot set entity configs for {config_type} {names} when there is no controller.",
        ) from None
    if ControllerZNode.decode(data).kraft_epoch > 0:
        raise ApiError(
            ErrorCode.STALE_CONTROLLER_EPOCH,
            f"Cannot set entity configs for {config_type} {names} directly when there is a KRaft controller.",
        )
    paths = [ConfigEntityZNode.path(config_type, entity) for entity in values_of]
    found = await store.get_all(paths)
    ops: dict[str, list[Op]] = {}
    for (entity, values), path, existing in zip(values_of.items(), paths, found, strict=True):
        encoded = ConfigEntityZNode.encode(values)
        write = Create(path, encoded) if existing is None else SetData(path, encoded)
        ops[entity] = [Check(ControllerZNode.path, stat.version), write]
    return ops


def lost_race(refused: MultiFailed) -> bool:
    """Whether operations of :func:`config_ops` at the head of a multi were refused only for being late."""
    if refused.index == 0:
        return isinstance(refused.error, BadVersion | NoNode)
    return refused.index == 1 and isinstance(refused.error, NodeExists | NoNode)


async def write_config(store: Store, config_type: ConfigType, entity: str, values: Mapping[str, str]) -> None:
    """Replaces the whole configuration of an entity, and leaves a note for all brokers.

    Raises:
        ApiError: STALE_CONTROLLER_EPOCH, see :func:`config_ops`.
    """
    await store.ensure(ConfigEntityZNode.path(config_type, entity).rpartition("/")[0])
    while True:
        try:
            ops = await config_ops(store, config_type, {entity: values})
            await store.multi(ops[entity])
        except MultiFailed as refused:
            if not lost_race(refused):
                raise
        except ConnectionLost:
            continue  # the same values once more do no harm
        else:
            break
    await note_change(store, config_type, entity)


async def note_change(store: Store, config_type: ConfigType, entity: str) -> None:
    """Tells all brokers that a configuration was written; maybe twice, when an answer never came."""
    await store.note(ConfigChangeZNode.sequence_prefix, ConfigChangeZNode(config_type, entity).encode())
