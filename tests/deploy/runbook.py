"""The pages for whoever is on call: their blocks of commands, and how what was printed is held to what they say.

A block is run when a comment before it says in which situation: `<!-- run: waiting -->` before ```console```,
`<!-- run: waiting as look -->` before ```sql```. Blocks for a cluster are only read: `<!-- parse -->`.
In the output `…` stands for anything (on a line of its own: for any lines), and a number with a unit of time for any.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from tests import docs

PAGES = ("runbook", "operations")
RULES = docs.ROOT / "helm/outbox-relay/files/rules.yaml"
_FENCE = re.compile(
    r"(?:^<!-- (?P<mark>.+?) -->\n)?^```(?P<language>\w+)\n(?P<text>.*?)^```$", re.DOTALL | re.MULTILINE
)
_RUN = re.compile(r"run: (?P<situation>[a-z ]+?)(?: as (?P<role>[a-z]+))?(?:, exits (?P<code>\d+))?")
_LOOSE = re.compile(r"(…|\b\d+(?:\.\d+)? (?:ms|s)\b)")
_COLOR = re.compile(r"\x1b\[[0-9;]*m")
_RULED = re.compile(r"^[-+]{3,}$")


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block that is not mere text; `output` is that of SQL, which stands in a fence of its own."""

    page: str
    line: int
    language: str
    text: str
    mark: str
    output: str

    @property
    def situation(self) -> str | None:
        """In which it is run; None when it is only read."""
        found = _RUN.fullmatch(self.mark)
        return found["situation"] if found else None

    @property
    def role(self) -> str | None:
        """Who runs it."""
        found = _RUN.fullmatch(self.mark)
        return found["role"] if found else None

    @property
    def code(self) -> int:
        """The exit code of its last command."""
        found = _RUN.fullmatch(self.mark)
        return int(found["code"] or 0) if found else 0

    def __str__(self) -> str:
        return f"docs/{self.page}.md:{self.line}"


def path(page: str) -> Path:
    """Where a page is."""
    return docs.ROOT / f"docs/{page}.md"


@cache
def blocks(page: str) -> tuple[Block, ...]:
    """Every block of a page that is code."""
    return tuple(_blocks(page, path(page).read_text()))


def _blocks(page: str, text: str) -> Iterator[Block]:
    fences = list(_FENCE.finditer(text))
    for here, after in zip(fences, [*fences[1:], None], strict=True):
        if here["language"] in {"text", "mermaid"}:
            continue
        follows = after is not None and after["language"] == "text" and not text[here.end() : after.start()].strip()
        output = after["text"] if after is not None and follows else ""
        line = text.count("\n", 0, here.start("language")) + 1
        yield Block(page, line, here["language"], here["text"], here["mark"] or "", output)


def steps(block: Block) -> Iterator[tuple[str, str]]:
    """The commands of a console, each with what it should print."""
    for part in re.split(r"^\$ ", block.text, flags=re.MULTILINE)[1:]:
        command, _, output = part.partition("\n")
        yield command, output


def agrees(expected: str, printed: str) -> bool:
    """Whether what was printed is what the page says; blanks and empty lines do not count."""
    lines = [_pattern(line) for line in _plain(expected)]
    return re.fullmatch("".join(lines), "".join(f"{line}\n" for line in _plain(printed))) is not None


def _plain(text: str) -> list[str]:
    """The lines with something on them, as many blanks as need be, and rules of any length alike."""
    lines = (" ".join(line.split()) for line in _COLOR.sub("", text).splitlines())
    return ["---" if _RULED.match(line) else line for line in lines if line]


def _pattern(line: str) -> str:
    if line == "…":
        return r"(?:.*\n)*?"
    fixed = (re.escape(part) if number % 2 == 0 else _loose(part) for number, part in enumerate(_LOOSE.split(line)))
    return "".join(fixed) + r"\n"


def _loose(part: str) -> str:
    return ".*?" if part == "…" else r"\d+(?:\.\d+)? (?:ms|s|min)(?: \d+ s)?"


def sections(page: str) -> dict[str, str]:
    """What stands under each heading of the second level, code included."""
    parts = re.split(r"^#{1,2} (.+)$", path(page).read_text(), flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))
