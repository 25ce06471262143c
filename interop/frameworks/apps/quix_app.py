"""Counts by key with quixstreams, from source to sink, its state in a changelog. Runs in its own venv."""

import json
import sys

from quixstreams import Application

bootstrap, application, source_name, sink_name, folder, _partitions = sys.argv[1:7]

app = Application(
    broker_address=bootstrap,
    consumer_group=application,
    state_dir=folder,
    auto_offset_reset="earliest",
    commit_interval=0.5,
    consumer_extra_config={"session.timeout.ms": 10000, "reconnect.backoff.max.ms": 500},
    producer_extra_config={"reconnect.backoff.max.ms": 500},
)
source = app.topic(source_name, key_deserializer="str", value_deserializer="bytes")
sink = app.topic(sink_name, key_serializer="str", value_serializer="bytes")


def count(value, state):
    number = state.get("count", 0) + 1
    state.set("count", number)
    return json.dumps({"text": value.decode(), "count": number}).encode()


frame = app.dataframe(source)
frame = frame.apply(count, stateful=True)
frame = frame.to_topic(sink)

if __name__ == "__main__":
    app.run()
