"""docs/contracts.md, made from the names and docstrings of the contract tests: `python -m tests.contract.page`."""

import ast
from collections.abc import Iterator
from pathlib import Path

FOLDER = Path(__file__).parent
PAGE = FOLDER.parents[1] / "docs" / "contracts.md"
SUBJECTS = {
    "test_rabbitmq": "RabbitMQ",
    "test_rabbitmq_faults": "RabbitMQ in an outage",
    "test_aiormq": "aiormq, what we lean on",
    "test_aiormq_habits": "aiormq and pamqp, what we work around",
    "test_aio_pika": "aio-pika, why the relay does without it",
    "test_postgres": "Postgres",
    "test_psycopg": "psycopg and its pool",
}
"""A file of contract tests → its heading."""
HEAD = """# Contracts

What servers and libraries were seen to do, and which choice of ours rests on it. Each line is a test against the real
thing in [`tests/contract`](../tests/contract), and this page is made from those tests. When a release changes a
behaviour, its test turns red and names the code to read; when a habit is gone that we work around, the work-around
may go as well.
"""
REASON = "Hence "


def page() -> str:
    """The page as it must be."""
    return HEAD + "".join(_part(name, heading) for name, heading in SUBJECTS.items())


def _part(name: str, heading: str) -> str:
    lines = (f"| {seen} | {hence} |\n" for seen, hence in contracts(name))
    table = f"| It was seen that | hence |\n| --- | --- |\n{''.join(lines)}"
    return f"\n## {heading}\n\n[`{name}.py`](../tests/contract/{name}.py)\n\n{table}"


def contracts(name: str) -> Iterator[tuple[str, str]]:
    """Each test of a file: its name as a sentence, and what rests on it."""
    for node in ast.parse((FOLDER / f"{name}.py").read_text()).body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_"):
            words = " ".join((ast.get_docstring(node) or "").split())
            assert words.startswith(REASON), f"{name}.py: {node.name} must say what rests on it: Hence …"
            yield node.name.removeprefix("test_").replace("_", " "), words.removeprefix(REASON).replace("|", "\\|")


if __name__ == "__main__":
    PAGE.write_text(page())
