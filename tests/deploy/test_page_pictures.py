"""The status page in a real browser: of a real relay, in flow and in an outage; and made-up ones at every width."""

import asyncio
import itertools
import os
import random
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from relay import page
from relay.web import Pages, Web
from services.find import OwnRabbitMQ
from tests import statuses
from tests.builders import Amqp, Database, eventually
from tests.deploy.browser import Browser, Look, browser
from tests.running import RelayProcess, relay
from tests.statuses import status

LOCAL = "127.0.0.1"
PHONE, DESK = (390, 844), (1280, 940)
PICTURES = os.environ.get("RELAY_TEST_PICTURES")
"""A folder to keep the pictures in that are named below; `make pictures` names docs/images."""
KEPT = {"flowing-desk-light", "outage-desk-dark", "outage-phone-light", "flowing-phone-dark"}
PICTURE_BYTES_MAX = 150_000
HEAP_S = 0.1
"""The shop commits a little heap of orders this often."""


@pytest.fixture
async def chromium(tmp_path: Path) -> AsyncIterator[Browser]:
    async with browser(tmp_path / "chromium") as made:
        yield made


def is_sound(seen: Look, url: str, width: int) -> None:
    """It fits, it fetched itself only, and the console is empty."""
    asked = [each for each in seen.requests if not each.startswith("data:")]
    assert asked == [url]
    assert seen.complaints == ()
    assert seen.width_px == width


# -- a real relay -------------------------------------------------------------------------------------------------


async def shop(db: Database) -> None:
    """Commit orders until cancelled, now more and now fewer; a few of them can never be published."""
    dice = random.Random(7)
    for heap in itertools.count():
        await db.insert(n=dice.randint(10, 24) + 8 * (heap % 40 > 30))
        if heap == 5:
            await db.insert(headers={"x" * 200: "too long"})
            await db.insert(exchange="nowhere")
        await asyncio.sleep(HEAP_S)


@asynccontextmanager
async def busy(db: Database) -> AsyncIterator[None]:
    """A shop that is open meanwhile."""
    task = asyncio.create_task(shop(db))
    try:
        yield
        assert not task.done(), "the shop closed early"
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def reaches(process: RelayProcess, points: int, state: str) -> None:
    """Wait until that many points are known, the newest younger than a second, and the broker is in that state."""

    async def found() -> None:
        told = await process.status()
        assert told["broker"]["state"] in state.split(), told["broker"]
        assert len(told["history"]["points"]) >= points
        assert told["backlog"]["oldest_pending_age_seconds"] < 1 or "outage" in state
        assert told["failures"], told

    await eventually(found, 60)


async def pictures_of(chromium: Browser, process: RelayProcess, name: str) -> list[Look]:
    """Look at it at both widths, light and dark; each look is sound, and kept where that is asked for."""
    url = f"http://{LOCAL}:{await process.port()}/"
    looks = []
    for (width, height), dark in itertools.product((PHONE, DESK), (False, True)):
        seen = await chromium.look(url, width=width, height=height, dark=dark)
        is_sound(seen, url, width)
        assert len(seen.picture) < PICTURE_BYTES_MAX
        kind = f"{name}-{'phone' if width == PHONE[0] else 'desk'}-{'dark' if dark else 'light'}"
        if PICTURES and kind in KEPT:
            (Path(PICTURES) / f"status-{kind}.png").write_bytes(seen.picture)
        looks.append(seen)
    return looks


