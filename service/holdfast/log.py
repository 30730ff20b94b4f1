"""Structured logging: a message and fields, printed as logfmt (containerd's text form) or JSON.

Use ``LOG = log.named(__name__)`` and ``LOG.warning("failed to load plugin", id=uri, error=error)``. Values are
formatted only when the record is printed. Trace ids are added while a recorded span is current.

Of one kind of line, which is a logger's level and message without its fields, at most `BURST` lines are printed at once
and then `PER_S` a second: events that processes, pods and peers cause over and over must not fill a disk.
"""

from __future__ import annotations

import logging
import sys
import threading
import time
from collections.abc import Callable
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any, Protocol, TextIO

from holdfast import failure
from holdfast.errors import ConfigError
from holdfast.inert import json_document

TRACE = 5  # below DEBUG, as logrus has it
logging.addLevelName(TRACE, "TRACE")

LEVELS = {
    "trace": TRACE,
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warn": logging.WARNING,
    "warning": logging.WARNING,
    "error": logging.ERROR,
    "fatal": logging.CRITICAL,
    "panic": logging.CRITICAL,
}
FORMATS = ("text", "json")
_LAST = ("at", "traceback")  # what containerd's lines have, too, comes first, and what is long comes last
_LEVEL_NAMES = {TRACE: "trace", 10: "debug", 20: "info", 30: "warning", 40: "error", 50: "fatal"}


class TraceIds(Protocol):
    """Ids of the recorded span that is current, for a line."""

    @property
    def trace_id(self) -> int:
        """128 bits."""

    @property
    def span_id(self) -> int:
        """64 bits."""


#: Set by the tracing layer.
trace_ids: ContextVar[TraceIds | None] = ContextVar("trace_ids", default=None)


BURST, PER_S = 20, 1.0
MOST_KINDS = 1024


class Limiter(logging.Filter):
    """Limit on the lines of each kind from info on; the next line of a kind says how many were left out before it.

    ``suppressed`` counts all lines left out.
    """

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self.suppressed = 0
        self._now = now
        self._kinds: dict[tuple[str, int, str], _Bucket] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the line is printed."""
        if record.levelno < logging.INFO:  # debug and trace: all lines are wanted
            return True
        words = record.getMessage() if record.msg == "%s" else str(record.msg)
        bucket = self._bucket((record.name, record.levelno, words))
        if not bucket.take(self._now()):
            bucket.left_out += 1
            self.suppressed += 1
            return False
        if bucket.left_out:
            record.fields = {**getattr(record, "fields", {}), "not_logged": bucket.left_out}
            bucket.left_out = 0
        return True

    def _bucket(self, kind: tuple[str, int, str]) -> _Bucket:
        bucket = self._kinds.get(kind)
        if bucket is None:
            if len(self._kinds) >= MOST_KINDS:
                self._kinds.pop(next(iter(self._kinds)), None)
            bucket = self._kinds[kind] = _Bucket(self._now())
        return bucket


class _Bucket:
    __slots__ = ("_at", "_tokens", "left_out")

    def __init__(self, now: float) -> None:
        self._tokens, self._at, self.left_out = float(BURST), now, 0

    def take(self, now: float) -> bool:
        self._tokens = min(float(BURST), self._tokens + PER_S * (now - self._at))
        self._at = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True


LIMITER = Limiter()


class Logger:
    """A named logger whose calls take fields as keywords."""

    __slots__ = ("_logger",)

    def __init__(self, name: str) -> None:
        self._logger = logging.getLogger(name)

    def trace(self, message: str, **fields: Any) -> None:
        """Log at trace level."""
        self._say(TRACE, message, fields)

    def debug(self, message: str, **fields: Any) -> None:
        """Log at debug level."""
        self._say(logging.DEBUG, message, fields)

    def info(self, message: str, **fields: Any) -> None:
        """Log at info level."""
        self._say(logging.INFO, message, fields)

    def warning(self, message: str, **fields: Any) -> None:
        """Log at warning level."""
        self._say(logging.WARNING, message, fields)

    def error(self, message: str, **fields: Any) -> None:
        """Log at error level."""
        self._say(logging.ERROR, message, fields)

    def fatal(self, message: str, **fields: Any) -> None:
        """Log at fatal level; the caller ends the process."""
        self._say(logging.CRITICAL, message, fields)

    def _say(self, level: int, message: str, fields: dict[str, Any]) -> None:
        if self._logger.isEnabledFor(level):
            self._logger.log(level, "%s", message, extra={"fields": fields})


def named(name: str) -> Logger:
    """Return the logger of a module."""
    return Logger(name)


def _fields_of(record: logging.LogRecord) -> dict[str, Any]:
    """Fields of one record: the caller's, the trace ids, and those of the error that came with it."""
    fields = dict(getattr(record, "fields", ()))
    ids = trace_ids.get()
    if ids is not None:
        fields["trace_id"], fields["span_id"] = f"{ids.trace_id:032x}", f"{ids.span_id:016x}"
    if record.exc_info and record.exc_info[1] is not None:
        for key, value in failure.fields(record.exc_info[1]).items():
            fields.setdefault(key, value)
    return fields


