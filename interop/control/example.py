"""Controls a test broker over HTTP: `python example.py http://127.0.0.1:8082`."""

import json
import sys
import urllib.request
from typing import Any

from kafka import KafkaProducer


def call(operation: str, **arguments: object) -> Any:
    """One operation of the API; its arguments and its result are JSON."""
    request = urllib.request.Request(
        f"{sys.argv[1]}/v1/{operation}",
        json.dumps(arguments).encode(),
        {"Content-Type": "application/json"},
        method="POST",
    )
    with urllib.request.urlopen(request, timeout=10) as response:
        return json.load(response)


call("reset")
call("add_fault", api=["Produce"], topic="orders", error="NOT_LEADER_OR_FOLLOWER", times=1)
producer = KafkaProducer(bootstrap_servers=call("brokers")[0]["address"])
producer.send("orders", b"one").get(10)
producer.close()
fired = call("faults")[0]["fired"]
records = [record["value"] for record in call("records", topic="orders")]
call("reset")
print(json.dumps({"fired": fired, "records": records, "left": len(call("faults"))}))
