"""Apache Kafka 4 as a server under test: the judge of what Apache Kafka 3.9 does not have."""

import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path

from interop.support import maven
from interop.support.process import LOCALHOST, ChildProcess, ProcessServer, free_port
from interop.support.tools import require_tool
from interop.support.waiting import wait_until

CLUSTER_ID = "MkU3OEVBNTcwNTJENDM2Qk"
"""Any 22 characters that are a UUID in base64."""

ADMIN_TIMEOUT_S = 10


class ApacheKafka4Server(ProcessServer):
    """One KRaft node, broker and controller, with a small heap."""

    name = "apache4"
    START_TIMEOUT_S = 90.0

    JVM: tuple[str, ...] = ("-Xmx512m", "-Xss512k", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=4")

    def __init__(self, overrides: Mapping[str, str] | None = None, jvm: tuple[str, ...] = JVM) -> None:
        folder = Path(tempfile.mkdtemp(prefix="interop-kafka4-"))
        port, controller_port = free_port(), free_port()
        settings = {
            "process.roles": "broker,controller",
            "node.id": "1",
            "controller.quorum.voters": f"1@{LOCALHOST}:{controller_port}",
            "controller.listener.names": "CONTROLLER",
            "listeners": f"PLAINTEXT://{LOCALHOST}:{port},CONTROLLER://{LOCALHOST}:{controller_port}",
            "advertised.listeners": f"PLAINTEXT://{LOCALHOST}:{port}",
            "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
            "log.dirs": str(folder / "data"),
            "num.partitions": "1",
            "offsets.topic.replication.factor": "1",
            "transaction.state.log.replication.factor": "1",
            "transaction.state.log.min.isr": "1",
            "share.coordinator.state.topic.replication.factor": "1",
            "share.coordinator.state.topic.min.isr": "1",
            "group.initial.rebalance.delay.ms": "0",
            **(overrides or {}),
        }
        self._properties = folder / "server.properties"
        self._properties.write_text("".join(f"{key}={value}\n" for key, value in settings.items()))
        self._java = [
            require_tool("java", "default-jdk-headless"), *jvm,
            "-Dorg.slf4j.simpleLogger.defaultLogLevel=info", "-cp", maven.class_path("tools-4"),
        ]  # fmt: skip
        command = [*self._java, "kafka.Kafka", str(self._properties)]
        super().__init__(ChildProcess(command, folder / "server.log"), folder, port)

    def start(self) -> None:
        self.format()
        self._process.start()
        self._process.wait_for_broker(self.port, self.START_TIMEOUT_S)

    def restart(self) -> None:
        """A node that starts again has no leaders until it is unfenced, and its clients are told of them a
        moment before it leads: a batch is refused then, and the next one taken."""
        self.start()
        wait_until(self._leads_all, "a broker that leads all partitions", self.START_TIMEOUT_S)

    def _leads_all(self) -> bool:
        # Not in the venvs of other clients, which import this module.
        from confluent_kafka import TopicPartition
        from confluent_kafka.admin import AdminClient, OffsetSpec

        admin = AdminClient({"bootstrap.servers": self.bootstrap, "broker.address.family": "v4"})
        topics = admin.list_topics(timeout=ADMIN_TIMEOUT_S).topics
        ends = admin.list_offsets(
            {
                TopicPartition(name, at): OffsetSpec.latest()
                for name in topics
                for at in topics[name].partitions
            },
            request_timeout=ADMIN_TIMEOUT_S,
        )
        return all(asked.exception(ADMIN_TIMEOUT_S) is None for asked in ends.values())

    def stop(self) -> None:
        self._process.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def format(self) -> None:
        """Prepare the data directory, once."""
        if (self.folder / "data").exists():
            return
        command = [
            *self._java, "kafka.tools.StorageTool", "format", "--cluster-id", CLUSTER_ID,
            "--config", str(self._properties),
        ]  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