@pytest.mark.timeout(240)
async def test_a_real_relay_is_shown_through_an_outage_and_after(
    chromium: Browser, db: Database, own_rabbitmq: Callable[..., OwnRabbitMQ]
) -> None:
    broker = own_rabbitmq()
    amqp = Amqp(broker.url(), "/")
    await amqp.queue("all", "orders")
    await amqp.close(remove=False)
    settings = {"NAME": "orders-relay-7c9f", "BACKLOG_SAMPLE_SECONDS": 1, "HEALTH_SAMPLE_SECONDS": 1, "MAX_FAILURES": 1}
    async with relay(db, amqp, **settings) as process, busy(db):
        await reaches(process, 10, "flowing")
        await asyncio.to_thread(broker.stop)
        await reaches(process, 22, "outage probing")
        for seen in await pictures_of(chromium, process, "outage"):
            assert "RabbitMQ cannot be used." in seen.text
            assert "refused: " in seen.text
        await asyncio.to_thread(broker.start)
        await reaches(process, 46, "flowing")
        for seen in await pictures_of(chromium, process, "flowing"):
            assert "Rows are published as they come." in seen.text
            assert "no exchange 'nowhere' in vhost '/'" in seen.text
            assert "a server was gone" in seen.text


# -- made-up ones -------------------------------------------------------------------------------------------------


@asynccontextmanager
async def served(told: Mapping[str, Any]) -> AsyncIterator[str]:
    """Serve the page for an answer of `/status`; its address."""
    pages = Pages(lambda: True, lambda: None, lambda: told, lambda _: (b"", ""))
    async with Web(pages, host=LOCAL, port=0, tell=lambda *_, **__: None) as made:
        yield f"http://{LOCAL}:{made.port}/"


LONG = "x" * 300
HOSTILE = "<script>alert(1)</script><img src=/x onerror=alert(1)>"
ODD = {
    "an hour": status(),
    "nothing yet": status(backlog=None, history={}, table=None, replicas=[], failures=[]),
    "database gone": status(
        database=statuses.gone(), history={"every_seconds": 10.0, "points": statuses.points(ago_s=600)}
    ),
    "long words": status(
        name=LONG,
        broker=statuses.gone(detail=LONG),
        failures=[{"row_id": 2**63 - 1, "reason": "unroutable", "error": LONG, "failures": 10, "at": statuses.iso(1)}],
        replicas=[{"name": LONG, "version": "0.1.0"}],
        backlog=statuses.backlog(pending=100_000_000, capped=True, failed=100_000_000, oldest_pending_age_seconds=9e6),
        config={"RELAY_DATABASE_URL": f"postgresql://{LONG}"},
    ),
    "hostile words": status(
        name=HOSTILE,
        broker=statuses.gone(detail=HOSTILE),
        failures=[{"row_id": 1, "reason": "unroutable", "error": HOSTILE, "failures": 1, "at": statuses.iso(1)}],
        config={"RELAY_NAME": HOSTILE},
    ),
}


async def test_it_fits_every_width_and_is_sound(chromium: Browser) -> None:
    for kind, (width, height) in itertools.product(ODD, ((320, 640), (360, 640), PHONE, DESK, (3840, 2160))):
        async with served(ODD[kind]) as url:
            seen = await chromium.look(url, width=width, height=height, dark=False)
        is_sound(seen, url, width)
        assert (HOSTILE in seen.text) == (kind == "hostile words")


async def test_the_browser_tells_of_what_is_fetched_and_of_what_the_policy_refuses(chromium: Browser) -> None:
    other = "http://127.0.0.1:1/x.png"
    bad = f"<script>alert(1)</script><p style='color: red'>x</p><img src='{other}'><pre>{LONG * 5}</pre>"
    runner = web.AppRunner(web.Application())

    async def answer(_: web.Request) -> web.Response:
        text = page.html(status()).replace("<main>", f"<main>{bad}")
        return web.Response(text=text, content_type="text/html", headers={"Content-Security-Policy": page.policy()})

    runner.app.router.add_get("/", answer)
    await runner.setup()
    await web.TCPSite(runner, LOCAL, 0).start()
    seen = await chromium.look(f"http://{LOCAL}:{runner.addresses[0][1]}/", width=390, height=844, dark=False)
    await runner.cleanup()

    said = " ".join(seen.complaints)
    assert all(word in said for word in ("script-src", "style-src", "img-src")), said
    assert seen.width_px > 390
