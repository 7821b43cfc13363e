"""The outage machine under any sequence of news: it always comes back, and never knocks too often or too rarely."""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from relay.model import Fault
from relay.outage import Flowing, Outage, OutagePolicy, Probing, Proof, State, claim_limit, fail, probe, prove

POLICY = OutagePolicy(first_s=1.0, max_s=30.0)
STEPS_TO_FULL_FLOW = 5
"""A probe, then 1, 10, 100, full."""


class OutageMachine(RuleBasedStateMachine):
    """News in any order, while time passes."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 1000.0
        self.state: State = Flowing()
        self.since: float | None = None

    @rule(seconds=st.floats(0, 100))
    def wait(self, seconds: float) -> None:
        """Let time pass."""
        self.now += seconds

    @rule(fault=st.sampled_from(Fault), jitter=st.floats(0, 1, exclude_max=True))
    def fail(self, fault: Fault, jitter: float) -> None:
        """Meet a failure."""
        if self.since is None:
            self.since = self.now
        self.state = fail(self.state, fault, "text", now=self.now, jitter=jitter, policy=POLICY)

    @rule(proof=st.sampled_from(Proof))
    def prove(self, proof: Proof) -> None:
        """Hear good news."""
        self.state = prove(self.state, proof)
        if isinstance(self.state, Flowing):
            self.since = None

    @precondition(lambda self: isinstance(self.state, Outage) and self.now >= self.state.next_at)
    @rule()
    def probe(self) -> None:
        """Knock."""
        assert isinstance(self.state, Outage)
        self.state = probe(self.state)

    @invariant()
    def nothing_is_claimed_in_an_outage(self) -> None:
        """And one row as a probe."""
        limit = claim_limit(self.state, 500)
        assert (limit == 0) == isinstance(self.state, Outage)
        assert limit == 1 or not isinstance(self.state, Probing)

    @invariant()
    def a_rest_is_bounded(self) -> None:
        """By half of the first sleep and the longest."""
        if isinstance(self.state, Outage):
            assert self.state.next_at <= self.now + POLICY.max_s

    @invariant()
    def the_beginning_of_an_outage_is_kept(self) -> None:
        """However many probes failed."""
        began = None if isinstance(self.state, Flowing) else self.state.since
        assert began == self.since

    @invariant()
    def a_working_server_flows_in_full_within_a_few_steps(self) -> None:
        """From any state."""
        state = self.state
        for _ in range(STEPS_TO_FULL_FLOW):
            state = prove(probe(state) if isinstance(state, Outage) else state, Proof.ANSWER)
        assert state == Flowing()


TestOutageMachine = OutageMachine.TestCase
TestOutageMachine.settings = settings(max_examples=100, stateful_step_count=40)
