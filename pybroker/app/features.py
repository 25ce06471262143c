"""The features whose levels this broker speaks, and those that the whole cluster does."""

from collections.abc import Mapping

from pybroker.handlers.api_versions import Features
from pybroker.metadata.image import ClusterImage
from pybroker.metadata.znodes import FeatureRange

TRANSACTION_VERSION = "transaction.version"

SUPPORTED: Mapping[str, FeatureRange] = {TRANSACTION_VERSION: FeatureRange(0, 2)}
"""Published at registration. A feature is in force while every live broker publishes it."""


def features_of(image: ClusterImage) -> Features:
    """What ApiVersions tells of them."""
    return Features(
        supported={name: (levels.min_version, levels.max_version) for name, levels in SUPPORTED.items()},
        finalized=image.features,
        epoch=image.features_epoch,
    )
