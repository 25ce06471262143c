"""Every failure of the log has exactly one code."""

from pybroker.replication.storage_errors import CODE_OF
from pybroker.storage.errors import StorageError


def _leaves(error: type[StorageError]) -> set[type[StorageError]]:
    return {error} | {leaf for child in error.__subclasses__() for leaf in _leaves(child)}


def test_the_table_is_exhaustive() -> None:
    assert set(CODE_OF) == _leaves(StorageError) - {StorageError}
