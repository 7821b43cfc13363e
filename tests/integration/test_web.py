"""The pages over real HTTP: probes, metrics, status, and what happens when they cannot be served."""

import asyncio
import json
import socket
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import aiohttp
import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from relay import log, page
from relay.model import Fault
from relay.observe import Observatory
from relay.outage import Flowing, Outage
from relay.web import Pages, Web

LOCAL = "127.0.0.1"
OUTAGE = Outage(Fault.SCHEMA, "table outbox.message is missing", since=0, probes=0, next_at=1)


class Told:
    """The events that were told."""

    def __init__(self) -> None:
        self.events: list[tuple[str, dict[str, Any]]] = []

    def __call__(self, event: str, **fields: object) -> None:
        self.events.append((event, fields))


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
def seen() -> Observatory:
    return Observatory(version="1.2.3", name="here", config={"lanes": 2}, redact=log.redact)


def pages_of(seen: Observatory) -> Pages:
    return Pages(live=seen.live, ready=seen.ready, status=seen.status, metrics=seen.metrics)


@pytest.fixture
async def web(seen: Observatory, told: Told) -> AsyncIterator[Web]:
    async with Web(pages_of(seen), host=LOCAL, port=0, tell=told) as web:
        yield web


@pytest.fixture
async def client(web: Web) -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(f"http://{LOCAL}:{web.port}") as client:
        yield client


async def fetch(client: aiohttp.ClientSession, path: str, **options: Any) -> tuple[int, Any, Mapping[str, str]]:
    async with client.request(options.pop("method", "GET"), path, **options) as answer:
        text = await answer.text()
        is_json = answer.content_type == "application/json"
        return answer.status, json.loads(text) if is_json and text else text, answer.headers


async def test_a_free_port_is_chosen_and_told(web: Web, told: Told) -> None:
    assert web.port
    assert told.events == [("web.started", {"host": LOCAL, "port": web.port})]


@pytest.mark.parametrize("path", ["/livez", "/health"])
async def test_a_turning_loop_is_live(client: aiohttp.ClientSession, path: str) -> None:
    status, body, _ = await fetch(client, path)

    assert (status, body) == (200, {"live": True})


@pytest.mark.parametrize("path", ["/livez", "/health"])
async def test_an_engine_that_stopped_turning_is_not_live(told: Told, path: str) -> None:
    now = 0.0
    seen = Observatory(version="1", name="n", config={}, redact=log.redact, clock=lambda: now)
    async with (
        Web(pages_of(seen), host=LOCAL, port=0, tell=told) as web,
        aiohttp.ClientSession(f"http://{LOCAL}:{web.port}") as client,
    ):
        assert (await fetch(client, path))[0] == 200
        now = 3600.0
        assert (await fetch(client, path))[:2] == (503, {"live": False})
        seen.turned()
        assert (await fetch(client, path))[0] == 200


async def test_a_blocked_loop_cannot_answer_that_it_is_live(web: Web) -> None:
    def ask(seconds: float) -> int:
        with urllib.request.urlopen(f"http://{LOCAL}:{web.port}/livez", timeout=seconds) as answer:
            return int(answer.status)

    with ThreadPoolExecutor(1) as thread:
        # Waiting here for the thread is what blocks the loop.
        error = thread.submit(ask, 0.3).exception()

    assert isinstance(error, TimeoutError | urllib.error.URLError)
    assert await asyncio.to_thread(ask, 10) == 200


async def test_an_outage_of_either_side_is_live(client: aiohttp.ClientSession, seen: Observatory) -> None:
    seen.state_changed("broker", Flowing(), OUTAGE)
    seen.state_changed("database", Flowing(), OUTAGE)

    assert (await fetch(client, "/livez"))[0] == 200


@pytest.mark.parametrize("path", ["/readyz", "/ready"])
async def test_readiness_waits_for_the_database_and_says_so(
    client: aiohttp.ClientSession, seen: Observatory, path: str
) -> None:
    assert (await fetch(client, path))[:2] == (503, {"ready": False, "reason": "the database has not answered yet"})
    seen.db("ready", 0.01)
    assert (await fetch(client, path))[:2] == (200, {"ready": True})


