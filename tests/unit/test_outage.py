"""The outage machine, transition by transition."""

import pytest

from relay.model import Fault
from relay.outage import Flowing, Outage, OutagePolicy, Probing, Proof, State, cautious, claim_limit, fail, probe, prove

POLICY = OutagePolicy(first_s=1.0, max_s=30.0)
OUTAGE = Outage(Fault.LOST, "reset", since=10.0, probes=2, next_at=17.0)
PROBING = Probing(Fault.LOST, "reset", since=10.0, probes=3)


def failed(state: State, *, jitter: float = 0.0) -> Outage:
    return fail(state, Fault.AUTH, "refused", now=100.0, jitter=jitter, policy=POLICY)


@pytest.mark.parametrize("state", [Flowing(), Flowing(limit=10), Flowing(limit=1, proven=False)])
def test_a_failure_opens_an_outage(state: Flowing) -> None:
    assert failed(state) == Outage(Fault.AUTH, "refused", since=100.0, probes=0, next_at=100.5)


def test_late_news_of_a_failure_change_nothing() -> None:
    assert failed(OUTAGE) is OUTAGE


def test_a_probe_that_fails_says_why_and_keeps_since() -> None:
    assert failed(PROBING) == Outage(Fault.AUTH, "refused", since=10.0, probes=3, next_at=104.0)


@pytest.mark.parametrize(("probes", "ceiling"), [(0, 1), (1, 2), (2, 4), (3, 8), (4, 16), (5, 30), (10**6, 30)])
def test_the_rest_doubles_to_the_longest_and_half_of_it_is_jitter(probes: int, ceiling: float) -> None:
    state = Probing(Fault.LOST, "", since=0.0, probes=probes)
    rests = [failed(state, jitter=jitter).next_at - 100 for jitter in (0.0, 0.5, 1.0)]
    assert rests == pytest.approx([ceiling / 2, ceiling * 0.75, ceiling])


def test_a_probe_counts_itself_and_keeps_why_and_since() -> None:
    assert probe(OUTAGE) == PROBING


@pytest.mark.parametrize(
    ("state", "proof", "after"),
    [
        (PROBING, Proof.ANSWER, Flowing(limit=1)),
        (PROBING, Proof.CONNECTION, Flowing(limit=1, proven=False)),
        (Flowing(limit=1, proven=False), Proof.ANSWER, Flowing(limit=10)),
        (Flowing(limit=1, proven=False), Proof.CONNECTION, Flowing(limit=1, proven=False)),
        (Flowing(limit=1), Proof.ANSWER, Flowing(limit=10)),
        (Flowing(limit=10), Proof.ANSWER, Flowing(limit=100)),
        (Flowing(limit=100), Proof.ANSWER, Flowing()),
        (Flowing(limit=100), Proof.CONNECTION, Flowing(limit=100)),
        (Flowing(), Proof.ANSWER, Flowing()),
        (Flowing(), Proof.CONNECTION, Flowing()),
        (OUTAGE, Proof.ANSWER, OUTAGE),
        (OUTAGE, Proof.CONNECTION, OUTAGE),
    ],
)
def test_good_news_end_a_probe_or_widen_the_flow(state: State, proof: Proof, after: State) -> None:
    assert prove(state, proof) == after


@pytest.mark.parametrize(
    ("state", "limit", "is_cautious"),
    [
        (OUTAGE, 0, True),
        (PROBING, 1, True),
        (Flowing(limit=1), 1, True),
        (Flowing(limit=10), 10, True),
        (Flowing(limit=100), 50, True),
        (Flowing(), 50, False),
    ],
)
def test_a_state_says_how_much_may_be_claimed(state: State, limit: int, is_cautious: bool) -> None:  # noqa: FBT001
    assert (claim_limit(state, batch=50), cautious(state)) == (limit, is_cautious)
