"""The features whose levels this broker speaks, and those that the whole cluster does."""

from pybroker.config.broker import BrokerConfig
from pybroker.handlers.api_versions import Features
from pybroker.metadata.image import ClusterImage
from pybroker.metadata.znodes import FeatureRange
from pybroker.model.features import GROUP_VERSION, TRANSACTION_VERSION
from pybroker.model.personas import PERSONAS_WITH_FEATURES


def supported_features(config: BrokerConfig) -> dict[str, FeatureRange]:
    """Published at registration. A feature is in force while every live broker publishes it."""
    if config.pybroker_persona and config.pybroker_persona not in PERSONAS_WITH_FEATURES:
        return {}
    features = {TRANSACTION_VERSION: FeatureRange(0, 2)}
    if "consumer" in config.group_coordinator_rebalance_protocols:
        features[GROUP_VERSION] = FeatureRange(0, 1)
    return features


def features_of(config: BrokerConfig, image: ClusterImage) -> Features:
    """What ApiVersions tells of them."""
    supported = supported_features(config)
    return Features(
        supported={name: (levels.min_version, levels.max_version) for name, levels in supported.items()},
        finalized=image.features,
        epoch=image.features_epoch,
    )
