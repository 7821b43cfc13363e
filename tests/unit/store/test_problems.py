"""Facts about the table → what is wrong, with the statement that mends it."""

from dataclasses import replace

import pytest

from relay.model import Fault
from relay.store.facts import Column, Facts, Index, Sequence
from relay.store.problems import Problem, find_problems, unavailable_for

TYPES = {
    "id": "bigint",
    "message_id": "uuid",
    "exchange": "text",
    "routing_key": "text",
    "key": "text",
    "payload": "jsonb",
    "content_type": "text",
    "headers": "jsonb",
    "properties": "jsonb",
    "status": "text",
    "available_at": "timestamp with time zone",
    "claimed_until": "timestamp with time zone",
    "claim_token": "uuid",
    "claims": "integer",
    "failures": "integer",
    "last_error": "text",
    "created_at": "timestamp with time zone",
    "sent_at": "timestamp with time zone",
}
NULLABLE = {"exchange", "key", "claimed_until", "claim_token", "last_error", "sent_at"}


def index(name: str, key: str, predicate: str | None, *, valid: bool = True) -> Index:
    """A btree index."""
    return Index(name, valid=valid, ordered=True, keys=(key,), descending=False, predicate=predicate)


PRIMARY = index("message_pkey", "id", None)
PENDING = index("message_pending", "id", "(status = 'pending'::text)")
GOOD = Facts(
    version=150018,
    encoding="UTF8",
    recovering=False,
    login="svc",
    schema_exists=True,
    schema_usage=True,
    kind="r",
    row_security=False,
    columns=tuple(
        Column(name, kind, 25, name not in NULLABLE, may_select=True, may_update=True) for name, kind in TYPES.items()
    ),
    indexes=(
        PENDING,
        PRIMARY,
        index("message_retrying", "id", "((status = 'pending'::text) AND (failures > 0))"),
        index("message_failed", "id", "(status = 'failed'::text)"),
        index("message_sent", "sent_at", "(status = 'sent'::text)"),
    ),
    sequence=Sequence("outbox", "message_id_seq", 1),
    triggers=(),
)


def problems(facts: Facts) -> tuple[Problem, ...]:
    """Of the default table."""
    return find_problems(facts, "outbox", "message")


def with_column(name: str, **changes: object) -> Facts:
    """The good table, with one column otherwise."""
    columns = (replace(each, **changes) if each.name == name else each for each in GOOD.columns)  # type: ignore[arg-type]
    return replace(GOOD, columns=tuple(columns))


def test_the_table_of_the_migrations_is_right() -> None:
    assert problems(GOOD) == ()
    assert unavailable_for(()) is None


CASES = [
    (replace(GOOD, version=130000), "server.old", "Postgres 13", "upgrade"),
    (replace(GOOD, recovering=True), "server.read_only", "standby", "primary"),
    (replace(GOOD, schema_exists=False, kind=None), "schema.missing", 'no schema "outbox"', "relay migrate up"),
    (replace(GOOD, kind=None), "schema.missing", 'no table "outbox"."message"', "relay migrate up"),
    (replace(GOOD, schema_usage=False), "schema.usage", "USAGE", 'GRANT USAGE ON SCHEMA "outbox" TO "svc";'),
    (replace(GOOD, kind="v"), "table.kind", "is a view, not a table", "RELAY_TABLE"),
    (replace(GOOD, kind="?"), "table.kind", "is no table", "RELAY_TABLE"),
    (
        replace(GOOD, columns=tuple(each for each in GOOD.columns if each.name != "claims")),
        "column.missing",
        "column claims is missing",
        'ALTER TABLE "outbox"."message" ADD COLUMN claims integer NOT NULL DEFAULT 0;',
    ),
    (
        replace(GOOD, columns=tuple(each for each in GOOD.columns if each.name != "sent_at")),
        "column.missing",
        "sent_at",
        'ALTER TABLE "outbox"."message" ADD COLUMN sent_at timestamp with time zone;',
    ),
    (
        with_column("available_at", type="timestamp without time zone"),
        "column.type",
        "is of type timestamp without time zone, not timestamp with time zone",
        "ALTER COLUMN available_at TYPE timestamp with time zone USING available_at::timestamp with time zone;",
    ),
    (with_column("payload", type="xml"), "column.type", "not jsonb or bytea or", "TYPE jsonb USING payload::jsonb;"),
    (
        with_column("headers", not_null=False),
        "column.nullable",
        "column headers may hold NULL",
        'ALTER TABLE "outbox"."message" ALTER COLUMN headers SET NOT NULL;',
    ),
    (
        with_column("payload", may_select=False),
        "grant.select",
        "svc may not SELECT payload",
        'GRANT SELECT (payload) ON "outbox"."message" TO "svc";',
    ),
    (
        with_column("claims", may_update=False),
        "grant.update",
        "svc may not UPDATE claims",
        'GRANT UPDATE (claims) ON "outbox"."message" TO "svc";',
    ),
    (replace(GOOD, row_security=True), "table.row_security", "hide rows", 'ALTER ROLE "svc" BYPASSRLS;'),
    (
        replace(GOOD, indexes=GOOD.indexes[1:]),
        "index.pending",
        "each claim reads the whole table",
        'CREATE INDEX CONCURRENTLY ON "outbox"."message" (id) WHERE status = \'pending\';',
    ),
    (
        replace(GOOD, indexes=(PENDING, *GOOD.indexes[2:])),
        "index.id",
        "no index on (id): without it each mark reads the whole table",
        'CREATE INDEX CONCURRENTLY ON "outbox"."message" (id);',
    ),
    (
        replace(GOOD, indexes=(replace(PENDING, valid=False), *GOOD.indexes[1:])),
        "index.pending",
        "index message_pending is not valid",
        'REINDEX INDEX CONCURRENTLY "outbox"."message_pending";',
    ),
]


