"""Every command on the pages for whoever is on call is run, and prints what they say."""

import pytest

from tests.deploy.runbook import PAGES, Block, agrees, blocks, steps
from tests.deploy.situations import SITUATIONS
from tests.deploy.stage import Stage

RESTORE = "restored"
"""Told from its end, too, by test_runbook_restore.py."""
ACTS = [
    (page, name)
    for page in PAGES
    for name in dict.fromkeys(block.situation for block in blocks(page))
    if name is not None and name != RESTORE
]


async def perform(stage: Stage, block: Block) -> None:
    """Run a block and compare."""
    if block.language == "sql":
        code, printed = await stage.query(block.role or "", block.text)
        assert agrees(block.output, printed), f"{block} printed:\n{printed}"
        assert code == block.code, f"{block} exits {code}"
        return
    codes = []
    for command, expected in steps(block):
        code, printed = await stage.run(f"set -o pipefail; {command}")
        assert agrees(expected, printed), f"{block}: `{command}` printed:\n{printed}"
        codes.append(code)
    assert codes[-1] == block.code, f"{block} exits {codes}"
    assert set(codes[:-1]) <= {0}, f"{block} exits {codes}"


@pytest.mark.timeout(120)
@pytest.mark.parametrize(("page", "name"), ACTS, ids=[f"{page}: {name}" for page, name in ACTS])
async def test_the_commands_print_what_the_page_says(page: str, name: str, stage: Stage) -> None:
    async with SITUATIONS[name](stage):
        for block in blocks(page):
            if block.situation == name:
                await perform(stage, block)
