"""The environment: every setting, every bound, every relation; all problems at once and no secret in any text."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from relay.settings import LEASE_ABOVE_CONFIRM_S, Entry, Settings, SettingsError, effective, load, mask, reference
from relay.settings.strangers import service_link

SECRET = "hunter2"
DATABASE = f"postgresql://svc:{SECRET}@db.example:5432/shop"
AMQP = f"amqp://svc:{SECRET}@mq.example:5672/%2F"
REQUIRED = {"RELAY_DATABASE_URL": DATABASE, "RELAY_AMQP_URL": AMQP, "RELAY_EXCHANGE": "shop.events"}
BOUNDED = [entry for entry in reference() if " from " in entry.allowed]
DESIGNED = {
    "RELAY_SCHEMA": "outbox",
    "RELAY_TABLE": "message",
    "RELAY_BATCH_SIZE": "500",
    "RELAY_BATCH_BYTES": "8388608",
    "RELAY_MAX_MESSAGE_BYTES": "16777216",
    "RELAY_LANES": "2",
    "RELAY_LEASE_SECONDS": "60",
    "RELAY_CONFIRM_TIMEOUT_SECONDS": "30",
    "RELAY_MAX_FAILURES": "10",
    "RELAY_RETRY_BASE_SECONDS": "1",
    "RELAY_RETRY_MAX_SECONDS": "300",
    "RELAY_OUTAGE_SLEEP_SECONDS": "30",
    "RELAY_POLL_MIN_SECONDS": "0.02",
    "RELAY_POLL_MAX_SECONDS": "0.5",
    "RELAY_RESCAN_SECONDS": "5",
    "RELAY_ORDERING": "none",
    "RELAY_FAILED_BLOCKS_KEY": "false",
    "RELAY_BACKLOG_SAMPLE_SECONDS": "10",
    "RELAY_BACKLOG_COUNT_CAP": "10000",
    "RELAY_HEALTH_SAMPLE_SECONDS": "60",
    "RELAY_SHUTDOWN_GRACE_SECONDS": "25",
    "RELAY_HEARTBEAT_SECONDS": "10",
    "RELAY_HTTP_HOST": "0.0.0.0",
    "RELAY_HTTP_PORT": "9464",
    "RELAY_STATUS_PAGE": "true",
    "RELAY_LOG_LEVEL": "info",
    "RELAY_LOG_FORMAT": "json",
    "RELAY_NAME": "the host name",
}


def problems(**changes: str) -> tuple[str, ...]:
    """Return the problems of the required settings with some changed; "unset" leaves one out."""
    env = {name: value for name, value in (REQUIRED | changes).items() if value != "unset"}
    with pytest.raises(SettingsError) as caught:
        load(env)
    assert str(caught.value) == "\n".join(caught.value.problems)
    assert SECRET not in repr(caught.value)
    return caught.value.problems


def complaints(**changes: str) -> tuple[str, ...]:
    """Return what is said of the required settings with some changed; nothing when all is well."""
    try:
        load(REQUIRED | changes)
    except SettingsError as error:
        return error.problems
    return ()


def the_problem(**changes: str) -> str:
    (line,) = problems(**changes)
    return line


def test_the_required_settings_suffice_and_the_rest_have_their_documented_defaults() -> None:
    load(REQUIRED)

    assert {entry.name: entry.default for entry in reference() if entry.default} == DESIGNED


def test_the_defaults_in_the_table_are_the_ones_in_force() -> None:
    shown = effective(load(REQUIRED))

    assert {name: shown[name] for name in DESIGNED if name != "RELAY_NAME"} == {
        name: value for name, value in DESIGNED.items() if name != "RELAY_NAME"
    }
    assert shown["RELAY_NAME"]


def test_writing_every_default_out_changes_nothing() -> None:
    defaults = {name: value for name, value in DESIGNED.items() if name != "RELAY_NAME"}

    assert effective(load(REQUIRED | defaults)) == effective(load(REQUIRED))


def test_every_entry_of_the_table_says_what_is_allowed_and_what_it_is_for() -> None:
    for entry in reference():
        assert entry.allowed, entry.name
        assert entry.description.endswith("."), entry.name
    assert len({entry.name for entry in reference()}) == len(reference())


@pytest.mark.parametrize("name", REQUIRED)
def test_a_missing_required_setting_is_named(name: str) -> None:
    assert the_problem(**{name: "unset"}).startswith(f"{name}: is required")


def test_a_command_on_the_table_alone_needs_nothing_of_the_broker_and_refuses_what_is_wrong_there() -> None:
    settings = load({"RELAY_DATABASE_URL": DATABASE, "RELAY_TABLE": "event"}, table_only=True)
    assert (settings.database_url(), settings.table) == (DATABASE, "event")
    with pytest.raises(SettingsError) as caught:
        load({"RELAY_AMQP_URL": "amqp://", "RELAY_EXCHANGE": ""}, table_only=True)
    assert [problem.partition(":")[0] for problem in caught.value.problems] == list(REQUIRED)
    with pytest.raises(SettingsError, match="RELAY_AMQP_URL: is required"):
        load({"RELAY_DATABASE_URL": DATABASE})


@pytest.mark.parametrize("entry", BOUNDED, ids=lambda entry: entry.name)
def test_a_number_that_is_none_is_refused_with_its_bounds(entry: Entry) -> None:
    for wrong in ("many", "1,5", "0x10", "5s", "--1"):
        line = the_problem(**{entry.name: wrong})

        assert line.startswith(f"{entry.name}: is not a")
        assert line.endswith(f"allowed: {entry.allowed}")
        assert wrong not in line.replace(entry.allowed, "")


@pytest.mark.parametrize("entry", BOUNDED, ids=lambda entry: entry.name)
def test_a_number_outside_its_bounds_is_refused_on_both_sides(entry: Entry) -> None:
    low, high = entry.allowed.partition(" from ")[2].split(" to ")
    step = 1 if "whole" in entry.allowed else 0.0001

    too_small = next(line for line in problems(**{entry.name: str(float(low) - step)[:20]}) if entry.name in line)
    too_large = next(line for line in problems(**{entry.name: str(float(high) + step)[:20]}) if entry.name in line)

    assert too_small == f"{entry.name}: is too small; allowed: {entry.allowed}"
    assert too_large == f"{entry.name}: is too large; allowed: {entry.allowed}"


@pytest.mark.parametrize("entry", BOUNDED, ids=lambda entry: entry.name)
def test_the_bounds_themselves_are_allowed(entry: Entry) -> None:
    for bound in entry.allowed.partition(" from ")[2].split(" to "):
        # A relation may not hold there; the value itself is right.
        assert not any("allowed:" in line for line in complaints(**{entry.name: bound}))


@pytest.mark.parametrize("entry", BOUNDED, ids=lambda entry: entry.name)
@pytest.mark.parametrize("value", ["nan", "inf", "-inf"])
def test_numbers_that_are_not_finite_are_refused(entry: Entry, value: str) -> None:
    assert the_problem(**{entry.name: value}).startswith(f"{entry.name}: is not a")


@pytest.mark.parametrize("name", DESIGNED)
def test_an_empty_setting_is_refused_and_the_default_is_named(name: str) -> None:
    line = the_problem(**{name: ""})

    assert line.startswith(f"{name}: is empty; leave it out for {DESIGNED[name]}, or set ")


@pytest.mark.parametrize("name", [*DESIGNED, *REQUIRED])
def test_bytes_that_are_not_utf8_are_refused(name: str) -> None:
    assert the_problem(**{name: "a\udcff"}).startswith(f"{name}: is not")


@pytest.mark.parametrize("name", ["RELAY_LOG_LEVEL", "RELAY_LOG_FORMAT"])
def test_a_word_that_is_no_choice_is_refused_with_the_choices(name: str) -> None:
    choices = next(entry.allowed for entry in reference() if entry.name == name)

    assert the_problem(**{name: "loud"}) == f"{name}: is not allowed; allowed: {choices}"


def test_choices_may_be_written_in_capitals() -> None:
    settings = load(REQUIRED | {"RELAY_LOG_LEVEL": "DEBUG", "RELAY_LOG_FORMAT": "Console"})

    assert (settings.log_level, settings.log_format) == ("debug", "console")


def test_a_failed_row_can_block_its_key_only_where_order_is_kept() -> None:
    assert load(REQUIRED | {"RELAY_ORDERING": "Key", "RELAY_FAILED_BLOCKS_KEY": "true"}).failed_blocks_key
    assert "RELAY_ORDERING=key" in the_problem(RELAY_FAILED_BLOCKS_KEY="true")
    assert the_problem(RELAY_FAILED_BLOCKS_KEY="perhaps").endswith("neither true nor false; allowed: true or false")


def test_the_default_exchange_is_named_and_never_empty() -> None:
    assert load(REQUIRED | {"RELAY_EXCHANGE": "amq.default"}).exchange == ""
    assert effective(load(REQUIRED | {"RELAY_EXCHANGE": "amq.default"}))["RELAY_EXCHANGE"] == "amq.default"
    assert "write amq.default for the default exchange" in the_problem(RELAY_EXCHANGE="")


@pytest.mark.parametrize(("name", "longest"), [("RELAY_EXCHANGE", 255), ("RELAY_SCHEMA", 63), ("RELAY_TABLE", 63)])
def test_names_are_measured_in_bytes(name: str, longest: int) -> None:
    load(REQUIRED | {name: "x" * longest})

    assert the_problem(**{name: "é" * (longest // 2 + 1)}).startswith(f"{name}: is ")


def test_a_hostile_table_name_is_taken_as_it_is() -> None:
    settings = load(REQUIRED | {"RELAY_SCHEMA": 'we"ird', "RELAY_TABLE": "a; DROP"})

    assert (settings.schema_, settings.table) == ('we"ird', "a; DROP")


def test_a_name_with_control_characters_is_refused() -> None:
    assert the_problem(RELAY_NAME="a\nb").startswith("RELAY_NAME: is ")


# -- relations ----------------------------------------------------------------------------------------------------


def test_the_lease_must_outlast_a_confirm_and_the_marking() -> None:
    least = 30 + LEASE_ABOVE_CONFIRM_S
    load(REQUIRED | {"RELAY_LEASE_SECONDS": str(least)})

    line = the_problem(RELAY_LEASE_SECONDS=str(least - 0.1))

    assert line.startswith("RELAY_LEASE_SECONDS: too short; it must be at least RELAY_CONFIRM_TIMEOUT_SECONDS + 20 (")


@pytest.mark.parametrize(
    ("changes", "beginning"),
    [
        ({"RELAY_SHUTDOWN_GRACE_SECONDS": "60"}, "RELAY_SHUTDOWN_GRACE_SECONDS: must be below RELAY_LEASE_SECONDS"),
        ({"RELAY_POLL_MIN_SECONDS": "0.6"}, "RELAY_POLL_MIN_SECONDS: must not be above RELAY_POLL_MAX_SECONDS"),
        ({"RELAY_RETRY_BASE_SECONDS": "301"}, "RELAY_RETRY_BASE_SECONDS: must not be above RELAY_RETRY_MAX_SECONDS"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(changes: dict[str, str], beginning: str) -> None:
    assert the_problem(**changes).startswith(beginning)


def test_a_relation_is_not_judged_on_a_setting_that_is_itself_wrong() -> None:
    assert len(problems(RELAY_LEASE_SECONDS="soon", RELAY_POLL_MIN_SECONDS="0.6")) == 2


def test_a_message_may_be_larger_than_a_batch() -> None:
    load(REQUIRED | {"RELAY_BATCH_BYTES": "1024", "RELAY_MAX_MESSAGE_BYTES": "536870912"})


def test_all_problems_are_told_at_once_in_the_order_of_the_table() -> None:
    lines = problems(
        RELAY_AMQP_URL="unset",
        RELAY_EXCHANGE="",
        RELAY_LANES="99",
        RELAY_BATCH_SIZE="x",
        RELAY_POLL_MAX_SECONDS="0.01",
        RELAY_BATCH_SZIE="9",
        RELAY_DATABASE_URL=f"mysql://svc:{SECRET}@h/d",
    )

    assert [line.partition(":")[0] for line in lines] == [
        "RELAY_DATABASE_URL",
        "RELAY_AMQP_URL",
        "RELAY_EXCHANGE",
        "RELAY_BATCH_SIZE",
        "RELAY_LANES",
        "RELAY_POLL_MIN_SECONDS",
        "RELAY_BATCH_SZIE",
    ]
    assert not any(word in line for line in lines for word in ("pydantic", "input", "type=", "validation"))


# -- strangers ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("typo", "meant"),
    [
        ("RELAY_BATCH_SZIE", "RELAY_BATCH_SIZE"),
        ("RELAY_LEASE_SECS", "RELAY_LEASE_SECONDS"),
        ("RELAY_DATABASE_DSN", "RELAY_DATABASE_URL"),
        ("RELAY_EXCHANGE_FILE", "RELAY_EXCHANGE"),
        ("RELAY_HTTP_PROT", "RELAY_HTTP_PORT"),
        ("RELAY_PORT", "RELAY_HTTP_PORT"),
        ("RELAY_MAX_RETRIES", "RELAY_MAX_FAILURES"),
    ],
)
def test_an_unknown_setting_is_an_error_with_a_suggestion(typo: str, meant: str) -> None:
    assert the_problem(**{typo: SECRET}) == f"{typo}: no such setting; did you mean {meant}?"


def test_nothing_is_suggested_for_a_name_like_no_other() -> None:
    assert the_problem(RELAY_ZZZ="1") == "RELAY_ZZZ: no such setting"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("RELAY_SERVICE_HOST", "10.0.0.1"),
        ("RELAY_SERVICE_PORT", "80"),
        ("RELAY_SERVICE_PORT_HTTP", "80"),
        ("RELAY_PORT", "tcp://10.0.0.1:80"),
        ("RELAY_PORT_9464_TCP", "tcp://10.0.0.1:80"),
        ("RELAY_PORT_9464_TCP_ADDR", "10.0.0.1"),
        ("RELAY_PORT_9464_TCP_PORT", "80"),
        ("RELAY_PORT_53_UDP_PROTO", "udp"),
        ("RELAY_METRICS_SERVICE_HOST", "10.0.0.1"),
        ("RELAY_METRICS_PORT", "tcp://10.0.0.1:80"),
        ("RELAY_METRICS_PORT_80_TCP_ADDR", "10.0.0.1"),
    ],
)
def test_what_kubernetes_sets_for_a_service_is_not_a_mistake(name: str, value: str) -> None:
    assert service_link(name, value)

    load(REQUIRED | {name: value})


def test_what_the_tests_and_other_programs_set_is_no_concern() -> None:
    load(REQUIRED | {"RELAY_TEST_DATABASE_URL": "x", "PATH": "x", "relay_batch_size": "x", "RELAYS": "x"})


# -- secrets ------------------------------------------------------------------------------------------------------


def test_a_secret_in_a_file_loses_one_newline_and_is_read_anew_at_every_call(tmp_path: Path) -> None:
    file = tmp_path / "url"
    file.write_text(f"{DATABASE}\n")
    env = REQUIRED | {"RELAY_DATABASE_URL_FILE": str(file)}
    del env["RELAY_DATABASE_URL"]
    settings = load(env)

    assert settings.database_url() == DATABASE
    file.write_text(DATABASE.replace(SECRET, "rotated"))
    assert settings.database_url() == DATABASE.replace(SECRET, "rotated")


def test_only_one_newline_is_taken_away(tmp_path: Path) -> None:
    file = tmp_path / "url"
    file.write_text(f"{AMQP}\n\n")

    line = the_problem(RELAY_AMQP_URL="unset", RELAY_AMQP_URL_FILE=str(file))

    assert line == "RELAY_AMQP_URL: contains white space or control characters"


def test_a_secret_and_its_file_at_once_are_refused(tmp_path: Path) -> None:
    line = the_problem(RELAY_AMQP_URL_FILE=str(tmp_path))

    assert line == "RELAY_AMQP_URL: RELAY_AMQP_URL_FILE is set as well; set one of the two"


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    missing = tmp_path / "missing"

    line = the_problem(RELAY_AMQP_URL="unset", RELAY_AMQP_URL_FILE=str(missing))

    assert line == f"RELAY_AMQP_URL: the file {missing} cannot be read: No such file or directory"


def test_a_file_that_is_not_text_is_named_without_its_bytes(tmp_path: Path) -> None:
    file = tmp_path / "url"
    file.write_bytes(b"\xff" + SECRET.encode())

    line = the_problem(RELAY_AMQP_URL="unset", RELAY_AMQP_URL_FILE=str(file))

    assert line == f"RELAY_AMQP_URL: the file {file} is not UTF-8 text"


def test_a_file_that_goes_bad_later_is_an_error_of_the_next_connect_without_its_content(tmp_path: Path) -> None:
    file = tmp_path / "url"
    file.write_text(AMQP)
    env = REQUIRED | {"RELAY_AMQP_URL_FILE": str(file)}
    del env["RELAY_AMQP_URL"]
    settings = load(env)

    file.write_text(f"{SECRET} half written")
    with pytest.raises(ValueError, match="RELAY_AMQP_URL_FILE: contains white space") as caught:
        settings.amqp_url()
    assert SECRET not in repr(caught.value)
    assert effective(settings)["RELAY_AMQP_URL"] == "**** (cannot be read now)"
    file.unlink()
    with pytest.raises(FileNotFoundError):
        settings.amqp_url()


def test_nothing_that_prints_settings_prints_a_password() -> None:
    settings = load(REQUIRED)

    printed = f"{settings} {settings!r} {effective(settings)} {settings.database_url!r} {settings.model_dump()}"

    assert SECRET not in printed


def test_the_effective_settings_show_where_and_as_whom() -> None:
    shown = effective(load(REQUIRED))

    assert shown["RELAY_DATABASE_URL"] == "postgresql://svc:****@db.example:5432/shop"
    assert shown["RELAY_AMQP_URL"] == "amqp://svc:****@mq.example:5672/%2F"
    assert list(shown)[:3] == list(REQUIRED)


def test_the_effective_settings_show_the_file_of_a_secret(tmp_path: Path) -> None:
    file = tmp_path / "url"
    file.write_text(AMQP)
    env = REQUIRED | {"RELAY_AMQP_URL_FILE": str(file)}
    del env["RELAY_AMQP_URL"]

    shown = effective(load(env))

    assert (shown["RELAY_AMQP_URL"], shown["RELAY_AMQP_URL_FILE"]) == (mask(AMQP), str(file))


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://h/d", "postgresql://h/d"),
        ("postgresql://u@h/d", "postgresql://u@h/d"),
        ("postgresql://:hunter2@h/d", "postgresql://:****@h/d"),
        ("postgresql://u:@h/d", "postgresql://u:****@h/d"),
        ("postgres://u:hunter2@a:1,b:2/d", "postgres://u:****@a:1,b:2/d"),
        ("postgresql:///d?host=/run/pg&password=hunter2", "postgresql:///d?host=/run/pg&password=****"),
        ("postgresql://h/d?sslpassword=hunter2&sslkey=/k", "postgresql://h/d?sslpassword=****&sslkey=/k"),
        ("amqps://u:hunter2@[::1]:5671/v?keyfile=/k", "amqps://u:****@[::1]:5671/v?keyfile=/k"),
        ("amqp://u:hunt@er2@h/v", "****"),
        ("amqp://u:hunter2@a,b:5673/v", "amqp://u:****@a,b:5673/v"),
        ("hunter2", "****"),
        ("", "****"),
    ],
)
def test_a_masked_url_shows_everything_but_passwords(url: str, shown: str) -> None:
    assert mask(url) == shown


# -- URLs ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://db/shop",
        "postgres://u:p%40ss@db:5432/shop?sslmode=verify-full&sslrootcert=/ca.pem",
        "postgresql://u:p@a:1,b:2/shop?target_session_attrs=read-write",
        "postgresql:///shop?host=/var/run/postgresql",
        "postgresql://u@[::1]:5432/shop",
        "postgresql:///?service=shop",
        "postgresql://db?dbname=shop",
    ],
)
def test_libpq_urls_are_taken(url: str) -> None:
    assert load(REQUIRED | {"RELAY_DATABASE_URL": url}).database_url() == url


@pytest.mark.parametrize(
    "url",
    [
        "amqp://mq",
        "amqp://u:p%2Fss@mq:5673/%2F",
        "amqp://u:p@mq/",
        "amqp://u:p@mq-0:5672,mq-1,[fd00::1]:5673/shop",
        "amqps://u:p@mq:5671/shop?cafile=/ca.pem&certfile=/c.pem&keyfile=/k.pem",
        "amqps://mq/?capath=/etc/ssl/certs",
        "amqps://mq/?no_verify_ssl=1",
        "amqp://u:p@[fd00::1]:5672/",
    ],
)
def test_amqp_urls_are_taken(url: str) -> None:
    assert load(REQUIRED | {"RELAY_AMQP_URL": url}).amqp_url() == url


BAD_DATABASE_URLS = {
    "": "is empty",
    "host=db dbname=shop password=hunter2": "white space",
    "dbname=hunter2": "must begin with postgresql:// or postgres://",
    "mysql://u:hunter2@db/shop": "must begin with postgresql:// or postgres://",
    "postgresql:u:hunter2@db/shop": "must begin with",
    "postgresql:///shop": "names no host",
    "postgresql://u:hunter2@db": "names no database",
    "postgresql://u:hunter2@db:99999/shop": "ports are 1 to 65535",
    "postgresql://u:hunter2@db:/shop": "ports are 1 to 65535",
    "postgresql://u:hunter2/x@db/shop": "percent-encode",
    "postgresql://u:hunter2#x@db/shop": "percent-encode",
    "postgresql://u:hunter2?x@db/shop": "percent-encode",
    "postgresql://u:hunter2@x@db/shop": "percent-encode",
    "postgresql://u:hunter2:x@db/shop": "percent-encode",
    "postgresql://u:hunter2[x@db/shop": "percent-encode",
    "postgresql://u:hunter2%zz@db/shop": "%25",
    "postgresql://u:hunter2@db/shop?hunter2": "not name=value",
    "postgresql://u:hunter2@db/shop\n": "white space or control characters",
    "postgresql://u:hunter2\x07@db/shop": "white space or control characters",
}
BAD_AMQP_URLS = {
    "": "is empty",
    "http://u:hunter2@mq": "must begin with amqps:// or amqp://",
    "u:hunter2@mq:5672": "must begin with amqps:// or amqp://",
    "amqp://": "names no host",
    "amqp://u:hunter2@": "names no host",
    "amqp://u:hunter2@a,:5672/": "names an empty host",
    "amqp://u:hunter2@a,b:amqp/": "ports are 1 to 65535",
    "amqp://u:hunter2@mq:amqp/": "ports are 1 to 65535",
    "amqp://u:hunter2@mq:0/": "ports are 1 to 65535",
    "amqp://u:hunter2@mq/a/b": "%2F",
    "amqp://u:hunter2@mq?heartbeat=5": "set RELAY_HEARTBEAT_SECONDS",
    "amqp://u:hunter2@mq?timeout=5": "set RELAY_CONFIRM_TIMEOUT_SECONDS",
    "amqp://u:hunter2@mq?name=x": "set RELAY_NAME",
    "amqps://u:hunter2@mq?caflie=/x": "did you mean cafile?",
    "amqps://u:hunter2@mq?hunter2=1": "unknown query parameter; known are cafile",
    "amqp://u:hunter2@mq?cafile=/x": "write amqps://",
    "amqps://u:hunter2@mq?certfile=/x": "both certfile and keyfile",
}


@pytest.mark.parametrize(("url", "said"), BAD_DATABASE_URLS.items())
def test_a_database_url_that_cannot_be_used_is_refused_without_a_word_of_it(url: str, said: str) -> None:
    lines = problems(RELAY_DATABASE_URL=url)

    assert all(line.startswith("RELAY_DATABASE_URL: ") for line in lines)
    assert said in "\n".join(lines)


@pytest.mark.parametrize(("url", "said"), BAD_AMQP_URLS.items())
def test_an_amqp_url_that_cannot_be_used_is_refused_without_a_word_of_it(url: str, said: str) -> None:
    lines = problems(RELAY_AMQP_URL=url)

    assert all(line.startswith("RELAY_AMQP_URL: ") for line in lines)
    assert said in "\n".join(lines)


# -- the object ---------------------------------------------------------------------------------------------------


def test_settings_cannot_be_changed() -> None:
    settings = load(REQUIRED)

    with pytest.raises(ValueError, match="frozen"):
        settings.lanes = 3  # type: ignore[misc]


def test_the_numbers_are_given_for_the_metrics() -> None:
    numbers = load(REQUIRED).numbers()

    assert numbers["batch_size"] == 500
    assert numbers["poll_min_seconds"] == 0.02
    assert set(numbers) == {entry.name.removeprefix("RELAY_").lower() for entry in BOUNDED}


def test_the_process_environment_is_read_by_default(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("RELAY_")]:
        monkeypatch.delenv(name)
    for name, value in (REQUIRED | {"RELAY_LANES": "3"}).items():
        monkeypatch.setenv(name, value)

    assert load().lanes == 3


def test_nothing_but_load_reads_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RELAY_LANES", "3")

    assert load(REQUIRED).lanes == 2
    assert Settings(**{name: getattr(load(REQUIRED), name) for name in Settings.model_fields}).lanes == 2


def test_importing_the_settings_reads_nothing() -> None:
    env = {"PATH": os.environ["PATH"], "RELAY_BATCH_SIZE": "nonsense"}

    subprocess.run([sys.executable, "-c", "import relay.settings"], check=True, env=env, cwd=Path(__file__).parents[2])
