"""The verdict on paper."""

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from demo.verdict import Verdict

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
    table = Table(box=None, show_header=False, padding=(0, 2), pad_edge=True)
    table.add_column()
    table.add_column(justify="right")
    table.add_column()
    for what, how_much, words, fine in lines(verdict, elapsed_s=elapsed_s):
        mark = "green" if what in {"lost", "phantom", "altered"} else ""
        table.add_row(what, Text(how_much, f"bold {mark if fine else 'red'}"), Text(words, "dim"))
    console.print("\nVerdict\n", style="bold", highlight=False)
    console.print(table)
    console.print()
    passed = not (trouble or verdict.problems)
    for sentence in sentences(verdict, trouble):
        console.print(Text(sentence, "green" if passed else "bold red"), soft_wrap=not console.is_terminal)
