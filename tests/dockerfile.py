"""The Dockerfile, read as Docker reads it."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
Instruction = tuple[str, str]


def instructions() -> list[Instruction]:
    """Read the Dockerfile as (instruction, rest of the line), continuation lines joined."""
    text = re.sub(r"(?m)^\s*#.*\n", "", (ROOT / "Dockerfile").read_text())
    lines = text.replace("\\\n", " ").splitlines()
    return [(word.upper(), " ".join(rest.split())) for word, _, rest in (line.partition(" ") for line in lines) if word]


def stages() -> list[list[Instruction]]:
    """Split the Dockerfile at each FROM; what stands before the first one is left out."""
    found: list[list[Instruction]] = []
    for step in instructions():
        if step[0] == "FROM":
            found.append([])
        if found:
            found[-1].append(step)
    return found


def last(instruction: str) -> str:
    """Return the one use of an instruction in the final stage."""
    [value] = [rest for word, rest in stages()[-1] if word == instruction]
    return value
