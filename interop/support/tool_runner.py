"""Kafka's command-line tools, run by their main methods in one JVM (see java/ToolRunner.java)."""

import struct
import subprocess
from collections.abc import Mapping, Sequence

from msgspec import Struct

from interop.support import maven
from interop.support.jvm import HEAP, SOURCES, Jvm, text
from interop.support.tools import require_tool

TOOL_TIMEOUT_S = 60.0

_TOOLS = "org.apache.kafka.tools."
_COMMON_MAINS: Mapping[str, str] = {
    "kafka-topics": _TOOLS + "TopicCommand",
    "kafka-console-consumer": _TOOLS + "consumer.ConsoleConsumer",
    "kafka-consumer-groups": _TOOLS + "consumer.group.ConsumerGroupCommand",
    "kafka-configs": "kafka.admin.ConfigCommand",
    "kafka-get-offsets": _TOOLS + "GetOffsetShell",
    "kafka-delete-records": _TOOLS + "DeleteRecordsCommand",
    "kafka-log-dirs": _TOOLS + "LogDirsCommand",
    "kafka-reassign-partitions": _TOOLS + "reassign.ReassignPartitionsCommand",
    "kafka-leader-election": _TOOLS + "LeaderElectionCommand",
    "kafka-cluster": _TOOLS + "ClusterTool",
    "kafka-transactions": _TOOLS + "TransactionsCommand",
    "kafka-verifiable-producer": _TOOLS + "VerifiableProducer",
    "kafka-verifiable-consumer": _TOOLS + "VerifiableConsumer",
    "kafka-producer-perf-test": _TOOLS + "ProducerPerformance",
    "kafka-consumer-perf-test": _TOOLS + "ConsumerPerformance",
}
MAIN_CLASSES: Mapping[str, Mapping[str, str]] = {
    "tools-3.9": {
        **_COMMON_MAINS,
        "kafka-console-producer": "kafka.tools.ConsoleProducer",
        "kafka-broker-api-versions": "kafka.admin.BrokerApiVersionsCommand",
    },
    "tools-4": {
        **_COMMON_MAINS,
        "kafka-console-producer": _TOOLS + "ConsoleProducer",
        "kafka-broker-api-versions": _TOOLS + "BrokerApiVersionsCommand",
    },
}
"""Version set -> script name of Kafka's bin folder -> the main class that the script runs."""


class ToolResult(Struct, frozen=True):
    """What a tool left: exit code and both outputs."""

    command: str
    exit_code: int
    output: str
    errors: str

    def __str__(self) -> str:
        return f"{self.command}\nexit code {self.exit_code}\n{self.output}\n{self.errors}"

    @property
    def lines(self) -> list[str]:
        """Standard output, line by line, without empty ones."""
        return [line for line in self.output.splitlines() if line.strip()]


class KafkaTools:
    """The tools of one version set against one server."""

    name = "kafka-tools"

    def __init__(self, bootstrap: str, set_name: str) -> None:
        self.bootstrap = bootstrap
        self._set_name = set_name
        self.version = set_name.removeprefix("tools-")
        # 4.x still takes --property, and prints that it should not have been used.
        old = set_name == "tools-3.9"
        self.reader_property = "--property" if old else "--reader-property"
        self.consumer_count = "--messages" if old else "--num-records"
        # The one tool of 3.9 that knows its server only as a producer's property.
        self._by_property = {"kafka-producer-perf-test"} if old else set()
        self.formatter_property = "--property" if old else "--formatter-property"
        self._jvm = Jvm("ToolRunner", set_name)

    def run(self, tool: str, *arguments: str, stdin: str = "") -> ToolResult:
        """Run a tool whose `--bootstrap-server` is the server under test; any exit code is returned."""
        head = 1 if tool == "kafka-cluster" else 0  # it wants its subcommand first
        where = ["--bootstrap-server", self.bootstrap]
        if tool in self._by_property:
            where = ["--producer-props", f"bootstrap.servers={self.bootstrap}"]
        return self._run(tool, [*arguments[:head], *where, *arguments[head:]], stdin)

    def check(self, tool: str, *arguments: str, stdin: str = "") -> ToolResult:
        """`run`, and the exit code must be 0."""
        result = self.run(tool, *arguments, stdin=stdin)
        assert result.exit_code == 0, str(result)
        return result

    def check_alone(self, tool: str, *arguments: str) -> ToolResult:
        """`check` in a JVM of its own, for tools that finish their work while their process ends."""
        command = [
            require_tool("java", "default-jdk-headless"), HEAP, "-XX:+UseSerialGC",
            "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
            f"-Dlog4j.configuration=file:{SOURCES / 'log4j.properties'}",
            "-cp", maven.class_path(self._set_name), MAIN_CLASSES[self._set_name][tool],
            "--bootstrap-server", self.bootstrap, *arguments,
        ]  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True, timeout=TOOL_TIMEOUT_S, check=False)
        result = ToolResult(f"{tool} {' '.join(arguments)}", done.returncode, done.stdout, done.stderr)
        assert result.exit_code == 0, str(result)
        return result

    def close(self) -> None:
        self._jvm.close()

    def _run(self, tool: str, arguments: Sequence[str], stdin: str) -> ToolResult:
        if not self._jvm.is_running:
            self._jvm = Jvm("ToolRunner", self._set_name)
        raw_input = stdin.encode()
        self._jvm.send(
            text(MAIN_CLASSES[self._set_name][tool])
            + struct.pack(">i", len(arguments))
            + b"".join(map(text, arguments))
            + struct.pack(">i", len(raw_input))
            + raw_input
        )
        answer = self._jvm.answer(TOOL_TIMEOUT_S)
        exit_code = answer.int32()
        output, errors = answer.blob(), answer.blob()
        command = f"{tool} {' '.join(arguments)}"
        return ToolResult(command, exit_code, (output or b"").decode(), (errors or b"").decode())
