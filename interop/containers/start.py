"""Starts a broker with the Kafka module of testcontainers-python: one answer, and the end of input stops it.

Arguments: the mode ("zookeeper", the module's default, or "kraft") and the image.
"""

import json
import sys

from testcontainers.community.kafka import KafkaContainer

mode, image = sys.argv[1:]
if sys.stdin.readline():
    container = KafkaContainer(image)
    try:
        (container.with_kraft() if mode == "kraft" else container).start()
        print(json.dumps({"bootstrap": container.get_bootstrap_server()}), flush=True)
        sys.stdin.read()
    finally:
        container.stop()
