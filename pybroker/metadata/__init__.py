"""Cluster metadata: the store of znodes, the znodes themselves, and the image every request reads."""
