"""A fleet of relays as promtool takes series: healthy, unless a scenario says otherwise."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

HOLDERS = ("transaction", "standby", "prepared_transaction", "replication_slot")
Key = tuple[str, ...]
"""A metric and the values of its own labels."""


@dataclass(frozen=True, slots=True)
class Fleet:
    """Relays that each carry `rate` messages a minute, from minute `begins` to minute `ends`."""

    pods: tuple[str, ...]
    rate: int
    ends: int
    begins: int = 0
    leaves: bool = False
    """At the end they are gone, and Prometheus knows it."""
    version: str = "1.0.0"
    otherwise: Mapping[Key, str] = field(default_factory=dict)
    """Series with values of their own, in promtool's notation."""

    def series(self) -> list[dict[str, str]]:
        """All series of all relays."""
        return [each for pod in self.pods for each in self._relay(pod)]

    def _relay(self, pod: str) -> Iterator[dict[str, str]]:
        for (name, labels), values in self._values().items():
            words = {"namespace": "shop", "job": "relay", "pod": pod} | dict(labels)
            inner = ", ".join(f'{label}="{value}"' for label, value in words.items())
            chosen = self.otherwise.get((name, *(value for _, value in labels)), values)
            before, after = (f"_x{self.begins} " if self.begins else ""), (" stale" if self.leaves else "")
            yield {"series": f"{name}{{{inner}}}", "values": before + chosen + after}

    def _values(self) -> dict[tuple[str, tuple[tuple[str, str], ...]], str]:
        lasts = self.ends - self.begins
        zero, one = f"0x{lasts}", f"1x{lasts}"
        clock = f"{60 * self.begins}+60x{lasts}"
        flow = f"0+{self.rate}x{lasts}" if self.rate else zero
        own = {
            ("up", ()): one,
            ("relay_build_info", (("version", self.version),)): one,
            ("relay_outbox_rows_capped", ()): zero,
            ("relay_outbox_oldest_pending_age_seconds", ()): zero,
            ("relay_outbox_blocked_keys", ()): zero,
            ("relay_outbox_sample_timestamp_seconds", ()): clock,
            ("relay_config_backlog_sample_seconds", ()): f"10x{lasts}",
            ("relay_outbox_health_timestamp_seconds", ()): clock,
            ("relay_config_health_sample_seconds", ()): f"60x{lasts}",
            ("relay_delivery_delay_seconds_count", ()): flow,
            ("relay_delivery_delay_seconds_bucket", (("le", "30.0"),)): flow,
            ("relay_leases_lost_total", ()): zero,
            ("relay_last_tick_timestamp_seconds", ()): clock,
            ("relay_outbox_oldest_sent_timestamp_seconds", ()): f"60x{lasts}" if self.rate else zero,
            ("relay_outbox_live_tuples", ()): f"100000+{2 * self.rate}x{lasts}" if self.rate else zero,
            ("relay_outbox_dead_tuples", ()): f"900x{lasts}",
            ("relay_messages_total", (("outcome", "confirmed"),)): flow,
        }
        by_label = {
            "relay_outbox_rows": ("state", ("pending", "retrying", "failed"), zero),
            "relay_messages_total": ("outcome", ("unreachable", "unroutable", "no_exchange", "rejected"), zero),
            "relay_outage": ("side", ("broker", "database"), zero),
            "relay_outbox_oldest_snapshot_age_seconds": ("holder", HOLDERS, f"2x{lasts}"),
            "relay_outbox_oldest_snapshot_transactions": ("holder", HOLDERS, f"50x{lasts}"),
        }
        for name, (label, words, values) in by_label.items():
            own |= {(name, ((label, word),)): values for word in words}
        return own


NAMES = frozenset(name for name, _ in Fleet(("a",), 1, 1)._values())
CONFIRMED: tuple[Key, ...] = (
    ("relay_messages_total", "confirmed"),
    ("relay_delivery_delay_seconds_count",),
    ("relay_delivery_delay_seconds_bucket", "30.0"),
)
_AFTER_BLIP = "0+600x120 72000x1 73200+600x78"
BLIP: Mapping[Key, str] = {
    ("relay_outage", "broker"): "0x120 1x1 0x80",
    ("relay_outbox_oldest_pending_age_seconds",): "0x120 60 120 20 0x80",
    ("relay_outbox_rows", "pending"): "0x120 600 1200 500 0x80",
    ("relay_messages_total", "confirmed"): _AFTER_BLIP,
    ("relay_messages_total", "unreachable"): "0x120 500 502 502x80",
    ("relay_delivery_delay_seconds_count",): _AFTER_BLIP,
    ("relay_delivery_delay_seconds_bucket", "30.0"): "0+600x120 72000x1 72300+600x78",
}
"""For two minutes after two hours RabbitMQ is away; what waited comes late."""
SCENARIOS: Mapping[str, tuple[Fleet, ...]] = {
    "a healthy fleet under load": (Fleet(("a", "b"), 600, 200),),
    "an outbox that nothing was ever written to": (Fleet(("a", "b"), 0, 200),),
    "traffic that ends": (Fleet(("a", "b"), 600, 200, otherwise=dict.fromkeys(CONFIRMED, "0+600x60 36000x140")),),
    "every relay is replaced by a newer one, and for two minutes there is none": (
        Fleet(("a", "b"), 600, 100, leaves=True),
        Fleet(("c", "d"), 600, 200, begins=103, version="1.1.0"),
    ),
    "the broker is restarted and away for two minutes": (Fleet(("a", "b"), 600, 200, otherwise=BLIP),),
}
"""What must wake nobody."""
