"""`python -m chaos.kills`: end relays at random moments, hundreds of times, then judge.

Three relays share the table while producers write and a drain reads. Each is ended at a moment drawn evenly from its
start-up or from its first seconds of work: while it starts, claims, publishes, marks or rests. Nothing else is broken.

Exit codes: 0 every promise was kept · 1 one was broken, or the run could not go on · 130 stopped by a person.
"""

import argparse
import asyncio
import json
import random
import shutil
import signal
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from chaos import report
from chaos.__main__ import FAILED, INTERRUPTED, PASSED, say
from chaos.checker import Verdict, check
from chaos.history import Fault, History, Run, fingerprint, read
from chaos.keeper import Keeper
from chaos.killing import KillStage
from chaos.replicas import IN_FLIGHT_MAX
from chaos.run import versions
from chaos.schedule import LEASE_S
from demo.processes import Broken, Child, scrub
from services.find import NothingFound
from services.process import ServerFailed

SIGNALS = {"KILL": signal.SIGKILL, "TERM": signal.SIGTERM}
RELAYS = 3
WHILE_STARTING = 0.2
"""The share of relays that are ended before they have started; the others at a moment of their work."""
START_S = 1.0
"""A start is thought to take that long until one was seen."""
WORK_MAX_S = 2.0
TELL_EVERY = 25
RECOVERY_MAX_S = LEASE_S + 30.0
LOOK_S = 0.05
PENDING = "SELECT count(*) FROM outbox.message WHERE status = 'pending'"
END_LEASES = "UPDATE outbox.message SET claimed_until = now() WHERE status = 'pending' AND claimed_until > now()"


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be done."""

    seed: int
    kills: int
    number: signal.Signals
    rate: float
    hasten: bool
    """End the leases of the dead at once when all are dead: a short run need not wait for them."""
    ordered: bool
    """With order per key."""


@dataclass(frozen=True, slots=True)
class Kills:
    """What was done, in figures."""

    signal: str
    kills: int
    while_starting: int
    """Ends before the relay had said that it started."""
    left_in_hand: int
    """Rows that a dead relay had in its hands and another took again."""
    duplicated: int
    most_at_once: int
    """The most copies put down to one kill."""

    @property
    def sentence(self) -> str:
        """Say it."""
        each = self.duplicated / max(1, self.kills)
        return (
            f"{self.kills:,} times SIG{self.signal}, {self.while_starting:,} of them while it started: "
            f"{self.left_in_hand:,} rows left in hand, {self.duplicated:,} duplicates ({each:.2f} a kill, "
            f"at most {self.most_at_once} of {IN_FLIGHT_MAX} at once)."
        )


class Reaper:
    """Starts relays and ends them."""

    def __init__(self, stage: KillStage, plan: Plan) -> None:
        self._stage = stage
        self._plan = plan
        self._start_s = START_S
        """How long the latest start took, which depends on what else the machine does."""
        self._begun = self._ended = 0
        self.while_starting = 0

    async def run(self) -> None:
        """End as many relays as planned. Raises Broken when one ends wrongly."""
        async with asyncio.TaskGroup() as slots:
            for slot in range(RELAYS):
                slots.create_task(self._slot(slot), name=f"slot {slot}")

    async def _slot(self, slot: int) -> None:
        chance = random.Random(f"{self._plan.seed} {slot}")
        while self._begun < self._plan.kills:
            self._begun += 1
            self._stage.check()
            relay = await self._stage.start_relay(f"relay-{slot}")
            await self._live(relay, early=chance.random() < WHILE_STARTING, share=chance.random())
            relay.check()
            await self._end(relay)
            self._ended += 1
            if self._ended % TELL_EVERY == 0:
                say(f"{self._ended:,} of {self._plan.kills:,}")

    async def _live(self, relay: Child, *, early: bool, share: float) -> None:
        """Wait for that share of its start-up or of its work."""
        if early:
            await asyncio.sleep(share * self._start_s)
            return
        began_at = time.monotonic()
        while not _started(relay):
            relay.check()
            await asyncio.sleep(LOOK_S)
        self._start_s = time.monotonic() - began_at
        await asyncio.sleep(share * WORK_MAX_S)

    async def _end(self, relay: Child) -> None:
        began, kill = time.time(), self._plan.number == signal.SIGKILL
        if kill:
            await relay.kill()
        code = 0 if kill else await relay.terminate()
        self.while_starting += not _started(relay)
        if code != 0 and _started(relay):
            raise Broken(f"A relay ended its SIGTERM with exit code {code}.\n{relay.tail()}")
        name, repeats_max = f"relay SIG{_name(self._plan.number)}", IN_FLIGHT_MAX if kill else 0
        self._stage.log.add(Fault(name, relay.name, began, time.time(), repeats_max=repeats_max))


def _started(relay: Child) -> bool:
    return '"relay.started"' in relay.log.read_text()


def _name(number: signal.Signals) -> str:
    return number.name.removeprefix("SIG")


async def play(stage: KillStage, plan: Plan) -> int:
    """Run it; the history is then complete. Returns how many ended while they started. Raises Broken."""
    began, reaper = time.time(), Reaper(stage, plan)
    await stage.start_producers()
    try:
        await reaper.run()
    except* Broken as broken:
        raise broken.exceptions[0] from None
    last = await stage.start_relay("relay-last")
    await stage.stop_producers()
    if plan.hasten:
        await stage.ask(END_LEASES)
    emptied = await _emptied(stage)
    if code := await last.terminate():
        raise Broken(f"The last relay ended its SIGTERM with exit code {code}.\n{last.tail()}")
    await stage.finish_drain()
    await Keeper(stage).write_down()
    stage.log.add(
        Run(
            plan.seed,
            began,
            time.time(),
            replicas=RELAYS,
            in_flight_max=IN_FLIGHT_MAX,
            ordered=plan.ordered,
            emptied=emptied,
            recovery_max_s=RECOVERY_MAX_S,
            versions=await versions(stage),
        )
    )
    return reaper.while_starting


async def _emptied(stage: KillStage) -> float | None:
    """Wait until no row is pending; when that was, or None when it does not come to that in time."""
    ends_at = time.monotonic() + 2 * RECOVERY_MAX_S
    while time.monotonic() < ends_at:
        stage.check()
        if await stage.ask(PENDING) == [(0,)]:
            return time.time()
        await asyncio.sleep(LOOK_S)
    return None


def summary(plan: Plan, history: History, verdict: Verdict, while_starting: int) -> Kills:
    """Count what the kills did."""
    [figures], left_in_hand = verdict.faults, sum(row.claims - 1 for row in history.rows)
    return Kills(_name(plan.number), figures.times, while_starting, left_in_hand, figures.repeats, figures.most)


def main() -> None:
    """Read the arguments and leave with the exit code."""
    parser = argparse.ArgumentParser(prog="python -m chaos.kills", description="End relays at random, then judge.")
    parser.add_argument("--kills", type=int, default=500, help="how often (default 500)")
    parser.add_argument("--signal", choices=SIGNALS, default="KILL", help="how (default KILL)")
    parser.add_argument("--seed", type=int, help="draws the same moments and the same rows again (default: a new one)")
    parser.add_argument("--rate", type=float, default=600, help="rows a second (default 600)")
    parser.add_argument("--ordering", choices=("none", "key"), default="none", help="RELAY_ORDERING")
    parser.add_argument("--hasten", action="store_true", help="do not wait for the leases of the last dead relays")
    parser.add_argument("--json", type=Path, help="write the verdict there")
    parser.add_argument("--keep", action="store_true", help="keep the history also when all is well")
    given = parser.parse_args()
    scrub()
    seed = random.SystemRandom().randrange(1 << 31) if given.seed is None else given.seed
    plan = Plan(seed, given.kills, SIGNALS[given.signal], given.rate, given.hasten, given.ordering == "key")
    try:
        sys.exit(asyncio.run(run(plan, given.json, keep=given.keep)))
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)


async def run(plan: Plan, result: Path | None, *, keep: bool) -> int:
    """Run, judge, and take everything down whatever happens."""
    stage = KillStage(plan.seed, plan.rate, producers=4, poison_s=0, ordered=plan.ordered)
    say(f"Seed {plan.seed}, {plan.kills:,} times SIG{_name(plan.number)}. History: {stage.folder}")
    code = FAILED
    try:
        await stage.open()
        code = judge(plan, stage.folder, await play(stage, plan), result)
    except (Broken, NothingFound, ServerFailed) as error:
        say(str(error))
    finally:
        await stage.close()
    if keep or code != PASSED:
        say(f"The history is in {stage.folder}.")
    else:
        shutil.rmtree(stage.folder, ignore_errors=True)
    return code


def judge(plan: Plan, folder: Path, while_starting: int, result: Path | None) -> int:
    """Judge the history and print the verdict."""
    history = read(folder)
    verdict, name = check(history), fingerprint(folder)
    kills = summary(plan, history, verdict, while_starting)
    say(report.text(verdict, history.run, name))
    say(kills.sentence)
    if result is not None:
        told = json.loads(report.as_json(verdict, history.run, name)) | {"kills": asdict(kills)}
        result.write_text(json.dumps(told, indent=2) + "\n")
    return FAILED if verdict.problems or kills.duplicated > kills.left_in_hand else PASSED


if __name__ == "__main__":
    main()
