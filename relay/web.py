"""Health, metrics and status over HTTP, on the relay's own loop: a loop that hangs cannot call itself alive.

Read-only. A port that is taken never stops the relay; it goes on without pages and says so.
"""

import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Self

from aiohttp import web

from relay import page

CLOSE_S = 1.0
"""Longest wait for a page that is being read when the relay stops."""
_HEADERS: Mapping[str, str] = {
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "Server": "outbox-relay",
}

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, slots=True)
class Pages:
    """What the pages say; each is asked anew for every request and must not wait."""

    live: Callable[[], bool]
    ready: Callable[[], str | None]
    """Why the relay is not ready; None when it is."""
    status: Callable[[], Mapping[str, Any]]
    metrics: Callable[[str], tuple[bytes, str]]
    """Takes the Accept header, gives the body and its content type."""
    for_people: bool = True
    """Serve the status as a page at `/` as well."""


class Web:
    """The server of the pages, from `open` to `close`."""

    def __init__(self, pages: Pages, *, host: str, port: int, tell: Callable[..., None]) -> None:
        self._host = host
        self._wanted = port
        self._tell = tell
        # No access log: probes and scrapes would be most of the log.
        self._runner = web.AppRunner(_app(pages), access_log=None, handle_signals=False, shutdown_timeout=CLOSE_S)
        self.port: int | None = None
        """Where the pages are served; None while they are not."""

    async def open(self) -> None:
        """Serve the pages; when that cannot be, say so and go on without them."""
        await self._runner.setup()
        try:
            await web.TCPSite(self._runner, self._host, self._wanted).start()
        except (OSError, ValueError) as error:  # taken, not ours, not to be resolved; not a host name at all
            reason = error.strerror if isinstance(error, OSError) and error.strerror else type(error).__name__
            self._tell("web.failed", host=self._host, port=self._wanted, reason=reason)
            return
        self.port = int(self._runner.addresses[0][1])
        self._tell("web.started", host=self._host, port=self.port)

    async def close(self) -> None:
        """Serve nothing any more; may be called twice, and without `open`."""
        self.port = None
        await self._runner.cleanup()

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()


def _app(pages: Pages) -> web.Application:
    async def live(_: web.Request) -> web.Response:
        return _json({"live": True}) if pages.live() else _json({"live": False}, status=503)

    async def ready(_: web.Request) -> web.Response:
        reason = pages.ready()
        return _json({"ready": True}) if reason is None else _json({"ready": False, "reason": reason}, status=503)

    async def status(_: web.Request) -> web.Response:
        return _json(pages.status())

    async def people(request: web.Request) -> web.Response:
        text = page.html(pages.status(), refresh=request.query.get("refresh") != "off")
        headers = {"Content-Security-Policy": page.policy(), "Referrer-Policy": "no-referrer"}
        return web.Response(text=text, content_type="text/html", headers=headers)

    async def metrics(request: web.Request) -> web.Response:
        body, content_type = pages.metrics(",".join(request.headers.getall("Accept", [])))
        return web.Response(body=body, headers={"Content-Type": content_type})

    app = web.Application(middlewares=[_errors_as_json])
    app.on_response_prepare.append(_mark)
    for path, handler in {
        **({"/": people} if pages.for_people else {}),
        "/livez": live,
        "/health": live,
        "/readyz": ready,
        "/ready": ready,
        "/status": status,
        "/metrics": metrics,
    }.items():
        app.router.add_get(path, handler)  # HEAD comes with it
    return app


@web.middleware
async def _errors_as_json(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Answer what is not served as JSON too: most readers of these pages are machines."""
    try:
        return await handler(request)
    except web.HTTPException as error:
        allow = {"Allow": error.headers["Allow"]} if "Allow" in error.headers else {}
        pages = sorted({resource.canonical for resource in request.app.router.resources()})
        return _json({"error": error.reason, "pages": pages}, status=error.status, headers=allow)


async def _mark(_: web.Request, response: web.StreamResponse) -> None:
    """Put the common headers on every answer; state is never to be cached."""
    response.headers.update(_HEADERS)


def _json(content: Mapping[str, Any], *, status: int = 200, headers: Mapping[str, str] | None = None) -> web.Response:
    text = json.dumps(content) + "\n"
    return web.Response(text=text, content_type="application/json", status=status, headers=headers)
