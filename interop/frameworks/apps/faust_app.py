"""Counts by key with faust, from source to sink, in a table with a changelog. Runs in faust's own venv."""

import json
import sys

import faust

bootstrap, application, source_name, sink_name, folder, partitions = sys.argv[1:7]

app = faust.App(
    application,
    broker=f"kafka://{bootstrap}",
    store="memory://",
    datadir=folder,
    web_enabled=False,
    topic_partitions=int(partitions),
    broker_session_timeout=10,
    broker_heartbeat_interval=1,
    broker_commit_interval=0.5,
)
source = app.topic(source_name, key_type=bytes, value_type=bytes, value_serializer="raw")
sink = app.topic(sink_name, key_type=bytes, value_type=bytes, value_serializer="raw")
counts = app.Table("counts", default=int, partitions=int(partitions), key_type=str, value_type=int)


@app.agent(source)
async def count(stream):
    async for event in stream.events():
        key = event.key.decode()
        counts[key] += 1
        line = {"text": event.value.decode(), "count": counts[key]}
        await sink.send(key=event.key, value=json.dumps(line).encode())


if __name__ == "__main__":
    sys.argv[1:] = ["worker", "--without-web", "-l", "info"]
    app.main()
