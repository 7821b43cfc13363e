"""Set logging up, once: one renderer for our events and the libraries' records, one line each, without a secret.

Our own events come from `relay.observe`. A library's record becomes the event `library.logged`, its words in
`message`. Passwords are masked in every text; libraries that log payloads or frames at lower levels are held back.
"""

import contextlib
import logging
import os
import re
import sys
from collections.abc import Mapping
from typing import Any, TextIO

import structlog
from structlog.tracebacks import ExceptionDictTransformer
from structlog.typing import EventDict, Processor, WrappedLogger

FOREIGN_EVENT = "library.logged"
PINNED: Mapping[str, int] = {
    "aio_pika": logging.WARNING,
    "aiohttp": logging.WARNING,
    "aiohttp.access": logging.ERROR,
    "aiormq": logging.WARNING,
    "aiormq.connection": logging.CRITICAL,
    "asyncio": logging.WARNING,
    "pamqp": logging.ERROR,
    "psycopg": logging.WARNING,
    "psycopg.pool": logging.CRITICAL,
}
"""Least level of libraries, at any RELAY_LOG_LEVEL. Below WARNING aiormq writes whole frames, payloads included;
pamqp's warnings carry header names; aiormq's connection and the pool repeat as errors, at every attempt, what the
event of an outage tells once."""
FRAMES_MAX = 20
ERROR_CHARS_MAX = 300
HIDDEN = "****"
_SECRET_KEY = re.compile(r"pass(word|wd|phrase)|secret|token|credential|payload|headers", re.IGNORECASE)
_USERINFO = re.compile(r"(?P<before>[A-Za-z][A-Za-z0-9+.-]*://[^\s:/?#@]*):[^\s'\"]*@")
_PAIR = re.compile(
    r"(?P<before>\b\w*(?:password|passwd|passphrase|secret)['\"]?\s*[=:]\s*)(?:'[^']*'|\"[^\"]*\"|[^\s&;,)}\]]+)",
    re.IGNORECASE,
)


def redact(text: str) -> str:
    """Hide every password in a text: in URLs (up to the last @, for a password may hold one) and in name=value."""
    return _PAIR.sub(rf"\g<before>{HIDDEN}", _USERINFO.sub(rf"\g<before>:{HIDDEN}@", text))


def configure(*, level: str = "info", form: str = "json", stream: TextIO | None = None) -> None:
    """Write log lines of at least `level` to `stream` (by default stdout), as `form` "json" or "console".

    May be called again; the last call holds.
    """
    stream = sys.stdout if stream is None else stream
    least = logging.getLevelNamesMapping()[level.upper()]
    ours: list[Processor] = [structlog.stdlib.add_log_level, structlog.processors.TimeStamper(fmt="iso", utc=True)]
    handler = _Lines(stream)
    handler.addFilter(_pinned)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*ours, _foreign],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.ExceptionRenderer(
                    ExceptionDictTransformer(show_locals=False, max_frames=FRAMES_MAX)
                ),
                _short_errors,
                _without_secrets,
                *_renderer(form, stream),
            ],
        )
    )
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *ours,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,
    )
    logging.captureWarnings(capture=True)
    logging.basicConfig(level=least, handlers=[handler], force=True)
    for name, pin in PINNED.items():
        logging.getLogger(name).setLevel(max(pin, least))


class _Lines(logging.StreamHandler[TextIO]):
    """Writes the lines. Where they cannot be written, rows are relayed all the same."""

    _told = False

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 -- the library's name
        """Say once that the reader is gone or the disk is full; the library would write a traceback for every line."""
        error = sys.exception()
        if not isinstance(error, OSError):
            super().handleError(record)
        elif not self._told:
            self._told = True
            with contextlib.suppress(OSError):
                sys.stderr.write(f"the log cannot be written: {error.strerror}; the relay goes on without it\n")


def _renderer(form: str, stream: TextIO) -> list[Processor]:
    if form == "json":
        return [structlog.processors.JSONRenderer(default=str)]
    return [_plain, structlog.dev.ConsoleRenderer(colors=stream.isatty() and not os.environ.get("NO_COLOR"))]


def _pinned(record: logging.LogRecord) -> bool:
    """Hold a library back even when someone lowered its own logger."""
    name = record.name
    while name:
        if name in PINNED:
            return record.levelno >= PINNED[name]
        name = name.rpartition(".")[0]
    return True


def _foreign(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """Give a library's record an event name of ours, and its words their own place."""
    event["message"] = _first_line(str(event["event"]))
    event["logger"] = event["_record"].name
    event["event"] = FOREIGN_EVENT
    return event


def _short_errors(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """Keep the first line of an error's text: in the further ones Postgres repeats the failing row."""
    return {key: _shorten(value) if key == "exception" else value for key, value in event.items()}


def _shorten(value: Any) -> Any:
    match value:
        case dict():
            return {
                key: _first_line(item) if key == "exc_value" else _shorten(item)
                for key, item in value.items()
                if item not in (None, [], False) and key != "exc_notes"
            }
        case list():
            return [_shorten(item) for item in value]
        case _:
            return value


def _first_line(text: str) -> str:
    return text.partition("\n")[0][:ERROR_CHARS_MAX]


def _without_secrets(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """Mask every text, however deep it stands."""
    return {key: _masked(key, value) for key, value in event.items()}


def _masked(key: str, value: Any) -> Any:
    if _SECRET_KEY.search(key):
        return HIDDEN
    match value:
        case None | bool() | int() | float():
            return value
        case Mapping():
            return {str(name): _masked(str(name), item) for name, item in value.items()}
        case list() | tuple() | set() | frozenset():
            return [_masked("", item) for item in value]
        case bytes() | bytearray() | memoryview():
            return f"{len(value)} bytes"
        case _:
            return redact(str(value))


def _plain(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """Write structured errors as text for a person, and keep every value on its line."""
    error = event.pop("exception", None)
    lines: EventDict = {key: _one_line(value) for key, value in event.items()}
    if error is not None:
        lines["exception"] = "\n".join(_told(error))
    return lines


def _one_line(value: Any) -> Any:
    """Write control characters as a person types them: they could forge a line or steer a terminal."""
    if not isinstance(value, str) or value.isprintable():
        return value
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in value)


def _told(stacks: list[dict[str, Any]]) -> list[str]:
    lines = []
    for stack in stacks:
        lines.append(f"{stack['exc_type']}: {stack.get('exc_value', '')}")
        lines += [f"  {each['filename']}:{each['lineno']} in {each['name']}" for each in stack.get("frames", ())]
        for inner in stack.get("exceptions", ()):
            lines += [f"  | {line}" for line in _told(inner)]
    return lines
