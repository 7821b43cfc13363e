"""What the relay says of itself on /metrics."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus

import aiohttp

TIMEOUT_S = 1.0
REASON = re.compile(r'relay_outage_reason\{.*reason="(\w+)"')


@dataclass(frozen=True, slots=True)
class Vitals:
    """One look; everything but `in_hand` and `confirmed` is as old as the relay's last sample."""

    confirmed: int
    in_hand: int
    """Rows it has claimed and not yet settled."""
    backlog: int
    oldest_s: float
    sampled_at: float
    """Unix time of the relay's last look at the table."""
    outage: str | None
    """The reason of an outage that stands."""


class Stethoscope:
    """Asks one relay, again and again."""

    def __init__(self, port: int) -> None:
        self._base = f"http://127.0.0.1:{port}"
        self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=TIMEOUT_S))

    async def ready(self) -> bool:
        """Return whether its readiness page says yes."""
        try:
            async with self._session.get(f"{self._base}/readyz") as answer:
                return answer.status == HTTPStatus.OK
        except (aiohttp.ClientError, TimeoutError):
            return False

    async def look(self) -> Vitals | None:
        """Return what it says now; None when it does not answer."""
        try:
            async with self._session.get(f"{self._base}/metrics") as answer:
                return vitals(samples(await answer.text()))
        except (aiohttp.ClientError, TimeoutError):
            return None

    async def close(self) -> None:
        """Close the connections to it."""
        await self._session.close()


def samples(text: str) -> dict[str, float]:
    """Read Prometheus' text format: `name{labels}` and a number a line."""
    pairs = (line.rsplit(" ", 1) for line in text.splitlines() if line and not line.startswith("#"))
    return {name: float(value) for name, value in pairs}


def vitals(values: Mapping[str, float]) -> Vitals:
    """Pick what the demo shows."""
    reasons = [REASON.findall(name)[0] for name, value in values.items() if REASON.match(name) and value]
    return Vitals(
        confirmed=int(values.get('relay_messages_total{outcome="confirmed"}', 0)),
        in_hand=int(values.get("relay_claimed_rows_in_flight", 0)),
        backlog=int(values.get('relay_outbox_rows{state="pending"}', 0)),
        oldest_s=values.get("relay_outbox_oldest_pending_age_seconds", 0.0),
        sampled_at=values.get("relay_outbox_sample_timestamp_seconds", 0.0),
        outage=reasons[0] if reasons else None,
    )