@pytest.mark.parametrize(("facts", "code", "text", "fix"), CASES, ids=[case[1] for case in CASES])
def test_each_problem_is_told_with_what_mends_it(facts: Facts, code: str, text: str, fix: str) -> None:
    (problem,) = problems(facts)
    assert problem.code == code
    assert text in problem.text
    assert fix in problem.fix
    assert problem.blocking


@pytest.mark.parametrize(
    ("facts", "code"),
    [
        (replace(GOOD, sequence=Sequence("outbox", "s", 20)), "sequence.cache"),
        (replace(GOOD, triggers=("audit",)), "table.trigger"),
        (replace(GOOD, indexes=(PENDING, PRIMARY)), "index.retrying"),
        (replace(GOOD, indexes=GOOD.indexes[:4]), "index.sent"),
        (replace(GOOD, indexes=(*GOOD.indexes[:3], GOOD.indexes[4])), "index.failed"),
    ],
)
def test_what_only_slows_or_surprises_is_a_warning(facts: Facts, code: str) -> None:
    assert code in [each.code for each in problems(facts)]
    assert not any(each.blocking for each in problems(facts))
    assert unavailable_for(problems(facts)) is None


@pytest.mark.parametrize(
    "other",
    [
        index("theirs", "id", "status = 'pending'"),
        index("theirs", "id", "((status)::text = 'pending'::text)"),
        replace(PENDING, keys=("id", "key")),
    ],
)
def test_an_equivalent_index_will_do_whatever_its_name(other: Index) -> None:
    assert problems(replace(GOOD, indexes=(other, *GOOD.indexes[1:]))) == ()


@pytest.mark.parametrize(
    "other",
    [
        index("theirs", "id", None),
        index("theirs", "available_at", "(status = 'pending'::text)"),
        index("theirs", "id", "((status = 'pending'::text) AND (exchange IS NULL))"),
        replace(PENDING, ordered=False),
        replace(PENDING, descending=True),
        replace(PENDING, keys=("key", "id")),
    ],
)
def test_an_index_that_cannot_carry_a_claim_will_not_do(other: Index) -> None:
    (problem,) = problems(replace(GOOD, indexes=(other, *GOOD.indexes[1:])))
    assert problem.code == "index.pending"


@pytest.mark.parametrize("kind", ["jsonb", "json", "text", "bytea", "character varying"])
def test_a_payload_of_each_type_will_do(kind: str) -> None:
    assert problems(with_column("payload", type=kind)) == ()


def test_a_partitioned_table_and_a_table_without_a_sequence_will_do() -> None:
    assert problems(replace(GOOD, kind="p", sequence=None)) == ()


def test_the_port_is_told_every_blocking_problem_at_once() -> None:
    facts = replace(with_column("claims", may_update=False), indexes=GOOD.indexes[1:], triggers=("audit",))
    error = unavailable_for(problems(facts))
    assert error is not None
    assert (error.fault, error.detail.count("CREATE INDEX"), "audit" in error.detail) == (Fault.PERMISSION, 1, False)


def test_hostile_names_stay_whole_in_what_mends() -> None:
    (problem,) = find_problems(replace(GOOD, login='we"ird', row_security=True), "outbox", "message")
    assert problem.fix == 'ALTER ROLE "we""ird" BYPASSRLS;'
