"""Worlds on virtual time: relays, an outbox and a broker with the manners measured of real ones, from one seed each."""

import asyncio
import re

from tests.doubles import VirtualLoop
from tests.simulation.verdict import verdict
from tests.simulation.world import World

__all__ = ["Broken", "World", "live"]

STORY_MAX = 60
"""Lines of what happened to the row in question."""


class Broken(AssertionError):
    """A promise was broken: which, how to see it again, and the story of the first row that is named."""

    def __init__(self, world: World, wrong: list[str]) -> None:
        found = re.search(r"row (\d+)", "\n".join(wrong))
        story = world.witness.story(int(found[1])) if found else []
        again = f"seed {world.seed}; again: make simulate SEEDS=1 FROM={world.seed}"
        super().__init__("\n".join([again, *wrong[:10], *story[:STORY_MAX]]))


def live(seed: int) -> World:
    """Live through the world of that seed, always the same way; raises Broken."""

    async def through() -> World:
        world = World(seed)
        try:
            await world.live()
        except Exception as error:
            raise Broken(world, [*world.witness.wrong, repr(error)]) from error
        if wrong := verdict(world):
            raise Broken(world, wrong)
        return world

    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(through())
