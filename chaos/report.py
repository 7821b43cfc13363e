"""The verdict on paper: for a terminal, as Markdown and as JSON, always with versions, seed and the history's hash."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict

from chaos.checker import FINDINGS, Verdict
from chaos.history import Run

FIGURES: Mapping[str, str] = {
    "attempted": "rows that producers tried to write",
    "committed": "of them, rows that hold",
    "rolled_back": "taken back; nobody may hear of them",
    "unknown": "COMMITs that nobody answered",
    "recovered": "of those, rows that held and arrived",
    "erased": "committed, and forgotten by Postgres itself",
    "delivered": "different committed messages that arrived",
    "failed": "rows given up with a reason",
    "given_up_and_arrived": "of those, rows that had arrived all the same",
    "duplicated": "copies the relay sent again",
    "duplicates_max": "copies the faults explain, each counted by itself",
    "duplicates_black_box": "faults that repeat, times the rows all replicas may have in flight",
    "unexplained": "copies without a fault",
    "redelivered": "copies the broker handed out again by itself",
    "handed_out_late": "rows that the broker handed out unseen, and again after a younger one of their key",
    "regressions": "copies that came after a younger message of their key",
    "recovery_s": "seconds from the end of the last fault to the empty backlog",
    "longest_stall_s": "seconds without an arrival while rows waited and no fault lasted",
} | {name: words for name, (_, words, _) in FINDINGS.items()}
"""Every figure, in the order of the table."""


def text(verdict: Verdict, run: Run, fingerprint: str) -> str:
    """Write it for a terminal."""
    lines = [
        f"  {name.replace('_', ' '):<22}{_number(value):>12}  {FIGURES[name]}" for name, value in _figures(verdict)
    ]
    faults = [
        f"  {each.name:<30}{each.times:>6}{each.repeats:>9}{each.most:>9}{each.repeats_max:>9}"
        for each in verdict.faults
    ]
    judged = [f"  {each.promise:<30}{each.word}" for each in verdict.judgements]
    head = f"  {'fault':<30}{'times':>6}{'repeats':>9}{'at once':>9}{'allowed':>9}"
    return "\n".join(
        [
            *lines,
            "",
            *([head, *faults, ""] if faults else []),
            *judged,
            "",
            *_facts(run, fingerprint),
            "",
            *said(verdict),
        ]
    )


def markdown(verdict: Verdict, run: Run, fingerprint: str) -> str:
    """Write it for the documents."""
    figures = _table(("Figure", "", "What it counts"), ((n, _number(v), FIGURES[n]) for n, v in _figures(verdict)))
    faults = _table(
        ("Fault", "Times", "Duplicates", "Most at once", "Allowed"),
        ((e.name, f"{e.times:,}", f"{e.repeats:,}", f"{e.most:,}", f"{e.repeats_max:,}") for e in verdict.faults),
    )
    judged = _table(("Promise", "Judgement"), ((each.promise, each.word) for each in verdict.judgements))
    facts = "".join(f"- {fact.strip()}\n" for fact in _facts(run, fingerprint))
    return f"{figures}\n{faults}\n{judged}\n{facts}"


def as_json(verdict: Verdict, run: Run, fingerprint: str) -> str:
    """Write it for a program."""
    document = {
        "passed": not verdict.problems,
        "problems": verdict.problems,
        "figures": dict(verdict.figures),
        "judgements": {each.promise: each.word for each in verdict.judgements},
        "faults": [asdict(each) for each in verdict.faults],
        "run": asdict(run),
        "history": fingerprint,
    }
    return json.dumps(document, indent=2, ensure_ascii=False)


def said(verdict: Verdict) -> Sequence[str]:
    """Say it in sentences: what was broken, or that nothing was."""
    return verdict.problems or ("Every promise that could be judged was kept.",)


def _figures(verdict: Verdict) -> Iterator[tuple[str, float | None]]:
    return ((name, verdict.figures[name]) for name in FIGURES)


def _number(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:,}" if value == int(value) else f"{value:,.1f}"


def _facts(run: Run, fingerprint: str) -> Iterator[str]:
    took = f"{run.ended - run.began:,.0f} s"
    yield f"  seed {run.seed}, {took}, replicas: {run.replicas}, rows in flight in each: {run.in_flight_max}"
    yield "  " + ", ".join(f"{name} {version}" for name, version in run.versions.items())
    yield f"  raw history sha256 {fingerprint}"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)
