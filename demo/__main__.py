"""`python -m demo`: set up, play, judge.

Exit codes: 0 every promise was kept · 1 one was broken, or the demo could not go on · 130 stopped by a person.
"""

import argparse
import asyncio
import io
import os
import signal
import sys
import time
from collections.abc import Coroutine

from rich.console import Console

from demo.monitor import Monitor
from demo.processes import Broken, scrub
from demo.report import print_report, print_sentence
from demo.stage import Stage
from demo.story import Plan, Story
from demo.verdict import judge
from demo.view import WIDTH, view_for
from services.find import NothingFound
from services.process import ServerFailed

PASSED, FAILED, INTERRUPTED = 0, 1, 130
WITHHELD = 50


def main() -> None:
    """Read the arguments and leave with the exit code."""
    parser = argparse.ArgumentParser(prog="python -m demo", description="Show the relay at work, through two faults.")
    parser.add_argument(
        "--seconds", type=float, default=45, help="about how long it plays (default 45; with the faults at least 36)"
    )
    parser.add_argument("--rate", type=float, default=300, help="orders a second (default 300)")
    parser.add_argument("--calm", action="store_true", help="break nothing: then not one message may come twice")
    parser.add_argument("--sabotage", action="store_true", help="withhold one message, to see the verdict turn red")
    given = parser.parse_args()
    scrub()
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a terminal that cannot show a sign shows a question mark
    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=WIDTH)
    plan = Plan(given.seconds, given.rate, withhold=WITHHELD if given.sabotage else 0, calm=given.calm)
    sys.exit(asyncio.run(_run(console, plan)))


async def _run(console: Console, plan: Plan) -> int:
    """Play, judge, and take everything down whatever happens."""
    stage = Stage()
    _obey_signals(console)
    try:
        await _set_up(console, stage, plan)
        return await _perform(console, stage, plan)
    except (Broken, NothingFound, ServerFailed) as error:
        print_sentence(console, str(error), "bold red")
        return FAILED
    except asyncio.CancelledError:
        return INTERRUPTED
    finally:
        await stage.close()
        console.print("Everything the demo started is stopped.", style="dim")


async def _set_up(console: Console, stage: Stage, plan: Plan) -> None:
    """Start everything but the shop."""
    began_at = time.monotonic()
    console.print("Setting up: a Postgres and a RabbitMQ of our own, on free ports…", style="dim")
    await stage.start_servers()
    console.print(f"  Postgres  {stage.postgres.how}, port {stage.postgres_port}")
    console.print(f"  RabbitMQ  {stage.rabbitmq.how}, port {stage.rabbitmq.amqp_port}")
    await stage.migrate()
    await stage.start_consumer(withhold=plan.withhold)
    await stage.start_relay()
    await stage.wait_ready()
    console.print(f"  relay     `relay migrate up`, then `relay run`; ready in {time.monotonic() - began_at:.0f} s\n")


async def _perform(console: Console, stage: Stage, plan: Plan) -> int:
    """Play the story under the monitor's eyes and print the verdict."""
    trouble: list[str] = []
    with view_for(console) as view:
        monitor = Monitor(stage, view, planned_s=plan.seconds)
        try:
            await _first_of(monitor.run(), Story(stage, monitor, plan).play())
        except Broken as error:
            trouble.append(str(error))
        elapsed_s = monitor.elapsed_s
    stage.history.read()
    await asyncio.to_thread(stage.history.resolve, stage.url)
    verdict = judge(stage.history.orders, stage.history.arrivals, duplicates_max=plan.duplicates_max)
    print_report(console, verdict, trouble, elapsed_s=elapsed_s)
    return FAILED if trouble or verdict.problems else PASSED


async def _first_of(*works: Coroutine[object, object, None]) -> None:
    """Run them until the first one ends or fails, and cancel the others."""
    tasks = [asyncio.ensure_future(work) for work in works]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)


def _obey_signals(console: Console) -> None:
    """Let the first signal end the play in order and the second one end us: guards and leashes do the rest."""
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    assert task is not None
    seen: list[signal.Signals] = []

    def obey(number: signal.Signals) -> None:
        seen.append(number)
        if len(seen) > 1:
            console.show_cursor()
            os._exit(INTERRUPTED)
        console.print("Stopping everything…", style="dim")
        task.cancel()

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, obey, number)


if __name__ == "__main__":
    main()
