"""Judges a history: seven promises, each kept, broken or not judged. Pure: no file, no clock, no server.

What it needs of the run: one durable queue without a limit or a TTL takes every message, one consumer drains it and
records in its order, the table keeps its rows to the end. Where the broker is restarted it must be a quorum queue: a
classic one may flag whatever it recovers as redelivered, which would hide copies of the relay's.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from chaos import findings
from chaos.evidence import Evidence, sift
from chaos.history import Fate, History
from chaos.liveness import longest_stall
from chaos.repeats import FaultFigures, attribute

LOST, PHANTOM, DUPLICATES, ORDER, MARKS, INTEGRITY, LIVENESS = PROMISES = (
    "nothing is lost",
    "nothing uncommitted is sent",
    "duplicates are bounded",
    "each key keeps its order",
    "marks tell the truth",
    "messages are whole",
    "the relay recovers",
)
Finder = Callable[[Evidence], Iterator[str]]

FINDINGS: Mapping[str, tuple[str, str, Finder]] = {
    "lost": (LOST, "committed and never arrived", findings.lost),
    "pending": (LOST, "still pending at the end", findings.pending),
    "missing": (LOST, "committed, and the table has forgotten them", findings.missing),
    "failed_without_cause": (LOST, "given up for a reason that nothing explains", findings.failed_without_cause),
    "phantom_rolled_back": (PHANTOM, "rolled back and arrived", findings.phantom_rolled_back),
    "phantom_vanished": (PHANTOM, "not in the table and arrived", findings.phantom_vanished),
    "phantom_unknown": (PHANTOM, "tried by nobody and arrived", findings.phantom_unknown),
    "order_violations": (ORDER, "first delivered after a younger one of their key", findings.order_violations),
    "false_sent": (MARKS, "marked sent and never arrived", findings.false_sent),
    "false_failed": (MARKS, "given up and arrived, without a doubt", findings.false_failed_without_doubt),
    "sent_early": (MARKS, "marked sent before they were", findings.sent_early),
    "altered": (INTEGRITY, "altered on the way", findings.altered),
    "unmarked": (INTEGRITY, "repeated without x-outbox-attempt", findings.unmarked),
    "charged": (LIVENESS, "charged with a failure that nothing explains", findings.charged),
}
"""What is found wrong: the promise it breaks, and the words after the number of messages."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """What became of one promise."""

    promise: str
    judged: bool
    """Whether this history can tell."""
    problems: Sequence[str]
    """A sentence for everything that broke it."""

    @property
    def word(self) -> str:
        """Say it in a word or two."""
        if not self.judged:
            return "not judged"
        return "broken" if self.problems else "kept"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the history shows."""

    figures: Mapping[str, float | None]
    """By the names in `chaos.report.FIGURES`; None: this run cannot tell."""
    judgements: Sequence[Judgement]
    faults: Sequence[FaultFigures]
    found: Mapping[str, Sequence[str]]
    """The messages behind the figures of FINDINGS."""

    @property
    def problems(self) -> tuple[str, ...]:
        """Return the sentences of every broken promise; none is a pass."""
        nothing = () if self.figures["committed"] else ("Nothing was committed, so nothing was shown.",)
        return (*(sentence for each in self.judgements for sentence in each.problems), *nothing)


def check(history: History) -> Verdict:
    """Judge a history."""
    evidence, run = sift(history), history.run
    unjudged = {ORDER: not run.ordered}
    found = {
        name: () if unjudged.get(promise) else tuple(find(evidence)) for name, (promise, _, find) in FINDINGS.items()
    }
    repeats = attribute(evidence)
    figures = _counts(evidence) | {name: len(lines) for name, lines in found.items()}
    figures |= {"duplicated": len(evidence.copies), "unexplained": len(repeats.unexplained)} | _times(evidence)
    figures["order_violations"] = len(found["order_violations"]) if run.ordered else None
    figures["handed_out_late"] = len(list(findings.handed_out_late(evidence))) if run.ordered else None
    figures["regressions"] = len(list(findings.regressions(evidence))) if run.ordered else None
    problems: dict[str, list[str]] = {promise: [] for promise in PROMISES}
    for name, (promise, words, _) in FINDINGS.items():
        problems[promise] += _sentence(found[name], words)
    problems[DUPLICATES] += _beyond(figures)
    problems[DUPLICATES] += _sentence([each.message_id for each in repeats.unexplained], "sent again without a fault")
    problems[LIVENESS] += _too_long(history, figures)
    judgements = [Judgement(each, not unjudged.get(each, False), problems[each]) for each in PROMISES]
    return Verdict(figures, judgements, repeats.faults, found)


def _counts(evidence: Evidence) -> dict[str, float | None]:
    """Count what is neither right nor wrong, as Jepsen's total-queue does."""
    history, run = evidence.history, evidence.history.run
    unknown = {each.message_id for each in history.attempts if each.fate is Fate.UNKNOWN}
    spreading = [fault for fault in history.faults if fault.repeats_max]
    return {
        "attempted": len(evidence.attempts),
        "committed": len(evidence.committed),
        "rolled_back": sum(each.fate is Fate.ROLLED_BACK for each in history.attempts),
        "unknown": len(unknown),
        "recovered": len(unknown & evidence.committed.keys() & evidence.firsts.keys()),
        "erased": len(evidence.erased),
        "delivered": len(evidence.committed.keys() & evidence.firsts.keys()),
        "failed": len(evidence.of_status("failed")),
        "duplicates_max": sum(fault.repeats_max for fault in spreading),
        "duplicates_black_box": len(spreading) * run.in_flight_max * run.replicas,
        "redelivered": evidence.redelivered,
        "given_up_and_arrived": sum(1 for _ in findings.false_failed(evidence)),
    }


def _times(evidence: Evidence) -> dict[str, float | None]:
    run = evidence.history.run
    calm = max((fault.ended for fault in evidence.history.faults), default=run.began)
    recovery = None if run.emptied is None else max(0.0, run.emptied - calm)
    return {"recovery_s": recovery, "longest_stall_s": longest_stall(evidence)}


def _beyond(figures: Mapping[str, float | None]) -> Iterator[str]:
    duplicated = figures["duplicated"] or 0
    for name, words in (("duplicates_max", "the faults explain"), ("duplicates_black_box", "that could be in flight")):
        most = figures[name] or 0
        if duplicated > most:
            yield f"{duplicated:,} duplicates are more than the {most:,} {words}."


def _too_long(history: History, figures: Mapping[str, float | None]) -> Iterator[str]:
    run = history.run
    if run.emptied is None:
        yield "The backlog was never seen empty after the last fault."
    for name, most, words in (
        (
            "recovery_s",
            run.recovery_max_s,
            "The backlog was empty {:.1f} s after the last fault, {:.1f} s are allowed.",
        ),
        (
            "longest_stall_s",
            run.stall_max_s,
            "Nothing arrived for {:.1f} s although rows waited, {:.1f} s are allowed.",
        ),
    ):
        took = figures[name]
        if took is not None and most is not None and took > most:
            yield words.format(took, most)


def _sentence(lines: Sequence[str], words: str) -> Iterable[str]:
    if lines:
        yield f"{len(lines):,} {words}, such as {lines[0]}."