def _time_of(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


class Logfmt(logging.Formatter):
    """``time="…" level=info msg="…" key=value``: what containerd prints as ``text``. Every value is inert."""

    def format(self, record: logging.LogRecord) -> str:
        """One line, whatever the values contain."""
        level = _LEVEL_NAMES.get(record.levelno, "info")
        message = json_document(record.getMessage())
        parts = [f'time="{_time_of(record)}"', f"level={level}", f"msg={message}"]
        fields = sorted(_fields_of(record).items(), key=lambda field: (field[0] in _LAST, field[0]))
        parts += [f"{key}={_logfmt_value(value)}" for key, value in fields]
        return " ".join(parts)


class Json(logging.Formatter):
    """One JSON object a line with ``time level msg`` and the fields. Every value is inert."""

    def format(self, record: logging.LogRecord) -> str:
        """One line; a value that JSON has no form for is printed as its string."""
        fields: dict[str, Any] = {
            "time": _time_of(record),
            "level": _LEVEL_NAMES.get(record.levelno, "info"),
            "msg": record.getMessage(),
        }
        for key, value in _fields_of(record).items():
            fields[f"fields.{key}" if key in ("time", "level", "msg") else key] = value
        return json_document(fields)


def _logfmt_value(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return f"{value:g}"
    text = str(value)
    if text and text.isascii() and all(c.isalnum() or c in "-._/@^+" for c in text):  # logrus's own bare-word rule
        return text
    return json_document(text)


def level_number(level: str) -> int:
    """The stdlib number of a level name.

    Raises:
        ConfigError: the name is none of logrus's.
    """
    number = LEVELS.get(level.lower() if level else "info")
    if number is None:
        raise ConfigError(f'not a valid logrus Level: "{level}"')
    return number


def set_level(level: str) -> None:
    """Set the level of all loggers (start, reload, the debug endpoint)."""
    _apply(level_number(level))


def is_debug() -> bool:
    """Whether lines of level debug are printed."""
    return logging.getLogger().isEnabledFor(logging.DEBUG)


def level_name() -> str:
    """The level in force."""
    return _LEVEL_NAMES.get(logging.getLogger().level, "info")


def set_up(level: str = "info", form: str = "text", stream: TextIO | None = None) -> None:
    """Send every record to ``stream`` (stderr) in one form.

    Raises:
        ConfigError: unknown level or form.
    """
    if form and form not in FORMATS:
        raise ConfigError(f"unknown log format: {form}")
    handler = logging.StreamHandler(stream if stream is not None else sys.stderr)
    handler.setFormatter(Json() if form == "json" else Logfmt())
    handler.addFilter(LIMITER)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    _apply(level_number(level))


def catch_strays() -> None:
    """Log what Python would print: the error of a thread that dies, errors that it cannot raise, warnings."""
    logger = named(__name__)

    def thread_failed(died: threading.ExceptHookArgs) -> None:
        if died.exc_value is not None and not isinstance(died.exc_value, SystemExit):
            name = died.thread.name if died.thread is not None else "?"
            logger.error("thread failed", thread=name, **failure.fields(died.exc_value))

    def not_raised(told: sys.UnraisableHookArgs) -> None:
        if told.exc_value is not None:
            about = f"{told.err_msg or 'Exception ignored in'}: {told.object!r:.200}"
            logger.error("error that nothing could receive", about=about, **failure.fields(told.exc_value))

    threading.excepthook, sys.unraisablehook = thread_failed, not_raised
    logging.captureWarnings(True)


def _apply(number: int) -> None:
    logging.getLogger().setLevel(number)
    for library in ("grpc", "asyncio"):  # their debug lines are about themselves: only trace shows them
        logging.getLogger(library).setLevel(number if number <= TRACE else max(number, logging.INFO))
