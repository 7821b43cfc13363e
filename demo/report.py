"""The verdict on paper."""

import textwrap
from collections.abc import Sequence

from rich.console import Console
from rich.text import Text

from demo.verdict import Verdict
from demo.view import WIDTH

PROMISES = {"lost", "phantom", "altered"}
LOG_LINE_MAX = 600

Line = tuple[str, str, str, bool]
"""What, how much, in words, and whether that is fine."""


def lines(verdict: Verdict, *, elapsed_s: float) -> list[Line]:
    """Return the table's lines."""
    lost, phantom, altered = (len(ids) for ids in (verdict.lost, verdict.phantom, verdict.altered))
    few = verdict.duplicates <= verdict.duplicates_max
    faults = f"sent again, after the faults; at most {verdict.duplicates_max:,} may be"
    bound = faults if verdict.duplicates_max else "sent again; without a fault none may be"
    table: list[Line] = [
        ("committed", f"{verdict.committed:,}", "orders whose transaction Postgres committed", verdict.committed > 0),
        ("rolled back", f"{verdict.rolled_back:,}", "orders the shop took back; nobody may hear of them", True),
        ("delivered", f"{verdict.delivered:,}", "different messages the consumer received", True),
        ("lost", f"{lost:,}", "committed, and never arrived", lost == 0),
        ("phantom", f"{phantom:,}", "arrived, and never committed", phantom == 0),
        ("altered", f"{altered:,}", "arrived with another content", altered == 0),
        ("duplicates", f"{verdict.duplicates:,}", bound, few),
        ("time", f"{elapsed_s:.0f} s", "from the first order to the relay's end", True),
    ]
    if verdict.redelivered:
        told = "handed out again by RabbitMQ itself after its stop"
        table.insert(-1, ("redelivered", f"{verdict.redelivered:,}", told, True))
    if verdict.unknown:
        told = "transactions whose end even Postgres could not tell"
        table.insert(2, ("unknown", f"{verdict.unknown:,}", told, True))
    return table


def sentences(verdict: Verdict, trouble: Sequence[str]) -> list[str]:
    """Say it in words: what went wrong, or that nothing did."""
    wrong = [*trouble, *verdict.problems]
    if wrong:
        return wrong
    twice = (
        "None came twice"
        if verdict.duplicates + verdict.redelivered == 0
        else f"{verdict.duplicates + verdict.redelivered:,} came again and were recognised by their message_id"
    )
    return [f"Every committed order arrived, and nothing else did. {twice}."]


def print_report(console: Console, verdict: Verdict, trouble: Sequence[str], *, elapsed_s: float) -> None:
    """Print the table and the sentences."""
    console.print("\nVerdict\n", style="bold")
    for what, how_much, words, fine in lines(verdict, elapsed_s=elapsed_s):
        good = "bold green" if what in PROMISES else "bold"
        console.print(
            Text.assemble(f"  {what:<12}", (f"{how_much:>8}", good if fine else "bold red"), (f"  {words}", "dim"))
        )
    console.print()
    passed = not (trouble or verdict.problems)
    for sentence in sentences(verdict, trouble):
        print_sentence(console, sentence, "bold green" if passed else "bold red")
    if trouble:
        print_sentence(console, "It broke off there, so “lost” counts what had not arrived yet, too.", "")


def print_sentence(console: Console, sentence: str, style: str) -> None:
    """Print it wrapped; what a process wrote comes after it, as it was."""
    first, *rest = sentence.splitlines()
    console.print(textwrap.fill(first, WIDTH - 1), style=style, soft_wrap=True, markup=False)
    for line in rest:
        console.print(Text(f"  {line[:LOG_LINE_MAX]}", "dim"), soft_wrap=True)
