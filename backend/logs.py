"""One event per line with its fields, on stderr, without secrets; JSON when nobody is looking."""

from __future__ import annotations

import logging
import sys
from datetime import UTC, datetime
from typing import Any

import orjson

from domain.keys import masked

QUIET_S = 300.0
LASTING_S = 10.0  # what ends before is how a client finds a broker that has just made its topics
_STANDARD = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "taskName"}


def fields_of(record: logging.LogRecord) -> dict[str, Any]:
    """What the caller passed as `extra`."""
    return {k: v for k, v in record.__dict__.items() if k not in _STANDARD}


class LineFormatter(logging.Formatter):
    """`12:00:01 INFO gap filled  instrument=binance:BTC/USDT candles=12`."""

    def format(self, record: logging.LogRecord) -> str:
        moment = datetime.fromtimestamp(record.created, UTC).strftime("%H:%M:%S")
        fields = " ".join(f"{name}={value}" for name, value in fields_of(record).items())
        line = f"{moment} {record.levelname:<7} {record.getMessage()}"
        line = f"{line}  {fields}" if fields else line
        trace = f"\n{self.formatException(record.exc_info)}" if record.exc_info else ""
        return masked(f"{line}{trace}")


class JsonFormatter(logging.Formatter):
    """One JSON object per line, for a machine to read."""

    def format(self, record: logging.LogRecord) -> str:
        document = {
            "ts": datetime.fromtimestamp(record.created, UTC),
            "level": record.levelname.lower(),
            "logger": record.name,
            "event": record.getMessage(),
            **fields_of(record),
        }
        if record.exc_info:
            document["error"] = self.formatException(record.exc_info)
        return masked(orjson.dumps(document, default=str).decode())


class Brief(logging.Filter):
    """For a library that retries: no tracebacks, and the same message once in QUIET_S."""

    def __init__(self) -> None:
        super().__init__()
        self._told: dict[str, float] = {}  # when each message was let through

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether `record` is told; its error becomes the field `reason`."""
        if not record.exc_info:
            return True
        kind, error, _ = record.exc_info
        record.reason = f"{kind.__name__ if kind else None}: {' '.join(str(error).split())}"
        record.exc_info = None
        if record.created - self._told.get(record.msg, -QUIET_S) < QUIET_S:
            return False
        self._told[record.msg] = record.created
        return True


class Seldom(logging.Filter):
    """For a library that tries for ever: its errors in a line, the same one once in QUIET_S.

    What has no traceback is an answer that it tries again after, and is told when it still comes
    LASTING_S later.

    Args:
        name: of its loggers; what others say is told.
    """

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self._came: dict[str, float] = {}  # when each text began to come
        self._told: dict[str, float] = {}  # when each was let through

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether `record` is told."""
        if not super().filter(record):
            return True
        lasting_s = 0.0 if record.exc_info else LASTING_S
        record.exc_info, text, now = None, record.getMessage(), record.created
        if record.levelno < logging.ERROR:
            return False
        for known in (self._came, self._told):
            for one in [one for one, at in known.items() if now - at >= QUIET_S]:
                del known[one]
        begun = self._came.setdefault(text, now)
        if text in self._told or now - begun < lasting_s:
            return False
        self._told[text] = now
        return True


def configure(*, level: str = "INFO", json: bool | None = None) -> None:
    """Send every log line to stderr; lines for people on a terminal, JSON otherwise."""
    as_json = not sys.stderr.isatty() if json is None else json
    handler = logging.StreamHandler(sys.stderr)
    handler.addFilter(Seldom("aiokafka"))
    handler.setFormatter(JsonFormatter() if as_json else LineFormatter())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    for noisy in ("ccxt", "asyncio", "uvicorn.access", "numba", "alembic", "sqlalchemy"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    logging.getLogger("asyncpg.pool").addFilter(Brief())  # while the database is away
