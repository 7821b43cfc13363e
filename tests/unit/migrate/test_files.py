"""The migration files themselves, and how names are put into them."""

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay import migrate
from relay.migrate import MigrationError, UnknownOptIn, outside
from relay.migrate.files import NAME_BYTES_MAX, Migration, Names, folder, migrations, opt_ins, render

SQL = Path(__file__).parents[3] / "sql"
FILES = sorted((SQL / "migrations").glob("*.sql"))
APPLIED = [*FILES, *sorted((SQL / "functions").glob("*.sql")), *sorted((SQL / "roles").glob("*.sql"))]
NAMES = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), min_size=1).filter(
    lambda name: len(name.encode()) <= NAME_BYTES_MAX and name != "migration"
)


def test_the_migrations_are_numbered_pairs_without_gaps() -> None:
    assert [str(each) for each in migrations()] == ["0001_message", "0002_functions", "0003_roles", "0004_fillfactor"]
    assert [str(each) for each in opt_ins()] == ["1001_ordering", "1002_doorbell"]
    assert folder() == SQL / "migrations"


def test_an_unknown_opt_in_is_told_with_the_known_ones() -> None:
    with pytest.raises(UnknownOptIn, match=r"no opt-in migration 'oredring'; there are: ordering, doorbell"):
        migrate.sql(only="oredring")


def test_an_opt_in_is_printed_alone_and_only_when_named() -> None:
    text = migrate.sql(schema="a", table="b", only="ordering")
    assert (text.startswith("-- 1001_ordering\n"), text.count('"b_key" ON "a"."b"')) == (True, 1)
    assert migrate.sql(only="ordering", backwards=True).count("DROP INDEX") == 2
    assert "ordering" not in migrate.sql() + migrate.sql(backwards=True)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_a_migration_says_when_to_apply_it_and_what_for(path: Path) -> None:
    first, second = path.read_text().splitlines()[:2]
    when = r"opt-in(, outside a transaction)?" if path.name >= "1001" else "(pre|post) deploy"
    assert re.fullmatch(rf"-- {when}: [^.]+\.", first)
    assert (second == "SET LOCAL lock_timeout = '5s';") == (not outside.is_marked(path.read_text()))


def test_a_file_outside_a_transaction_is_cut_where_a_semicolon_ends_a_line() -> None:
    text = "-- opt-in, outside a transaction: makes a; b.\n\nSELECT ';',\n  1;\n-- why\nSELECT 2; SELECT 3;\n"
    assert outside.statements(text) == [
        "-- opt-in, outside a transaction: makes a; b.\n\nSELECT ';',\n  1;",
        "-- why\nSELECT 2; SELECT 3;",
    ]


@pytest.mark.parametrize("path", [path for path in FILES if outside.is_marked(path.read_text())], ids=lambda p: p.name)
def test_what_runs_outside_a_transaction_may_run_twice(path: Path) -> None:
    safe = r"(?m)^(CREATE INDEX CONCURRENTLY IF NOT EXISTS|DROP INDEX CONCURRENTLY IF EXISTS|COMMENT ON) "
    assert [each for each in outside.statements(path.read_text()) if len(re.findall(safe, each)) != 1] == []


@pytest.mark.parametrize("path", APPLIED, ids=lambda path: path.name)
def test_no_comment_and_no_string_can_take_a_name_in(path: Path) -> None:
    """A name with a line break would end a comment, one with a quote a string."""
    text = path.read_text()
    comments = re.findall(r"--.*", text)
    strings = re.findall(r"'(?:[^']|'')*'", re.sub(r"--.*", "", text))
    assert [each for each in comments if '"' in each] == []
    assert {each for each in strings if '"' in each} <= {"""'"outbox"."message"'"""}


@pytest.mark.parametrize("path", APPLIED, ids=lambda path: path.name)
def test_every_name_that_depends_on_the_settings_is_quoted(path: Path) -> None:
    code = re.sub(r"--.*|'(?:[^']|'')*'|\"[^\"]*\"", "", path.read_text())
    assert re.findall(r"\b(outbox|message(?!_id\b)\w*)\b", code) == []


def test_with_the_default_names_the_files_are_printed_as_they_are() -> None:
    expected = "\n".join(f"-- {each}\n{each.up}" for each in migrations())
    assert migrate.sql() == expected
    assert migrate.sql(backwards=True).startswith("-- 0004_fillfactor\n")


@given(schema=NAMES, table=NAMES)
def test_any_names_are_put_in_whole(schema: str, table: str) -> None:
    quoted = ['"' + name.replace('"', '""') + '"' for name in (schema, table)]
    rendered = render('CREATE TABLE "outbox"."message" (); "outbox_relay"', Names(schema, table))
    assert rendered == f'CREATE TABLE {quoted[0]}.{quoted[1]} (); "outbox_relay"'


@given(schema=NAMES, table=NAMES)
def test_no_name_ends_a_block_early(schema: str, table: str) -> None:
    rendered = render('DO $do$ "outbox"."message" $do$', Names(schema, table))
    tag = rendered.split()[1]
    assert rendered.count(tag) == 2
    assert (rendered.startswith(f"DO {tag} "), rendered.endswith(f" {tag}")) == (True, True)


@given(NAMES, NAMES)
def test_derived_names_fit_and_differ_between_tables_and_suffixes(one: str, other: str) -> None:
    suffixes = ["", "_pkey", "_pending", "_retrying", "_failed", "_sent", "_status_check", "_key", "_failed_key"]
    derived = [Names(table=name).derived(suffix) for name in {one, other} for suffix in suffixes]
    assert all(len(name.encode()) <= NAME_BYTES_MAX for name in derived)
    if not one.startswith(other) and not other.startswith(one):
        assert len(set(derived)) == len(derived)


@pytest.mark.parametrize(
    ("schema", "table", "said"),
    [
        ("", "message", "the schema name has 0 bytes"),
        ("outbox", "ü" * 32, "the table name has 64 bytes"),
        ("a\x00b", "message", "the schema name holds a character"),
        ("outbox", "\ud800", "the table name holds a character"),
        ("outbox", "migration", "the table cannot be named migration"),
    ],
)
def test_names_that_postgres_would_change_are_refused(schema: str, table: str, said: str) -> None:
    with pytest.raises(MigrationError, match=said):
        migrate.sql(schema, table)


def test_a_checksum_is_of_the_released_text_and_changes_with_it() -> None:
    one, two = Migration(1, "a", "x", "y"), Migration(1, "a", "x ", "y")
    assert one.checksum != two.checksum
    assert one.checksum == Migration(2, "b", "x", "z").checksum


def test_the_readable_sources_are_what_the_migrations_carry() -> None:
    ups = "\n".join(each.up for each in migrations())
    for path in (*sorted((SQL / "functions").glob("*.sql")), *sorted((SQL / "roles").glob("*.sql"))):
        assert path.read_text() in ups, path.name
