"""Every metric and every log event, and the answers the web pages give."""

from relay.observe.events import EVENTS
from relay.observe.metrics import LABELS, METRICS
from relay.observe.observatory import LIVE_SILENCE_S, Observatory

__all__ = ["EVENTS", "LABELS", "LIVE_SILENCE_S", "METRICS", "Observatory"]