async def test_readiness_follows_the_database_and_not_the_broker(
    client: aiohttp.ClientSession, seen: Observatory
) -> None:
    seen.db("ready", 0.01)
    seen.state_changed("broker", Flowing(), OUTAGE)
    assert (await fetch(client, "/readyz"))[0] == 200

    seen.state_changed("database", Flowing(), OUTAGE)
    reason = "database: schema: table outbox.message is missing"
    assert (await fetch(client, "/readyz"))[:2] == (503, {"ready": False, "reason": reason})


async def test_metrics_come_as_text_unless_openmetrics_is_asked_for(client: aiohttp.ClientSession) -> None:
    _, text, plain = await fetch(client, "/metrics")
    prometheus = (
        "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,*/*;q=0.1"
    )
    _, open_text, negotiated = await fetch(client, "/metrics", headers={"Accept": prometheus})

    assert plain["Content-Type"].startswith("text/plain")
    assert negotiated["Content-Type"].startswith("application/openmetrics-text")
    assert "relay_messages" in {family.name for family in parse_text(text)}
    families = parse_openmetrics(open_text)  # type: ignore[no-untyped-call]
    assert "relay_messages" in {family.name for family in families}


async def test_the_status_is_json_of_the_known_shape(client: aiohttp.ClientSession) -> None:
    status, body, headers = await fetch(client, "/status")

    assert (status, headers["Content-Type"]) == (200, "application/json; charset=utf-8")
    assert set(body) == {
        "name",
        "version",
        "started_at",
        "uptime_seconds",
        "live",
        "not_ready",
        "broker",
        "database",
        "backlog",
        "table",
        "replicas",
        "failures",
        "in_flight_rows",
        "last_turn_at",
        "last_confirm_at",
        "history",
    }
    for side in ("broker", "database"):
        assert {"state", "since", "connected", "latency_seconds"} <= set(body[side])


