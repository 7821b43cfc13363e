"""Log lines: one a line, JSON for machines, and no secret and no payload whoever speaks at whatever level."""

import io
import json
import logging
import warnings
from collections.abc import Iterator
from typing import Any

import pytest
import structlog

from relay import log

SECRET = "hunter2"


class Tap(io.StringIO):
    """A stream that gives the lines written to it."""

    def lines(self) -> list[str]:
        return self.getvalue().splitlines()

    def events(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.lines()]

    def only(self) -> dict[str, Any]:
        (event,) = self.events()
        return event


@pytest.fixture
def tap() -> Iterator[Tap]:
    """Take the log of one test and leave logging as it was."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    levels = {name: logging.getLogger(name).level for name in log.PINNED}
    yield Tap()
    logging.captureWarnings(capture=False)
    structlog.reset_defaults()
    root.handlers[:] = handlers
    root.setLevel(level)
    for name, before in levels.items():
        logging.getLogger(name).setLevel(before)


def fail(error: Exception) -> None:
    raise error


def test_an_event_is_one_line_of_json_with_level_and_time_in_utc(tap: Tap) -> None:
    log.configure(stream=tap)

    structlog.get_logger("relay").info("tick", claimed=3, text="two\nlines")

    event = tap.only()
    assert event.pop("timestamp").endswith("Z")
    assert event == {"event": "tick", "level": "info", "claimed": 3, "text": "two\nlines"}


@pytest.mark.parametrize("level", ["debug", "info", "warning", "error"])
def test_only_lines_of_at_least_the_level_are_written(tap: Tap, level: str) -> None:
    levels = ["debug", "info", "warning", "error"]
    log.configure(level=level, stream=tap)

    for each in levels:
        getattr(structlog.get_logger("relay"), each)("tick")
        getattr(logging.getLogger("some.library"), each)("words")

    expected = [each for each in levels[levels.index(level) :] for _ in "ab"]
    assert expected == [event["level"] for event in tap.events()]


def test_a_library_speaks_through_an_event_of_ours(tap: Tap) -> None:
    log.configure(stream=tap)

    logging.getLogger("some.library").warning("a %s of its own\nand more", "word")

    event = tap.only()
    assert event["event"] == log.FOREIGN_EVENT
    assert (event["logger"], event["level"], event["message"]) == ("some.library", "warning", "a word of its own")


def test_a_warning_of_python_becomes_a_line(tap: Tap) -> None:
    log.configure(stream=tap)

    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(capture=True)  # catch_warnings put the original function back
        warnings.warn("beware", stacklevel=1)

    assert "beware" in tap.only()["message"]


@pytest.mark.parametrize("name", ["aiormq.connection", "aio_pika.channel", "psycopg", "aiohttp.server"])
@pytest.mark.parametrize("lower", ["left as it is", "lowered by someone"])
def test_a_library_that_logs_payloads_is_silent_at_debug(tap: Tap, name: str, lower: str) -> None:
    log.configure(level="debug", stream=tap)
    logger = logging.getLogger(name)
    before = logger.level
    if lower == "lowered by someone":
        logger.setLevel(logging.DEBUG)

    logger.debug("Prepare to send %r", SECRET)
    logger.info("sent %r", SECRET)
    logger.setLevel(before)

    assert tap.lines() == []


def test_an_access_log_and_connections_that_retry_are_silent(tap: Tap) -> None:
    log.configure(level="debug", stream=tap)

    logging.getLogger("aiohttp.access").info("GET /livez")
    logging.getLogger("psycopg.pool").warning("error connecting in 'pool-1'")
    logging.getLogger("aiormq.connection").error("error when creating transport")

    assert tap.lines() == []


def test_a_pinned_library_is_still_heard_when_something_is_wrong(tap: Tap) -> None:
    log.configure(stream=tap)

    logging.getLogger("aiormq.channel").warning("an odd frame")

    assert tap.only()["message"] == "an odd frame"


def test_a_pinned_library_is_not_raised_above_the_chosen_level(tap: Tap) -> None:
    log.configure(level="error", stream=tap)

    logging.getLogger("aiormq.channel").warning("an odd frame")

    assert tap.lines() == []


SECRETIVE = [
    f"cannot reach postgresql://svc:{SECRET}@db/shop",
    f"amqp://svc:{SECRET}@mq:5672/%2F?x=1 is gone",
    f"amqp://:{SECRET}@mq",
    f"amqps://svc:{SECRET}/with@slash@mq/ and more",
    f"host=db user=svc password={SECRET} dbname=shop",
    f"host=db password='{SECRET} {SECRET}' dbname=shop",
    f"postgresql://db/shop?user=svc&password={SECRET}&x=1",
    f"sslpassword={SECRET}",
    f'{{"password": "{SECRET}"}}',
    f"{{'amqp_password': '{SECRET}'}}",
]


@pytest.mark.parametrize("form", ["json", "console"])
@pytest.mark.parametrize("text", SECRETIVE)
def test_a_password_in_any_text_is_masked(tap: Tap, form: str, text: str) -> None:
    log.configure(level="debug", form=form, stream=tap)

    structlog.get_logger("relay").info("tick", detail=text, deep={"list": [text, (text,)]}, odd=ValueError(text))
    logging.getLogger("some.library").info("%s", text)
    try:
        fail(RuntimeError(text))
    except RuntimeError:
        structlog.get_logger("relay").exception("relay.crashed")
        logging.getLogger("some.library").exception(text)

    assert tap.getvalue().count("****") >= 7
    assert SECRET not in tap.getvalue()


@pytest.mark.parametrize("key", ["password", "db_password", "secret", "api_token", "payload", "headers", "credentials"])
def test_a_field_with_the_name_of_a_secret_is_masked_whole(tap: Tap, key: str) -> None:
    log.configure(stream=tap)

    structlog.get_logger("relay").info("tick", **{key: SECRET, "deep": {key: [SECRET]}})

    event = tap.only()
    assert (event[key], event["deep"]) == ("****", {key: "****"})


def test_bytes_are_told_by_their_number(tap: Tap) -> None:
    log.configure(stream=tap)

    structlog.get_logger("relay").info("tick", body=SECRET.encode())

    assert tap.only()["body"] == "7 bytes"


def test_words_without_a_secret_are_left_alone() -> None:
    for text in (
        "a@b.c",
        "postgresql://svc@db/shop",
        "see https://example.org/a:b",
        "the password is wrong",
        "a: b @ c",
    ):
        assert log.redact(text) == text


def test_an_error_is_told_as_structure_without_locals_rows_or_notes(tap: Tap) -> None:
    log.configure(stream=tap)

    def insert(password: str) -> None:
        error = ValueError(f"duplicate key\nDETAIL:  Failing row contains ({password}).")
        error.add_note(password)
        fail(error)

    try:
        try:
            insert(SECRET)
        except ValueError as error:
            raise ExceptionGroup("lanes", [error]) from error
    except ExceptionGroup:
        structlog.get_logger("relay").exception("relay.crashed")

    (line,) = tap.lines()
    assert SECRET not in line
    group = json.loads(line)["exception"][0]
    (inner,) = group["exceptions"][0]
    assert (group["exc_type"], inner["exc_type"], inner["exc_value"]) == (
        "ExceptionGroup",
        "ValueError",
        "duplicate key",
    )
    assert inner["frames"][-1]["name"] == "fail"


def test_the_console_tells_an_error_in_lines_for_a_person(tap: Tap) -> None:
    log.configure(form="console", stream=tap)

    try:
        fail(ValueError("no such\nthing"))
    except ValueError:
        structlog.get_logger("relay").exception("relay.crashed", side="a\nb\x1b[31m")

    first, *others = tap.lines()
    assert "relay.crashed" in first
    assert first.endswith(r"side=a\nb\x1b[31m")
    assert others[0] == "ValueError: no such"
    assert others[1].endswith("in test_the_console_tells_an_error_in_lines_for_a_person")
    assert others[2].endswith("in fail")


def test_the_console_indents_the_errors_of_a_group(tap: Tap) -> None:
    log.configure(form="console", stream=tap)

    structlog.get_logger("relay").error("relay.crashed", exc_info=ExceptionGroup("lanes", [ValueError("one")]))

    assert tap.lines()[1:] == ["ExceptionGroup: lanes (1 sub-exception)", "  | ValueError: one"]


def test_the_last_configuration_holds_and_nothing_is_written_twice(tap: Tap) -> None:
    log.configure(stream=io.StringIO())
    log.configure(stream=tap)

    structlog.get_logger("relay").info("tick")

    assert len(tap.lines()) == 1


def test_what_json_does_not_know_is_written_as_text(tap: Tap) -> None:
    log.configure(stream=tap)

    structlog.get_logger("relay").info("tick", lone="\ud800", odd=object)

    assert len(tap.events()) == 1
