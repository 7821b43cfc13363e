"""Properties of the pure decisions that no table of cases can show."""

import json

from hypothesis import given
from hypothesis import strategies as st

from relay.decide import RetryPolicy, backoff_s, clean, mark, quarantine
from relay.envelope import SealPolicy, seal
from relay.model import (
    Confirmed,
    Envelope,
    Failed,
    Fault,
    Outcome,
    Refusal,
    Refused,
    Release,
    Retry,
    Row,
    Sent,
    Unknown,
    Unreachable,
)
from tests.doubles import a_row

texts = st.text(st.characters(exclude_categories=())) | st.text(max_size=3).map(lambda text: text * 150)
leaves = st.none() | st.booleans() | st.integers() | st.floats() | texts
values = st.recursive(leaves, lambda inner: st.lists(inner) | st.dictionaries(texts, inner), max_leaves=20)
names = texts | st.sampled_from(["CC", "BCC", "x-outbox-id", "priority", "expiration", "type", "reply_to"])
documents = st.dictionaries(names, values).map(json.dumps) | values.map(json.dumps) | texts
hostile = st.sampled_from(
    ["[" * 60_000, '{"a":' * 60_000, '{"a": ' + "9" * 5000 + "}", '{"a": 1e999}', "\x00", "\ufeff{}"]
)
rows = st.builds(
    a_row,
    id=st.integers(1, 2**63 - 1),
    message_id=st.uuids().map(str),
    exchange=st.none() | texts,
    routing_key=texts,
    payload=st.none() | st.binary(max_size=50),
    payload_bytes=st.integers(0, 200),
    content_type=texts,
    headers=documents | hostile,
    properties=documents | hostile,
    claims=st.integers(1, 20),
    failures=st.integers(0, 20),
    doubtful=st.booleans(),
)
light_rows = st.builds(a_row, id=st.integers(1, 99), claims=st.integers(1, 6), failures=st.integers(0, 2))
outcomes: st.SearchStrategy[Outcome] = st.one_of(
    st.just(Confirmed()),
    st.builds(Refused, st.sampled_from(Refusal), texts),
    st.builds(Unknown, texts),
    st.builds(Unreachable, st.sampled_from(Fault), texts, written=st.booleans()),
)
policies = st.builds(
    RetryPolicy, max_failures=st.integers(1, 100), base_s=st.floats(0.001, 1e6), max_s=st.floats(0.001, 1e9)
)
jitters = st.floats(0, 1, exclude_max=True)


@given(row=rows)
def test_sealing_never_raises_and_what_is_sealed_fits_the_wire(row: Row) -> None:
    sealed = seal(row, SealPolicy("events", 100))
    if isinstance(sealed, Refused):
        assert sealed.reason in {Refusal.INVALID, Refusal.TOO_LARGE}
        return
    assert isinstance(sealed, Envelope)
    assert sealed.body == row.payload
    for name in (sealed.exchange, sealed.routing_key, sealed.content_type):
        assert len(name.encode()) <= 255
    json.dumps(dict(sealed.headers), allow_nan=False, ensure_ascii=False).encode()


@given(row=light_rows, outcome=outcomes, policy=policies, jitter=jitters)
def test_every_outcome_has_a_mark_and_only_a_refusal_charges_the_row(
    row: Row, outcome: Outcome, policy: RetryPolicy, jitter: float
) -> None:
    decided = mark(row, outcome, policy, jitter=jitter)
    assert decided.row_id == row.id
    match outcome:
        case Confirmed():
            assert isinstance(decided, Sent)
        case Unknown() | Unreachable():
            assert isinstance(decided, Release)
        case Refused():
            assert isinstance(decided, Retry | Failed)


@given(failures=st.integers(0, 10**9), policy=policies, jitter=jitters)
def test_a_backoff_stays_within_its_bounds(failures: int, policy: RetryPolicy, jitter: float) -> None:
    assert 0 <= backoff_s(failures, policy, jitter) <= policy.max_s


@given(failures=st.integers(0, 100), policy=policies, jitter=jitters)
def test_a_backoff_never_shrinks_with_more_failures(failures: int, policy: RetryPolicy, jitter: float) -> None:
    assert backoff_s(failures, policy, jitter) <= backoff_s(failures + 1, policy, jitter)


@given(text=texts)
def test_a_cleaned_text_can_be_stored(text: str) -> None:
    cleaned = clean(text)
    assert (len(cleaned) <= 1000, "\x00" in cleaned, clean(cleaned)) == (True, False, cleaned)
    cleaned.encode()


@given(claim=st.lists(light_rows, max_size=8, unique_by=lambda row: row.id), suspects=st.sets(st.integers(1, 99)))
def test_a_claim_is_split_without_losing_a_row(claim: list[Row], suspects: set[int]) -> None:
    together, alone = quarantine(claim, suspects)
    assert sorted((*together, *alone)) == sorted(claim)
    assert {row.id for row in alone} == suspects & {row.id for row in claim}
