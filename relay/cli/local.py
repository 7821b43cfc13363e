"""The relay on this host, asked over its own pages."""

import http.client
import json
import os
from typing import Any

TIMEOUT_S = 3.0
HOST, PORT = "0.0.0.0", "9464"
NOT_OURS = "something else than a relay answers at RELAY_HTTP_PORT"
_LOOPBACK = {"0.0.0.0": "127.0.0.1", "::": "::1"}


class NoAnswer(Exception):
    """No relay answers there; the text says where and why."""


def status() -> dict[str, Any]:
    """Return what the relay tells of itself. Raises NoAnswer, also when something else answers."""
    _, text = ask("/status")
    try:
        page = json.loads(text)
    except ValueError:
        page = None
    if isinstance(page, dict) and {"name", "version", "broker", "database"} <= page.keys():
        return page
    raise NoAnswer(NOT_OURS)


def ask(path: str) -> tuple[int, str]:
    """Get a page of the relay that RELAY_HTTP_HOST and RELAY_HTTP_PORT name, both with their defaults.

    Raises NoAnswer. No proxy that the shell names is asked: it would look at a host of its own.
    """
    host, port = os.environ.get("RELAY_HTTP_HOST", HOST), os.environ.get("RELAY_HTTP_PORT", PORT)
    host = _LOOPBACK.get(host, host)
    where = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    try:
        connection = http.client.HTTPConnection(host, int(port), timeout=TIMEOUT_S)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read().decode(errors="replace").strip()
        finally:
            connection.close()
    except (OSError, ValueError, OverflowError, http.client.HTTPException) as error:
        why = error.strerror if isinstance(error, OSError) and error.strerror else str(error) or type(error).__name__
        raise NoAnswer(f"no relay answers at {where}: {why}") from None