async def test_the_status_can_be_read_by_people(client: aiohttp.ClientSession, seen: Observatory) -> None:
    seen.db("ready", 0.01)
    seen.state_changed("broker", Flowing(), Outage(Fault.REFUSED, "nobody <b>there</b>", since=0, probes=0, next_at=1))
    status, text, headers = await fetch(client, "/")

    assert (status, headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    assert text.startswith("<!DOCTYPE html>\n<html")
    assert "refused: nobody &lt;b&gt;there&lt;/b&gt;" in text
    assert 'http-equiv="refresh"' in text
    assert 'http-equiv="refresh"' not in (await fetch(client, "/?refresh=off"))[1]


async def test_the_page_lets_a_browser_fetch_run_frame_and_tell_nothing(client: aiohttp.ClientSession) -> None:
    _, _, headers = await fetch(client, "/")

    assert headers["Content-Security-Policy"] == page.policy()
    assert headers["Content-Security-Policy"].startswith("default-src 'none'; style-src 'sha256-")
    assert (headers["Referrer-Policy"], headers["X-Content-Type-Options"]) == ("no-referrer", "nosniff")


async def test_the_page_for_people_can_be_left_out(seen: Observatory, told: Told) -> None:
    without = replace(pages_of(seen), for_people=False)
    async with (
        Web(without, host=LOCAL, port=0, tell=told) as web,
        aiohttp.ClientSession(f"http://{LOCAL}:{web.port}") as client,
    ):
        status, body, _ = await fetch(client, "/")
        assert (status, "/" in body["pages"]) == (404, False)
        assert (await fetch(client, "/status"))[0] == 200


async def test_no_page_shows_a_password(client: aiohttp.ClientSession, seen: Observatory) -> None:
    leaky = Outage(Fault.AUTH, "amqp://svc:hunter2@mq password='hunter2'", since=0, probes=0, next_at=1)
    seen.state_changed("broker", Flowing(), leaky)
    seen.state_changed("database", Flowing(), leaky)

    for path in ("/", "/livez", "/readyz", "/status", "/metrics"):
        assert "hunter2" not in str(await fetch(client, path))


@pytest.mark.parametrize("path", ["/index.html", "/livez/", "/admin", "/metrics/x", "/%2e%2e/etc/passwd"])
async def test_elsewhere_there_is_nothing_but_json_that_names_the_pages(
    client: aiohttp.ClientSession, path: str
) -> None:
    status, body, _ = await fetch(client, path)

    assert status == 404
    pages = ["/", "/health", "/livez", "/metrics", "/ready", "/readyz", "/status"]
    assert body == {"error": "Not Found", "pages": pages}


@pytest.mark.parametrize("path", ["/", "/livez", "/readyz", "/status", "/metrics", "/health", "/ready"])
async def test_a_page_can_be_asked_for_its_head(client: aiohttp.ClientSession, path: str) -> None:
    status, body, headers = await fetch(client, path, method="HEAD")

    assert status == (await fetch(client, path))[0]
    assert body == ""
    assert int(headers["Content-Length"]) > 0


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
@pytest.mark.parametrize("path", ["/", "/livez", "/status", "/metrics"])
async def test_nothing_can_be_changed(client: aiohttp.ClientSession, path: str, method: str) -> None:
    status, body, headers = await fetch(client, path, method=method, data=b"x")

    assert (status, body["error"], headers["Allow"]) == (405, "Method Not Allowed", "GET,HEAD")


async def test_answers_are_not_to_be_cached_and_name_no_version(client: aiohttp.ClientSession) -> None:
    for path in ("/", "/livez", "/metrics", "/nothing"):
        _, _, headers = await fetch(client, path)

        assert (headers["Cache-Control"], headers["Server"]) == ("no-store", "outbox-relay")


async def test_a_taken_port_is_told_and_nothing_else_happens(seen: Observatory, told: Told) -> None:
    with socket.create_server((LOCAL, 0)) as taken:
        port = taken.getsockname()[1]
        async with Web(pages_of(seen), host=LOCAL, port=port, tell=told) as web:
            assert web.port is None

    ((event, fields),) = told.events
    assert (event, fields["host"], fields["port"]) == ("web.failed", LOCAL, port)
    assert "in use" in fields["reason"]


@pytest.mark.parametrize("host", ["no.such.host.invalid", "203.0.113.7", "x" * 300, "a..b", "not a host"])
async def test_a_host_that_cannot_be_served_is_told_and_nothing_else_happens(
    seen: Observatory, told: Told, host: str
) -> None:
    async with Web(pages_of(seen), host=host, port=0, tell=told) as web:
        assert web.port is None

    ((event, fields),) = told.events
    assert (event, fields["host"]) == ("web.failed", host)
    assert fields["reason"]


async def test_the_port_is_free_again_after_close_and_closing_twice_is_fine(seen: Observatory, told: Told) -> None:
    web = Web(pages_of(seen), host=LOCAL, port=0, tell=told)
    await web.open()
    port = web.port
    assert port
    await web.close()
    await web.close()

    assert web.port is None
    async with Web(pages_of(seen), host=LOCAL, port=port, tell=told) as again:
        assert again.port == port


async def test_a_server_that_was_never_opened_can_be_closed(seen: Observatory, told: Told) -> None:
    await Web(pages_of(seen), host=LOCAL, port=0, tell=told).close()

    assert told.events == []


async def test_an_open_connection_does_not_hold_the_end_up(seen: Observatory, told: Told) -> None:
    web = Web(pages_of(seen), host=LOCAL, port=0, tell=told)
    await web.open()
    _, writer = await asyncio.open_connection(LOCAL, web.port)
    writer.write(b"GET /livez HTTP/1.1\r\nHost: x\r\n")  # and never the empty line that ends it
    await writer.drain()

    async with asyncio.timeout(5):
        await web.close()
    writer.close()
    await asyncio.wait({asyncio.ensure_future(writer.wait_closed())})
