"""What a log record becomes on its way out: a line of text, a JSON object, or a line as Kafka writes it."""

import logging
import sys

FORMATS = ("text", "json", "kafka")


def configure_logging(level: str, log_format: str) -> None:
    """Sends every record of at least ``level`` to one stream, one line each.

    Args:
        level: a name of Python's logging, in any case.
        log_format: one of ``FORMATS``. ``text`` has the local time and goes to standard error, ``json`` has
            UTC and goes there too. ``kafka`` is the layout of Kafka's log4j.properties and goes to standard
            output, as there.
    """
    handler = logging.StreamHandler(sys.stdout if log_format == "kafka" else sys.stderr)
    handler.setFormatter(_FORMATTERS[log_format]())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())


class _TextFormatter(logging.Formatter):
    def __init__(self) -> None:
        super().__init__("%(asctime)s.%(msecs)03d %(levelname)s %(name)s: %(message)s", "%Y-%m-%d %H:%M:%S")


class _KafkaFormatter(logging.Formatter):
    def __init__(self) -> None:
        super().__init__(
            "[%(asctime)s,%(msecs)03d] %(kafka_level)s %(message)s (%(name)s)", "%Y-%m-%d %H:%M:%S"
        )

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802
        record.kafka_level = _KAFKA_LEVELS.get(record.levelname, record.levelname)
        return super().formatMessage(record)


_KAFKA_LEVELS = {"WARNING": "WARN", "CRITICAL": "FATAL"}


class _JsonFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        import json
        from datetime import UTC, datetime

        event = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            event["exception"] = self.formatException(record.exc_info)
        return json.dumps(event, ensure_ascii=False)


_FORMATTERS = {"text": _TextFormatter, "json": _JsonFormatter, "kafka": _KafkaFormatter}
